#!/usr/bin/env python3
"""A program with a fault: it binds sockets, so that each takes a port, and never connects them.

usage: bind.py COUNT READY_FILE

Stops at the first that fails; writes how many there are to the file, and holds them until it is ended.
"""

import resource
import signal
import socket
import sys


def main() -> int:
    count, ready_file = int(sys.argv[1]), sys.argv[2]
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bound = []
    for _ in range(count):
        one = socket.socket()
        try:
            one.bind(("", 0))
        except OSError as error:
            print(f"bind: {error}", file=sys.stderr)
            break
        bound.append(one)
    with open(ready_file, "w", encoding="ascii") as file:
        file.write(f"{len(bound)}\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
