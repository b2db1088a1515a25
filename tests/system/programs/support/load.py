"""A client that asks a proxy for many answers at once and checks every byte of them."""

import asyncio
import collections

from .upstream import body_of

Answer = collections.namedtuple("Answer", "status peer")


async def _read_answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    elif "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = await reader.read()
    keep = fields.get("connection", "keep-alive") != "close"
    return int(head[0].split(" ")[1]), fields.get("x-peer", ""), body, keep


async def _client(host, port, numbers, size, answers, expected, headers):
    reader = writer = None
    for number in numbers:
        path = f"/{number}/{size}"
        if writer is None:
            reader, writer = await asyncio.open_connection(host, port)
        if number % 5 == 4:
            sent = body_of(path)
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(sent)}\r\n"
                f"{headers}\r\n".encode() + sent
            )
        else:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        status, peer, body, keep = await _read_answer(reader)
        if status == expected == 200 and body != body_of(path):
            raise AssertionError(f"{path}: {len(body)} bytes, not the {size} that were sent")
        if status != expected:
            raise AssertionError(f"{path}: answer {status}: {body[:200]}")
        answers.append(Answer(status, peer))
        if not keep:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def _all(port, requests, clients, size, host, expected, headers):
    answers = []
    await asyncio.gather(
        *(
            _client(host, port, range(n, requests, clients), size, answers, expected, headers)
            for n in range(clients)
        )
    )
    return answers


def load(port, requests, clients=16, size=3000, host="127.0.0.1", expected=200, headers=""):
    """`requests` answers of status `expected`, in any order. One in five is a POST. Any wrong byte,
    answer or broken connection is an error."""
    return asyncio.run(_all(port, requests, clients, size, host, expected, headers))
