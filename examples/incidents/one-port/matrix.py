#!/usr/bin/env python3
"""What connect() does when one or two ports are all there is.

usage: matrix.py PORTS      the numbers of ports in ip_local_port_range: 1 or 2

For every case it brings `used` ports into a state toward a destination of its own, and then
connects once more, to the same destination or to another one. Prints the cases as JSON.
"""

import errno
import itertools
import json
import socket
import struct
import sys
import time

FAMILIES = {
    "IPv4": (socket.AF_INET, "127.0.0.1"),
    "IPv4 far": (socket.AF_INET, "10.9.0.9"),
    "IPv6": (socket.AF_INET6, "::1"),
    "IPv6 far": (socket.AF_INET6, "fd09::9"),
    "mapped": (socket.AF_INET6, "::ffff:127.0.0.1"),
    "mapped far": (socket.AF_INET6, "::ffff:10.9.0.9"),
}
STATES = ["established", "TIME-WAIT"]
TARGETS = ["same", "other"]
FIRST_PORT = 9001
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets, and leaves no TIME-WAIT
REUSABLE_AFTER = 1.5  # seconds, with tcp_tw_reuse: more than tcp_tw_reuse_delay


def connect(family: str, port: int) -> socket.socket:
    kind, address = FAMILIES[family]
    connection = socket.socket(kind)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def connect_when_reachable(family: str, port: int) -> socket.socket:
    """Addresses of IPv6 are of use a moment after they were given."""
    for _ in range(100):
        try:
            return connect(family, port)
        except OSError as error:
            if error.errno != errno.ENETUNREACH:
                raise
        time.sleep(0.02)
    return connect(family, port)


def meet(family: str, port: int) -> None:
    """Twice, so that the pool knows the destination; leaves nothing behind."""
    for _ in range(2):
        with connect_when_reachable(family, port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def all_cases(ports: int) -> list[dict]:
    numbers = itertools.count(FIRST_PORT, 2)
    return [
        {"family": family, "state": state, "target": target, "used": used, "port": next(numbers)}
        for used in range(1, ports + 1)
        for state in STATES
        for target in TARGETS
        for family in FAMILIES
    ]


def main() -> int:
    cases = all_cases(int(sys.argv[1]))
    for case in cases:
        meet(case["family"], case["port"])
        meet(case["family"], case["port"] + 1)
    time.sleep(0.5)
    held = []
    for case in cases:
        first = [connect(case["family"], case["port"]) for _ in range(case["used"])]
        case["source_ports"] = sorted(one.getsockname()[1] for one in first)
        if case["state"] == "TIME-WAIT":
            for one in first:
                one.shutdown(socket.SHUT_WR)
                one.recv(1)  # the server has closed too
                one.close()
        else:
            held += first
    time.sleep(REUSABLE_AFTER)
    for case in cases:
        try:
            held.append(connect(case["family"], case["port"] + (case["target"] == "other")))
            case["outcome"] = "ok"
        except OSError as error:
            case["outcome"] = errno.errorcode[error.errno]
    print(json.dumps(cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
