"""Memory and descriptors of the processes that live all the time.

A value is flat when the median of its last quarter is not above that of its first quarter after the
warm-up by more than a bound. Descriptors at rest do not move, but for the connections that workers hold, so
two are enough to be found. Memory moves without a leak: allocators keep what a burst needed, and poold's record
of the last hour takes 2.8 KiB a second at first (docs/scale.md). Shared pages are left out: how many
share them is the matter of whatever else runs on the machine."""

import os
import statistics

# The processes that poold was, one after the other: what a hand-over adds stays with the next.
RENEWED = "poold, whatever its process"

# Role: KiB of memory of its own (anonymous), descriptors.
BOUNDS = {
    "poold": (1024, 1),
    RENEWED: (None, 2),
    # Each holds 20 to 40 connections, at rest too.
    "worker": (256, 24),
    "nginx": (256, 2),
    "haproxy": (1024, 2),
    # Its heap is as large as it can be from the start; what the compiler and the threads need is not.
    "java": (12288, 4),
}
KINDS = ("memory of its own, KiB", "descriptors")


def measure(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        anonymous = next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))
    return anonymous, len(os.listdir(f"/proc/{pid}/fd"))


class Watch:
    def __init__(self):
        self.samples = {}  # (role, pids): [(anonymous, descriptors)]

    def sample(self, roles):
        """roles: {role: pids}. A role's processes are one sum; other processes are another series."""
        for role, pids in roles.items():
            sums = tuple(map(sum, zip(*(measure(pid) for pid in pids))))
            key = (role, () if role == RENEWED else tuple(pids))
            self.samples.setdefault(key, []).append(sums)

    def forget_after_first(self, role):
        """Begins anew with the process that is there now, and keeps the series of the first."""
        for key in [key for key in self.samples if key[0] == role][1:]:
            del self.samples[key]

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
