#!/usr/bin/python3
"""What poold costs when a program connects to many destinations once each, as scanners do.

    bench/scale/cold.py --build build/release                  # half a minute
    bench/scale/cold.py --build build/release --nmap           # nmap -sT besides, where it is installed

In namespaces of its own, as scale.py. Prints poold's share of a core: at rest, and while a client
connects to each destination once (somebody listens; nobody does). See bench/README.md.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from crowd import RESET, Server, destination, network_up  # noqa: E402
from scale import Daemon, enter_namespaces  # noqa: E402

NOBODY = 9  # a port


def client(count, rate, port):
    due = time.monotonic()
    for i in range(count):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.connect_ex((destination(i), port))
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def under_the_library(daemon, *command):
    subprocess.run([str(word) for word in command], env=daemon.environment, check=True,
                   stdout=subprocess.DEVNULL)


def measure(daemon, name, action):
    begin, cpu_s = time.monotonic(), daemon.cpu_s()
    before = daemon.status()["counters"].get("lane_requests", 0)
    action()
    seconds, cpu_s = time.monotonic() - begin, daemon.cpu_s() - cpu_s
    status = daemon.status()
    asked = status["counters"].get("lane_requests", 0) - before
    print(f"{name:<28}{seconds:>8.1f} s{1000 * cpu_s:>9.0f} ms{100 * cpu_s / seconds:>8.2f} % of a core"
          f"{asked:>8} requests{len(status['lanes']):>7} lanes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", default="build/release", help="folder of the build")
    parser.add_argument("--destinations", type=int, default=30000)
    parser.add_argument("--rate", type=int, default=3000, help="connects a second")
    parser.add_argument("--max-lanes", type=int, default=1024)
    parser.add_argument("--nmap", action="store_true", help="nmap -sT of ports 1 to 30000 besides")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    enter_namespaces()
    network_up()
    daemon = Daemon(build, options.max_lanes)
    Server(9000)
    once = ["/usr/bin/python3", os.path.abspath(__file__), "client", options.destinations, options.rate]
    time.sleep(1)
    measure(daemon, "at rest", lambda: time.sleep(10))
    for name, port in (("once each, a listener", 9000), ("once each, nobody listens", NOBODY)):
        measure(daemon, name, lambda port=port: under_the_library(daemon, *once, port))
    if options.nmap and shutil.which("nmap"):
        scan = ["nmap", "-sT", "-n", "-Pn", "-p", "1-30000"]
        measure(daemon, "nmap -sT, 30,000 ports", lambda: under_the_library(daemon, *scan, "127.5.0.1"))
    daemon.process.terminate()
    daemon.process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client(*(int(word) for word in sys.argv[2:]))
    else:
        main()
