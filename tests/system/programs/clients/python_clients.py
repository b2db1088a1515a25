"""Ways in which Python programs connect: python_clients.py WAY PORT COUNT. Checks every byte."""

import asyncio
import hashlib
import http.client
import multiprocessing
import socket
import sys
import urllib.request

SIZE = 2000


def body_of(number):
    block = hashlib.sha256(str(number).encode()).digest()
    return (block * (SIZE // len(block) + 1))[:SIZE]


def check(number, body):
    if body != body_of(number):
        sys.exit(f"{number}: {len(body)} other bytes than were sent")


def by_http_client(port, number, **options):
    connection = http.client.HTTPConnection("127.0.0.1", port, **options)
    connection.request("GET", f"/{number}/{SIZE}")
    check(number, connection.getresponse().read())
    connection.close()


def by_urllib(port, number):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}/{SIZE}") as answer:
        check(number, answer.read())


async def by_streams(port, number):
    source = ("127.0.0.2", 0) if number % 2 else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    writer.write(f"GET /{number}/{SIZE} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
    check(number, (await reader.read())[-SIZE:])
    writer.close()


async def all_by_streams(port, count):
    for first in range(0, count, 50):
        await asyncio.gather(*(by_streams(port, n) for n in range(first, min(first + 50, count))))


def one_of_a_pool(task):
    by_http_client(*task)


def main(way, port, count):
    if way == "http.client":
        for number in range(count):
            by_http_client(port, number)
    elif way == "source":
        for number in range(count):
            by_http_client(port, number, source_address=("127.0.0.2", 0), timeout=10)
    elif way == "urllib":
        for number in range(count):
            by_urllib(port, number)
    elif way == "asyncio":
        asyncio.run(all_by_streams(port, count))
    elif way in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(way).Pool(4) as pool:
            pool.map(one_of_a_pool, [(port, number) for number in range(count)])
    elif way == "refused":
        for _ in range(count):
            with socket.socket() as connection:
                connection.settimeout(10)
                try:
                    connection.connect(("127.0.0.1", port))
                    sys.exit("connected where nobody listens")
                except ConnectionRefusedError:
                    pass


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
