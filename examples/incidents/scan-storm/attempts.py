#!/usr/bin/env python3
"""Workers that keep trying to connect where no port is left, and a bystander on the same CPU.

usage: attempts.py ADDRESS PORT SECONDS

Prints as JSON: how many attempts there were, how they ended, the CPU time of each, and by how much
the bystander, which wants to wake every millisecond, was late.
"""

import errno
import json
import os
import resource
import socket
import sys
import time
from collections import Counter

WORKERS = 4
PAUSE = 0.002  # between a worker's attempts, as of a client that tries again soon


def attempt(address: str, port: int) -> str:
    with socket.socket() as connection:
        try:
            connection.connect((address, port))
        except OSError as error:
            return errno.errorcode[error.errno]
    return "ok"


def work(address: str, port: int, until: float, out: int) -> None:
    outcomes: Counter[str] = Counter()
    spent = 0.0
    while time.monotonic() < until:
        before = time.process_time()
        outcomes[attempt(address, port)] += 1
        spent += time.process_time() - before
        time.sleep(PAUSE)
    os.write(out, json.dumps({"outcomes": outcomes, "cpu_s": spent}).encode())


def lateness(until: float) -> list[float]:
    """In milliseconds, of each waking."""
    late = []
    while time.monotonic() < until:
        due = time.monotonic() + 0.001
        time.sleep(0.001)
        late.append((time.monotonic() - due) * 1000)
    return sorted(late)


def main() -> int:
    address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    # The pool meets the destination; a process that did not reach poold tries again after a second.
    attempt(address, port)
    time.sleep(1.2)
    attempt(address, port)
    time.sleep(0.3)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    until = time.monotonic() + seconds
    pipes = []
    for _ in range(WORKERS):
        read, write = os.pipe()
        if os.fork() == 0:
            work(address, port, until, write)
            os._exit(0)
        os.close(write)
        pipes.append(read)
    late = lateness(until)
    outcomes: Counter[str] = Counter()
    cpu = 0.0
    for read in pipes:
        share = json.loads(os.read(read, 65536))
        outcomes.update(share["outcomes"])
        cpu += share["cpu_s"]
        os.wait()
    tries = sum(outcomes.values())
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({
        "attempts": tries,
        "outcomes": outcomes,
        "cpu_us_per_attempt": cpu * 1e6 / max(tries, 1),
        "cpu_percent": (usage.ru_utime + usage.ru_stime) * 100 / seconds,
        "late_p50_ms": late[len(late) // 2],
        "late_p99_ms": late[len(late) * 99 // 100],
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
