"""Memory and descriptors of the processes that live all the time.

A value is flat when the median of its last quarter is not above that of its first quarter after the
warm-up by more than a bound. The bounds are what a leak would exceed within the ten minutes that a soak
should last at least, with some 100 connects a second: 20 bytes a connect are a MiB, a descriptor a fault
more than a hundred. What moves without a leak stays below: allocators keep what a burst needed, and
poold's record of the last hour is full after an hour only."""

import os
import statistics

# The processes that poold was, one after the other: what a hand-over adds stays with the next.
RENEWED = "poold, whatever its process"

# Role: KiB of memory of its own (anonymous), KiB of PSS, descriptors.
BOUNDS = {
    "poold": (512, 2048, 1),
    RENEWED: (None, None, 1),
    # Each holds 20 to 40 connections, at rest too.
    "worker": (256, 512, 24),
    "nginx": (256, 512, 2),
    "haproxy": (512, 768, 2),
    # Its heap is as large as it can be from the start; what the compiler and the threads need is not.
    "java": (12288, 14336, 4),
}
KINDS = ("memory of its own, KiB", "PSS, KiB", "descriptors")


def measure(pid):
    figures = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            words = line.split()
            if words[-1] == "kB":
                figures[words[0]] = int(words[1])
    return figures["Anonymous:"], figures["Pss:"], len(os.listdir(f"/proc/{pid}/fd"))


class Watch:
    def __init__(self):
        self.samples = {}  # (role, pids): [(anonymous, pss, descriptors)]

    def sample(self, roles):
        """roles: {role: pids}. A role's processes are one sum; other processes are another series."""
        for role, pids in roles.items():
            sums = tuple(map(sum, zip(*(measure(pid) for pid in pids))))
            key = (role, () if role == RENEWED else tuple(pids))
            self.samples.setdefault(key, []).append(sums)

    def report(self, out):
        """The figures as a Markdown table; what has grown too much."""
        grown = []
        out("| process | what | samples | first quarter | last quarter | growth | bound |")
        out("|---|---|---|---|---|---|---|")
        for (role, _), samples in self.samples.items():
            quarter = len(samples) // 4
            if quarter < 2:
                out(f"| {role} | | {len(samples)} | too few | | | |")
                continue
            for kind, bound in enumerate(BOUNDS[role]):
                if bound is None:
                    continue
                first = statistics.median(s[kind] for s in samples[:quarter])
                last = statistics.median(s[kind] for s in samples[-quarter:])
                out(
                    f"| {role} | {KINDS[kind]} | {len(samples)} | {first:,.0f} | {last:,.0f}"
                    f" | {last - first:+,.0f} | {bound:,} |"
                )
                if last - first > bound:
                    grown.append(f"{role}: {KINDS[kind]} grew from {first} to {last}")
        return grown
