#!/usr/bin/python3
"""What connect() costs with each of the ways round a full half of the port range (docs/alternatives.md).

    bench/alternatives/alternatives.py --build build/release       # under a minute

In a network namespace of its own, as root or as a user who may make user namespaces. Connections are
held from one address to one destination, on ports of the kernel's choice, in so many processes as
the limit of open files asks for; the arms' blocks follow each other in random order, round by
round. Prints a table: microseconds, p50 / p99. See bench/README.md.
"""

import argparse
import contextlib
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

RESET = struct.pack("ii", 1, 0)
IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51
HERE, ELSEWHERE, SOURCE, PORT = "127.0.0.1", "127.0.0.3", "127.0.0.2", 9001

# How the socket is made ready, and where it connects to.
ARMS = {
    "the kernel's default": (lambda s: None, HERE),
    "portpool": (lambda s: None, HERE),
    "`IP_LOCAL_PORT_RANGE` = 1..65535 on the socket": (
        lambda s: s.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("HH", 1, 65535)), HERE),
    "a second source address, with `IP_BIND_ADDRESS_NO_PORT`": (
        lambda s: (s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1), s.bind((SOURCE, 0))), HERE),
    "a second destination address": (lambda s: None, ELSEWHERE),
    "`bind(address, 0)`, then `connect()`": (lambda s: s.bind((HERE, 0)), HERE),
}
DEFAULT, POOL = list(ARMS)[:2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--held", type=int, default=14700, help="connections that stand [%(default)s]")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def worker(descriptors):
    """Reads "calls arm" lines, and answers each with the microseconds of its calls."""
    listeners = dict(zip((HERE, ELSEWHERE), (socket.socket(fileno=int(fd)) for fd in descriptors.split(","))))
    for line in sys.stdin:
        calls, arm = line.rstrip("\n").split(" ", 1)
        prepare, to = ARMS[arm]
        times = []
        for _ in range(int(calls)):
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                start = time.perf_counter_ns()
                prepare(connection)
                connection.connect((to, PORT))
                times.append((time.perf_counter_ns() - start) / 1e3)
            listeners[to].accept()[0].close()
        print(*times, flush=True)


class Workers:
    """One natively, one under the library."""

    def __init__(self, build, daemon_socket, listeners):
        descriptors = [listener.fileno() for listener in listeners]
        command = [sys.executable, __file__, "--build", build, "--worker", ",".join(map(str, descriptors))]
        library = {"LD_PRELOAD": f"{build}/lib/libportpool.so", "PORTPOOL_SOCKET": daemon_socket}
        self.processes = [subprocess.Popen(command, env={**os.environ, **more}, pass_fds=descriptors, text=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE) for more in ({}, library)]

    def times(self, arm, calls):
        process = self.processes[arm == POOL]
        print(calls, arm, file=process.stdin, flush=True)
        return [float(word) for word in process.stdout.readline().split()]

    def measure(self, arms, rounds, calls=50):
        times = {arm: [] for arm in arms}
        for _ in range(rounds):
            for arm in random.sample(arms, len(arms)):
                times[arm] += self.times(arm, calls)
        return {arm: "{:,.1f} / {:,.0f}".format(*(sorted(all_of)[int(len(all_of) * share)] for share in (0.5, 0.99)))
                for arm, all_of in times.items()}


class Holder:
    """A process with `count` connections; end() closes this side's ends, then the other's."""

    def __init__(self, listener, count):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ends = []
            for _ in range(count):
                ends.append((socket.create_connection((HERE, PORT)), listener.accept()[0]))
            for side in (0, 1):
                theirs.send(b"x")
                theirs.recv(1)
                for pair in ends:
                    pair[side].close()
            theirs.send(b"x")
            os._exit(0)
        self.line = ours
        self.line.recv(1)

    def end(self):
        for _ in range(2):
            self.line.send(b"x")
            self.line.recv(1)


def sysctl(name, value):
    with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
        file.write(value)


def listen(address):
    return socket.create_server((address, PORT), backlog=4096)


@contextlib.contextmanager
def daemon(build, folder):
    path = f"{folder}/poold.sock"
    process = subprocess.Popen([f"{build}/bin/poold", "serve", "--socket", path], stderr=subprocess.DEVNULL)
    try:
        while subprocess.run([f"{build}/bin/poold", "status", "--socket", path], capture_output=True).returncode != 0:
            time.sleep(0.05)
        yield path
    finally:
        process.terminate()
        process.wait()


def figures(options):
    with tempfile.TemporaryDirectory() as folder, daemon(options.build, folder) as path:
        listeners = [listen(HERE), listen(ELSEWHERE)]
        workers = Workers(options.build, path, listeners)
        arms = list(ARMS)
        workers.times(POOL, 10)  # makes its lane
        time.sleep(1)
        empty = workers.measure(arms, options.rounds)
        each = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100
        holders = []
        for begin in range(0, options.held, each):
            holders.append(Holder(listeners[0], min(each, options.held - begin)))
        full = workers.measure(arms, options.rounds)
        print("| | empty range | that many in use |\n|---|---|---|")
        for arm in arms:
            print(f"| {arm} | {empty[arm]} | {full[arm]} |")
        sysctl("ip_local_port_range", "1024 65535")
        print(f"| {DEFAULT}, range 1024..65535 | | {workers.measure([DEFAULT], options.rounds)[DEFAULT]} |")
        sysctl("ip_local_port_range", "32768 60999")
        for holder in holders:
            holder.end()
        time.sleep(2)  # what is older than a second may be taken over
        for reuse in "01":
            sysctl("tcp_tw_reuse", reuse)
            # Few: each that is taken over is one less.
            print(f"| {DEFAULT}, all in TIME-WAIT, `tcp_tw_reuse={reuse}` | | "
                  f"{workers.measure([DEFAULT], 10)[DEFAULT]} |")
        for process in workers.processes:
            process.stdin.close()
            process.wait()


def main():
    options = arguments()
    options.build = os.path.realpath(options.build)
    if options.worker:
        worker(options.worker)
    elif options.inside:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        figures(options)
    else:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        sys.exit(subprocess.run(["unshare", *user, "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                                 sys.executable, os.path.realpath(__file__), *sys.argv[1:], "--inside"],
                                check=False).returncode)


main()
