#!/usr/bin/env python3
"""A client that opens connections and closes them first, so that TIME-WAIT is on its side.

usage: short.py ADDRESS PORT COUNT PER_SECOND    one after the other; PER_SECOND 0: without a pause
       short.py ADDRESS PORT COUNT hold          keeps all of them open until the end

Prints as JSON how many worked, how many did not, and what then stands in TIME-WAIT.
"""

import json
import re
import socket
import subprocess
import sys
import time

PATIENCE = 3  # seconds
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


def ask(address: str, port: int) -> socket.socket | None:
    """A connection on which the server has answered; None where there is none to be had."""
    connection = socket.socket()
    try:
        connection.connect((address, port))
        connection.sendall(REQUEST)
        if connection.recv(4096).startswith(b"HTTP/1.1 200"):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def in_time_wait(port: int) -> dict:
    """How many, and how many seconds the youngest has left."""
    lines = subprocess.run(
        ["ss", "-Htno", "state", "time-wait", f"dport = :{port}"],
        capture_output=True, text=True, check=True,
    ).stdout
    left = []
    for minutes, seconds in re.findall(r"timer:\(timewait,(?:(\d+)min)?(?:(\d+)sec)?", lines):
        left.append(60 * int(minutes or 0) + int(seconds or 0))
    return {"time_wait": len(lines.splitlines()), "seconds_left": max(left, default=0)}


def wait_for_closing(port: int) -> None:
    """Until the server has answered the last FINs."""
    closing = ["ss", "-Htn", "state", "fin-wait-1", "state", "fin-wait-2", "dport", f"= :{port}"]
    for _ in range(100):
        if not subprocess.run(closing, capture_output=True, check=True).stdout:
            return
        time.sleep(0.02)


def overflows() -> int:
    """Connections that ended without TIME-WAIT because its table was full."""
    names, values = [
        line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt:")
    ]
    return int(dict(zip(names, values))["TCPTimeWaitOverflow"])


def main() -> int:
    address, port, count, pace = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rate = 0 if pace == "hold" else float(pace)
    held = []
    worked = 0
    start = time.monotonic()
    for i in range(count):
        if rate:
            time.sleep(max(0.0, start + i / rate - time.monotonic()))
        connection = ask(address, port)
        # Where all are kept there is time; and the pool may not have met the destination yet.
        while connection is None and pace == "hold" and time.monotonic() < start + PATIENCE:
            time.sleep(0.2)
            connection = ask(address, port)
        if connection is None:
            continue
        worked += 1
        if pace == "hold":
            held.append(connection)
        else:
            connection.close()
    wait_for_closing(port)
    result = {"worked": worked, "failed": count - worked, "overflows": overflows()}
    print(json.dumps(result | in_time_wait(port)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
