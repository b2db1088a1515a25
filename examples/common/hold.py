#!/usr/bin/env python3
"""Opens connections on ports that the kernel chooses, and holds them until it is ended.

usage: hold.py ADDRESS PORT COUNT READY_FILE

The file is written once all are open. Several processes share the work where the limit of open
files asks for it.
"""

import os
import resource
import signal
import socket
import sys

SPARE_FILES = 64


def open_connections(address: str, port: int, count: int) -> list[socket.socket]:
    held = []
    for _ in range(count):
        connection = socket.socket()
        connection.connect((address, port))
        held.append(connection)
    return held


def start_holder(address: str, port: int, count: int) -> tuple[int, int]:
    """Forks a process that holds `count` connections; a byte in the pipe says they are open."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            held = open_connections(address, port, count)
            os.write(done, b"1")
            while held:
                signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    return pid, ready


def main() -> int:
    address, port, count, ready_file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - SPARE_FILES
    holders: list[tuple[int, int]] = []

    def end(*_: object) -> None:
        for pid, _ready in holders:
            os.kill(pid, signal.SIGTERM)
        for pid, _ready in holders:
            os.waitpid(pid, 0)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    while count > 0:
        share = min(count, most)
        holders.append(start_holder(address, port, share))
        count -= share
    for _pid, ready in holders:
        if os.read(ready, 1) != b"1":
            print("hold: a connection was refused", file=sys.stderr)
            end()
    with open(ready_file, "w", encoding="ascii") as file:
        file.write("ready\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
