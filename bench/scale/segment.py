"""The structure of poold's segment, read-only: what docs/layout.md says of the fields used here."""

import glob
import mmap
import os
import struct
import threading
import time

MAGIC = b"PRTPOOL\n"
LANE_INFOS, HEARTBEAT, CLIENTS, PASSES, PASS_CPU_NS = 120, 320, 344, 352, 360


class Segment:
    def __init__(self, pid):
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            if os.readlink(path).startswith("/memfd:portpool-structure"):
                with open(path, "rb") as file:
                    self.memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                break
        else:
            raise SystemExit("poold has no segment that can be read here")
        major = struct.unpack_from("<H", self.memory, 8)[0]
        if self.memory[:8] != MAGIC or major != 3:
            raise SystemExit(f"layout {major}: bench/scale knows layout 3 only")

    def word(self, offset):
        return struct.unpack_from("<Q", self.memory, offset)[0]

    def heartbeat(self):
        return self.word(HEARTBEAT)

    def passes(self):
        return self.word(PASSES)

    def pass_cpu_ns(self):
        return self.word(PASS_CPU_NS)

    def clients(self):
        return struct.unpack_from("<I", self.memory, CLIENTS)[0]

    def lanes(self):
        """How many are in service: those with a generation."""
        offset, stride, count = struct.unpack_from("<QII", self.memory, LANE_INFOS)
        infos = self.memory[offset:offset + stride * count]
        return sum(infos[i:i + 4] != b"\0\0\0\0" for i in range(0, len(infos), stride))


class Pulse:
    """Looks at the heartbeat every 5 ms, by its own clock, until end()."""

    def __init__(self, segment):
        self.segment = segment
        self.oldest_ms = 0.0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            pass
        beat, since = self.segment.heartbeat(), time.monotonic()
        while not self.ending.wait(0.005):
            now, seen = time.monotonic(), self.segment.heartbeat()
            if seen != beat:
                beat, since = seen, now
            self.oldest_ms = max(self.oldest_ms, 1000 * (now - since))

    def end(self):
        self.ending.set()
        self.thread.join()
        return self.oldest_ms
