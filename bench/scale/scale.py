#!/usr/bin/python3
"""What poold costs, and whether programs feel it, on a host with many of everything.

    bench/scale/scale.py --build build/release                 # about two minutes, some GB of memory
    bench/scale/scale.py --build build/release --small         # a tenth of it, half a minute

In namespaces of its own (network, processes, mounts), so that nothing is left when it ends, however
it ends. See bench/README.md.
"""

import argparse
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from crowd import Attached, Callers, Clients, Holders, Server, network_up  # noqa: E402
from segment import Pulse, Segment  # noqa: E402

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def enter_namespaces():
    """Returns in the first process of the namespaces; with it everything ends."""
    ids = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
    must(LIBC.unshare(flags | (CLONE_NEWUSER if ids[0] else 0)), "unshare")
    if ids[0]:
        for name, line in (("setgroups", "deny"), ("uid_map", "0 %d 1"), ("gid_map", "0 %d 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line % ids[name == "gid_map"] if "%d" in line else line)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 2)
    must(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "tmpfs", "/mnt"],
    ):
        subprocess.run(command, check=True)
    tempfile.tempdir = "/mnt"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", default="build/release", help="folder of the build")
    parser.add_argument("--small", action="store_true", help="a tenth of everything")
    parser.add_argument("--max-lanes", type=int, default=16384)
    parser.add_argument("--destinations", type=int, default=20000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rate", type=int, default=1000, help="connects a second of each client")
    parser.add_argument("--sockets", type=int, default=200000, help="on the host besides")
    parser.add_argument("--attached", type=int, default=1000, help="processes that do nothing")
    parser.add_argument("--callers", type=int, default=5000, help="programs that connect once")
    parser.add_argument("--callers-seconds", type=float, default=10, help="in which they start")
    parser.add_argument("--seconds", type=float, default=20, help="of the phases before and after")
    parser.add_argument("--json", help="writes the figures to this file too")
    options = parser.parse_args()
    if options.small:
        for name in ("max_lanes", "destinations", "sockets", "attached", "callers"):
            setattr(options, name, max(1, getattr(options, name) // 10))
        options.seconds /= 2
    options.build = os.path.abspath(options.build)
    options.json = options.json and os.path.abspath(options.json)
    return options


class Daemon:
    def __init__(self, build, max_lanes):
        self.poold = os.path.join(build, "bin/poold")
        self.socket = "/mnt/poold.sock"
        with open("/mnt/poold.toml", "w") as file:
            file.write(f"max_lanes = {max_lanes}\n")
        self.log = open("/mnt/poold.log", "wb")
        self.process = subprocess.Popen(
            [self.poold, "serve", "--config", "/mnt/poold.toml", "--socket", self.socket],
            stderr=self.log,
        )
        while not os.path.exists(self.socket):
            if self.process.poll() is not None:
                sys.exit("poold ended: " + open("/mnt/poold.log").read())
            time.sleep(0.01)
        self.environment = {
            **os.environ,
            "LD_PRELOAD": os.path.join(build, "lib/libportpool.so"),
            "PORTPOOL_SOCKET": self.socket,
        }

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def own_memory_kib(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))

    def status(self):
        answer = subprocess.run(
            [self.poold, "status", "--json", "--socket", self.socket], capture_output=True
        )
        return json.loads(answer.stdout) if answer.returncode <= 1 else {}


class Recorder:
    """Figures of one phase after the other."""

    def __init__(self, daemon, segment):
        self.daemon, self.segment = daemon, segment
        self.phases = []
        self.before = self.now()

    def now(self):
        return {
            "time": time.monotonic(),
            "cpu_s": self.daemon.cpu_s(),
            "passes": self.segment.passes(),
            "pass_cpu_s": self.segment.pass_cpu_ns() / 1e9,
        }

    def phase(self, name, action):
        pulse = Pulse(self.segment)
        action()
        after = self.now()
        oldest_ms = pulse.end()
        spent = {key: after[key] - self.before[key] for key in after}
        self.before = self.now()
        lanes = self.segment.lanes()
        figures = {
            "phase": name,
            "seconds": round(spent["time"], 1),
            "heartbeat_oldest_ms": round(oldest_ms),
            "poold_core_percent": round(100 * spent["cpu_s"] / spent["time"], 1),
            "passes": spent["passes"],
            "ms_per_pass": round(1000 * spent["pass_cpu_s"] / max(spent["passes"], 1), 1),
            "passes_core_percent": round(100 * spent["pass_cpu_s"] / spent["time"], 1),
            "lanes": lanes,
            "own_memory_kib": self.daemon.own_memory_kib(),
            "clients": self.segment.clients(),
        }
        self.phases.append(figures)
        row(*figures.values())


def row(*cells):
    widths = (24, 8, 10, 10, 7, 9, 10, 7, 11, 8)
    print("".join(str(cell).rjust(w) if i else str(cell).ljust(w)
                  for i, (cell, w) in enumerate(zip(cells, widths))), flush=True)


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def main():
    options = arguments()
    enter_namespaces()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    network_up()
    daemon = Daemon(options.build, options.max_lanes)
    segment = Segment(daemon.process.pid)
    empty_kib = daemon.own_memory_kib()
    server = Server(9000)
    recorder = Recorder(daemon, segment)
    row("phase", "s", "oldest ms", "poold %", "passes", "ms/pass", "passes %", "lanes", "own KiB",
        "clients")
    recorder.phase("at rest", lambda: time.sleep(options.seconds / 4))
    holders = Holders(options.sockets, server)
    recorder.phase(f"{options.sockets} sockets", lambda: (holders.fill(), time.sleep(3)))
    attached = Attached(options.attached, daemon.environment)
    recorder.phase(f"{options.attached} attached", lambda: (attached.start(), time.sleep(3)))
    clients = Clients(options.clients, options.destinations, options.rate, server.port)
    wanted = min(options.max_lanes, options.destinations)

    def make_lanes():
        clients.start(daemon.environment)
        until(lambda: segment.lanes() >= wanted * 0.99, 4 * options.seconds)

    recorder.phase("lanes come", make_lanes)
    recorder.phase("clients go on", lambda: time.sleep(options.seconds))
    callers = Callers(options.callers, options.callers_seconds, options.destinations, server.port,
                      os.path.join(options.build, "bin/bench_scale_caller"))
    recorder.phase(f"{options.callers} programs", lambda: callers.run(daemon.environment))
    connects = clients.stop()
    recorder.phase("clients have ended", lambda: time.sleep(options.seconds))
    status = daemon.status()
    fallbacks = {key: n for key, n in status.get("fallbacks", {}).items() if n}
    grown_kib = recorder.phases[-1]["own_memory_kib"] - empty_kib
    figures = {
        "options": vars(options),
        "phases": recorder.phases,
        "sockets": holders.held,
        "own_memory_kib_empty": empty_kib,
        "own_memory_kib_per_lane": round(grown_kib / max(segment.lanes(), 1), 1),
        "connects": status.get("connects"),
        "client_connects": connects,
        "fallbacks": fallbacks,
        "callers": callers.results,
        "callers_seconds": round(callers.seconds, 1),
    }
    print(f"\nsockets held: {holders.held}; poold's own memory: {empty_kib} KiB without lanes, "
          f"{figures['own_memory_kib_per_lane']} KiB per lane at the end")
    print(f"connects: {figures['connects']}; fallbacks: {fallbacks}")
    print(f"programs that connected once, in {figures['callers_seconds']} s: {callers.results}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)
    daemon.process.terminate()
    daemon.process.wait()


if __name__ == "__main__":
    main()
