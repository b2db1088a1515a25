#!/usr/bin/python3
"""What it costs to start a program under the library: fork, exec and the end of one that does nothing.

    bench/starting/starting.py --build build/release            # under a minute

The arms (natively, with the library and no daemon, with both, --against: another build of the
library, the same two) follow each other in random order, round by round, in one process; differences
and ratios are between arms of the same round. In a network namespace of its own. See bench/README.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--against", help="another build of the library, two arms more")
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def wait_for_daemon(build, socket):
    for _ in range(500):
        status = [f"{build}/bin/poold", "status", "--json", "--socket", socket]
        if subprocess.run(status, capture_output=True).returncode == 0:
            return
        time.sleep(0.02)
    sys.exit("poold does not answer")


def arms_of(library, socket, suffix=""):
    return {
        "no daemon" + suffix: f"LD_PRELOAD={library},PORTPOOL_SOCKET={socket}.none",
        "daemon" + suffix: f"LD_PRELOAD={library},PORTPOOL_SOCKET={socket}",
    }


def measure(build, arms, rounds):
    starter = [f"{build}/bin/bench_starter", str(rounds), f"{build}/bin/bench_nothing"]
    out = subprocess.run([*starter, *arms.values()], check=True, capture_output=True, text=True).stdout
    print(f"{'start of a program, medians':28}{'us':>10}{'more, us':>10}{'ratio':>10}")
    for name, line in zip(arms, out.splitlines()):
        total, more, ratio = map(float, line.split())
        print(f"{name:28}{total:10.1f}{more:10.1f}{ratio:10.2f}")


def main():
    args = arguments()
    if not args.inside:
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        here = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside"]
        os.execvp("unshare", ["unshare", *user, "--net", *here])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    build = os.path.abspath(args.build)
    with tempfile.TemporaryDirectory() as directory:
        socket = f"{directory}/poold.sock"
        serve = [f"{build}/bin/poold", "serve", "--socket", socket]
        daemon = subprocess.Popen(serve, stderr=subprocess.DEVNULL)
        try:
            wait_for_daemon(build, socket)
            arms = {"native": "", **arms_of(f"{build}/lib/libportpool.so", socket)}
            if args.against:
                arms.update(arms_of(os.path.abspath(args.against), socket, ", the other library"))
            measure(build, arms, args.rounds)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
