"""The server at the far end: HTTP/1.1 with answers that can be checked byte by byte.

GET /N/SIZE answers SIZE bytes that depend on N; POST answers what it was sent. X-Peer tells where
the connection came from. It runs as a process of its own; its counters are read by GET /count on a
port of their own.
"""

import asyncio
import hashlib
import http.client
import json
import os
import sys

from .program import Program
from .waiting import eventually, listens

COUNTER_PORT = 9099


def body_of(path):
    number, size = path.strip("/").split("/")[:2]
    block = hashlib.sha256(number.encode()).digest()
    return (block * (int(size) // len(block) + 1))[: int(size)]


class Server:
    def __init__(self):
        self.accepted = 0
        self.requests = 0
        self.sources = {}

    def counters(self):
        return json.dumps(vars(self)).encode()

    async def read_request(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, version = head[0].split(" ")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        sent = await reader.readexactly(int(fields.get("content-length", 0)))
        asked = fields.get("connection", "").lower()
        keep = asked != "close" and (version == "HTTP/1.1" or asked == "keep-alive")
        return method, path, sent, keep

    async def serve(self, reader, writer):
        peer = writer.get_extra_info("peername")[:2]
        counted = writer.get_extra_info("sockname")[1] != COUNTER_PORT
        self.accepted += counted
        if counted:
            self.sources[peer[0]] = self.sources.get(peer[0], 0) + 1
        try:
            keep = True
            while keep:
                method, path, sent, keep = await self.read_request(reader)
                self.requests += counted
                body = (
                    sent
                    if method == "POST"
                    else body_of(path) if counted else self.counters()
                )
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Peer: %s %d\r\nConnection: %s\r\n\r\n"
                    % (len(body), peer[0].encode(), peer[1], b"keep-alive" if keep else b"close")
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(ports):
    server = Server()
    for port in [*ports, COUNTER_PORT]:
        for address in ("0.0.0.0", "::"):
            await asyncio.start_server(server.serve, address, port, backlog=4096)
    await asyncio.Event().wait()


class Upstream:
    """The server as a child process that never knows the shim."""

    def __init__(self, folder, ports):
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.program = Program(
            folder, [sys.executable, "-m", "support.upstream", *ports], cwd=here
        )
        eventually(
            lambda: listens(COUNTER_PORT) and listens(COUNTER_PORT, "::"),
            f"upstream listens\n{self.program}",
        )

    def counters(self):
        connection = http.client.HTTPConnection("127.0.0.1", COUNTER_PORT)
        connection.request("GET", "/count")
        try:
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
