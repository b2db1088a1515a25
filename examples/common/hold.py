#!/usr/bin/env python3
"""Opens connections and holds them until it is ended.

usage: hold.py ADDRESS PORT COUNT READY_FILE       on ports that the kernel chooses
       hold.py ADDRESS PORT LOW-HIGH[:LEFT] READY_FILE    on each of these ports that is still free,
                                                          but for LEFT of them (Linux 6.3)

Those that are left are what the kernel would leave too: it takes a port of the parity of LOW as
long as there is one.

The file is written once all are open. Several processes share the work where the limit of open
files asks for it.
"""

import errno
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial

SPARE_FILES = 64
IP_LOCAL_PORT_RANGE = 51  # <linux/in.h>
# From then on a TIME-WAIT toward a loopback address gives its port away (tcp_tw_reuse 2, tcp(7)).
REUSE_DELAY = 1.1  # seconds


def open_connections(address: str, port: int, count: int) -> list[socket.socket]:
    held = []
    for _ in range(count):
        connection = socket.socket()
        connection.connect((address, port))
        held.append(connection)
    return held


def ports_to_take(wanted: str) -> list[int]:
    """In the kernel's order, of "LOW-HIGH" or "LOW-HIGH:LEFT"."""
    ends, _, left = wanted.partition(":")
    low, high = map(int, ends.split("-"))
    ports = [*range(low, high + 1, 2), *range(low + 1, high + 1, 2)]
    return ports[: len(ports) - int(left or 0)]


def take_port(address: str, port: int, own: int) -> socket.socket | None:
    """None: it is not free."""
    connection = socket.socket()
    only_this = struct.pack("=I", own << 16 | own)
    connection.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, only_this)
    try:
        connection.connect((address, port))
    except OSError as error:
        connection.close()
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return None
    return connection


def take_ports(address: str, port: int, ports: list[int]) -> list[socket.socket]:
    """Leaves out the search, which takes milliseconds for each connection when few are free."""
    found = {own: take_port(address, port, own) for own in ports}
    refused = [own for own, connection in found.items() if connection is None]
    if refused:
        time.sleep(REUSE_DELAY)
        found.update((own, take_port(address, port, own)) for own in refused)
    return [connection for connection in found.values() if connection is not None]


def start_holder(open_them: Callable[[], list[socket.socket]]) -> tuple[int, int]:
    """Forks a process that holds connections; a byte in the pipe says they are open."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            held = open_them()
            os.write(done, b"1")
            while True:
                signal.pause()
        except OSError as error:
            print(f"hold: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    os.close(done)
    return pid, ready


def main() -> int:
    address, port, wanted, ready_file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
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
    if "-" in wanted:
        ports = ports_to_take(wanted)
        shares = [ports[i : i + most] for i in range(0, len(ports), most)]
        jobs = [partial(take_ports, address, port, share) for share in shares]
    else:
        count = int(wanted)
        shares = [min(count - i, most) for i in range(0, count, most)]
        jobs = [partial(open_connections, address, port, share) for share in shares]
    for job in jobs:
        holders.append(start_holder(job))
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
