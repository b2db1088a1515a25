#!/usr/bin/env python3
"""Runs wrk, a new connection for each request, and prints as JSON what it did and what it cost.

usage: load.py DIRECTORY PERF SECONDS URL [NAME=VALUE...]

PERF is `perf` to sample where the CPU time goes, or `none`; the rest is wrk's environment.
"""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "quickstart"))
sys.dont_write_bytecode = True
from report import read_wrk  # noqa: E402

WRK = ["wrk", "-t2", "-c32", "--latency", "-H", "Connection: close"]
SEARCH = "__inet_hash_connect"  # the kernel's search for a source port


def requests(wrk: Path) -> int:
    return int(re.search(r"(\d+) requests in", wrk.read_text()).group(1))


def share_of_search(samples: Path) -> float | None:
    """The per cent of wrk's CPU time inside the search; None without perf, or without symbols."""
    report = subprocess.run(
        ["perf", "report", "-i", samples, "--stdio", "--children", "-g", "none", "-F",
         "overhead_children,sym", "--comms", "wrk"],
        capture_output=True, text=True,
    ).stdout
    if "connect" not in report:
        return None
    found = re.search(rf"([\d.]+)%\s+\[k\] {SEARCH}\b", report)
    return float(found.group(1)) if found else 0.0


def main() -> int:
    directory, perf, seconds, url, *environment = Path(sys.argv[1]), *sys.argv[2:]
    samples = directory / "perf.data"
    command = ["env", *environment, *WRK, f"-d{seconds}s", url]
    if perf == "perf":
        # cpu-clock: there need not be a counter in a virtual machine.
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-g", "-o",
                   str(samples), "--", *command]
    wrk = directory / "wrk.txt"
    with open(wrk, "w") as out, open(directory / "wrk.log", "a") as errors:
        subprocess.run(command, stdout=out, stderr=errors, check=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = requests(wrk)
    run = read_wrk(wrk)
    run["requests"] = done
    run["cpu_us_per_request"] = (usage.ru_utime + usage.ru_stime) * 1e6 / max(done, 1)
    run["search_percent"] = share_of_search(samples) if perf == "perf" else None
    print(json.dumps(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
