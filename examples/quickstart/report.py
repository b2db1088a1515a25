#!/usr/bin/env python3
"""Reads what measure.sh left and prints it.

usage: report.py line DIRECTORY PATH HELD       one measurement, as a line
       report.py table DIRECTORY [--json FILE]  all measurements PATH-HELD-ROUND, as medians
"""

import json
import re
import statistics
import sys
from pathlib import Path

UNITS_IN_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
NAMES = {"kernel": "kernel", "pool": "portpool"}


def milliseconds(text: str) -> float:
    value, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()
    return float(value) * UNITS_IN_MS[unit]


def read_wrk(path: Path) -> dict:
    """requests_per_s, p50_ms, p99_ms and failures (answers that were not 2xx, socket errors)."""
    text = path.read_text()
    percentile = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.M))
    failures = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for errors in re.findall(r"Socket errors: (.*)", text):
        failures += sum(int(n) for n in re.findall(r"\d+", errors))
    return {
        "requests_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        "p50_ms": milliseconds(percentile["50"]),
        "p99_ms": milliseconds(percentile["99"]),
        "failures": failures,
    }


def read_status(path: Path, route: str) -> dict:
    """connect() on `route` (pool or kernel), and how many connects took which path."""
    status = json.loads(path.read_text())
    rows = [row for row in status["latency"] if row["path"] == route and row["count"] > 0]
    row = max(rows, key=lambda candidate: candidate["count"], default=None)
    return {
        "connect_p50_us": row and row["p50_us"],
        "connect_p99_us": row and row["p99_us"],
        "connects": status["connects"],
        "fallbacks": {reason: n for reason, n in status["fallbacks"].items() if n > 0},
        "rejections": status["rejections"],
    }


def warn_of_failures(failures: int) -> str:
    return f"  ({failures} requests failed)" if failures else ""


def print_line(directory: Path, route: str, held: int) -> None:
    run = read_wrk(directory / "wrk.txt")
    print(
        f"  {NAMES[route]:<9} {held:>6,} held  {run['requests_per_s']:>9,.0f} requests/s"
        f"   p50 {run['p50_ms']:.2f} ms" + warn_of_failures(run["failures"]),
        flush=True,
    )


def collect(work: Path) -> list[dict]:
    """One row per path and number of held connections, medians over the rounds."""
    runs: dict[tuple[int, str], list[Path]] = {}
    for directory in sorted(work.glob("*-*-*")):
        route, held, _round = directory.name.split("-")
        runs.setdefault((int(held), route), []).append(directory)
    rows = []
    for (held, route), directories in sorted(runs.items()):
        if route == "observe":
            continue
        wrk = [read_wrk(directory / "wrk.txt") for directory in directories]
        row = {"held": held, "path": route, "rounds": len(wrk)}
        for figure in ("requests_per_s", "p50_ms", "p99_ms"):
            row[figure] = statistics.median(run[figure] for run in wrk)
        row["failures"] = sum(run["failures"] for run in wrk)
        sources = runs[held, "observe"] if route == "kernel" else directories
        statuses = [read_status(directory / "status.json", route) for directory in sources]
        for figure in ("connect_p50_us", "connect_p99_us"):
            known = [status[figure] for status in statuses if status[figure] is not None]
            row[figure] = statistics.median(known) if known else None
        row["status"] = statuses[-1]
        rows.append(row)
    return rows


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def print_table(work: Path, json_file: str | None) -> None:
    rows = collect(work)
    print("  ports held  path       requests/s   p50 ms   p99 ms   connect() p50 us   p99 us")
    for row in rows:
        print(
            f"  {row['held']:>10,}  {NAMES[row['path']]:<9} {row['requests_per_s']:>11,.0f}"
            f" {row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f}"
            f" {microseconds(row['connect_p50_us']):>18} {microseconds(row['connect_p99_us']):>8}"
            + warn_of_failures(row["failures"])
        )
    kernel, pool = ({row["path"]: row for row in rows if row["held"] > 0}[p] for p in NAMES)
    factor = pool["requests_per_s"] / kernel["requests_per_s"]
    taken = pool["status"]["connects"]
    print(
        f"\nWith {pool['held']:,} ports held, portpool served {factor:.1f} times the kernel's"
        f" requests.\nOf its connections in the last round {taken['pool']:,} took the pool's"
        f" path and {taken['kernel']:,} the kernel's."
    )
    if json_file:
        report = {"schema": 1, "throughput_ratio": factor, "rows": rows}
        Path(json_file).write_text(json.dumps(report, indent=2) + "\n")


def main() -> int:
    match sys.argv[1:]:
        case ["line", directory, route, held]:
            print_line(Path(directory), route, int(held))
        case ["table", work]:
            print_table(Path(work), None)
        case ["table", work, "--json", json_file]:
            print_table(Path(work), json_file)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
