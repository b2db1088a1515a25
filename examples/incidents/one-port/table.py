#!/usr/bin/env python3
"""Puts the outcomes of all trials side by side.

usage: table.py DIRECTORY OUT

Prints the table, and what second source addresses change; writes the sums to OUT as JSON.
"""

import json
import sys
from pathlib import Path

RANGES = {"even": "one, even", "odd": "one, odd", "two": "two"}
REUSE = ["0", "1", "2"]


def key(case: dict) -> tuple:
    return case["used"], case["state"], case["target"], case["family"]


def read(file: Path) -> dict[tuple, str]:
    return {key(case): case["outcome"] for case in json.loads(file.read_text())}


def first_choices(work: Path) -> dict[str, int]:
    """Which of two free ports the kernel took."""
    counts = {"even": 0, "odd": 0}
    for reuse in REUSE:
        for case in json.loads((work / f"trial-two-kernel-{reuse}.json").read_text()):
            if case["used"] == 1:
                counts["odd" if case["source_ports"][0] % 2 else "even"] += 1
    return counts


def mark(kernel: str, pool: str) -> str:
    if kernel != pool:
        return f"{kernel}/{pool}"
    return {"ok": "ok", "EADDRNOTAVAIL": "-"}.get(kernel, kernel)


def main() -> int:
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    families: list[str] = []
    sums = {"cases": 0, "different": [], "kernel_ok": 0, "kernel_refused": 0, "other_refused": 0,
            "established_same_refused": 0, "established_same": 0,
            "first_choices": first_choices(work)}
    refused = {}
    for name, ports in RANGES.items():
        trials = {
            (path, reuse): read(work / f"trial-{name}-{path}-{reuse}.json")
            for path in ("kernel", "pool") for reuse in REUSE
        }
        rows: dict[tuple, dict[str, list[str]]] = {}
        for case in trials["kernel", "0"]:
            *row, family = case
            if family not in families:
                families.append(family)
            for reuse in REUSE:
                kernel, pool = trials["kernel", reuse][case], trials["pool", reuse][case]
                rows.setdefault(tuple(row), {}).setdefault(family, []).append(mark(kernel, pool))
                sums["cases"] += 1
                sums["kernel_ok" if kernel == "ok" else "kernel_refused"] += 1
                if kernel != pool:
                    sums["different"].append([name, reuse, *case, kernel, pool])
                if case[2] == "other":
                    sums["other_refused"] += kernel != "ok"
                elif case[1] == "established" and case[0] == (2 if name == "two" else 1):
                    sums["established_same"] += 1
                    sums["established_same_refused"] += kernel != "ok"
            if name == "even" and trials["kernel", "0"][case] != "ok":
                refused[case] = True
        if name == "even":
            print(f"  {'ports':<10} {'used':<4} {'state':<11} {'to':<5}", *(f"{f:>10}" for f in families))
        for (used, state, target), cells in rows.items():
            print(f"  {ports:<10} {used:<4} {state:<11} {target:<5}",
                  *(f"{' '.join(f'{c:>2}' for c in cells[f]):>10}" for f in families))
    relieved = read(work / "trial-sources.json")
    left = sorted({case[3] for case in refused if relieved[case] != "ok"})
    sums["second_source"] = {"refused_without": len(refused), "refused_with": sum(
        relieved[case] != "ok" for case in refused), "left": left}
    out.write_text(json.dumps(sums))
    return 0


if __name__ == "__main__":
    sys.exit(main())
