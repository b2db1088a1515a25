"""Waiting for what another process does. The deadline is so late that only a hang reaches it."""

import os
import socket
import time

DEADLINE = 30.0


def eventually(condition, what):
    """Returns the first true value of `condition`; fails the test at the deadline."""
    end = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen: {what}")
        time.sleep(0.005)


def listens(port, address="127.0.0.1"):
    """Without connecting: a connection would be counted."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    table = "/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp"
    with open(table) as lines:
        return any(
            words[3] == "0A" and words[1].endswith(f":{port:04X}")
            for words in (line.split() for line in lines)
        )


def is_gone(pid):
    """True when it has ended, whether or not it has been waited for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split() if not is_gone(int(word))]


def read(path):
    """The file's text; empty when there is no file."""
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as file:
        return file.read()
