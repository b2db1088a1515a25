"""Memory and descriptors of the processes that live all the time.

A value is flat when the median of its last quarter is not above that of its first quarter after the
warm-up by more than a bound. The bounds are what a leak would exceed within the ten minutes that a soak
should last at least, with some 100 connects a second: 20 bytes a connect are a MiB, a descriptor a fault
more than a hundred. What moves without a leak stays below: allocators keep what a burst needed, and
poold's record of the last hour is full after an hour only."""

import os
import statistics

# Role: KiB of memory of its own (anonymous), KiB of PSS, descriptors.
BOUNDS = {
    "poold": (1024, 2048, 4),
    "worker": (512, 1024, 4),
    "nginx": (1024, 2048, 8),
    "haproxy": (2048, 3072, 16),
    # Its heap is as large as it can be from the start; what the compiler and the threads need is not.
    "java": (12288, 14336, 16),
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
            self.samples.setdefault((role, tuple(pids)), []).append(sums)

    def report(self, out):
        """The figures as a Markdown table; what has grown too much."""
        grown = []
        out("| process | what | samples | first quarter | last quarter | growth | bound |")
        out("|---|---|---|---|---|---|---|")
        for (role, _), samples in self.samples.items():
            quarter = len(samples) // 4
            if quarter < 2:
                continue  # replaced soon
            for kind, bound in enumerate(BOUNDS[role]):
                first = statistics.median(s[kind] for s in samples[:quarter])
                last = statistics.median(s[kind] for s in samples[-quarter:])
                out(
                    f"| {role} | {KINDS[kind]} | {len(samples)} | {first:,.0f} | {last:,.0f}"
                    f" | {last - first:+,.0f} | {bound:,} |"
                )
                if last - first > bound:
                    grown.append(f"{role}: {KINDS[kind]} grew from {first} to {last}")
        return grown
