#!/usr/bin/python3
"""What closing everything costs under the library: closefrom(), close_range(), a child of vfork() that
closes everything, Python's subprocess.

    bench/closing/closing.py --build build/release            # under a minute

The arms (without the library, with it, with it and without a daemon, --against: another build of
it) follow each other in random order, round by round; each block is a process that tells the
median of its calls. In a network namespace of its own. See bench/README.md.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

PYTHON = """
import subprocess, statistics, sys, time
times = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter()
    subprocess.run(["/bin/true"], env={})
    times.append((time.perf_counter() - start) * 1e6)
print(statistics.median(times))
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--against", help="another build of the library, an arm more")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def wait_for_daemon(build, socket):
    for _ in range(500):
        status = [f"{build}/bin/poold", "status", "--json", "--socket", socket]
        if subprocess.run(status, capture_output=True).returncode == 0:
            return
        time.sleep(0.02)
    sys.exit("poold does not answer")


def measure(build, arms, rounds):
    closer = f"{build}/bin/bench_closer"
    subjects = {
        "closefrom": [closer, "closefrom", "300"],
        "close_range": [closer, "close_range", "300"],
        "vfork + closefrom": [closer, "vfork", "100"],
        "Python's subprocess": ["/usr/bin/python3", "-c", PYTHON, "20"],
    }
    figures = {(subject, arm): [] for subject in subjects for arm in arms}
    for _ in range(rounds):
        order = list(figures)
        random.shuffle(order)
        for subject, arm in order:
            env = {**os.environ, **arms[arm]}
            out = subprocess.run(subjects[subject], env=env, check=True, capture_output=True).stdout
            figures[subject, arm].append(float(out))
    print(f"{'us, median of the rounds':22}" + "".join(f"{arm:>16}" for arm in arms))
    for subject in subjects:
        medians = [statistics.median(figures[subject, arm]) for arm in arms]
        print(f"{subject:22}" + "".join(f"{value:16.2f}" for value in medians))
    print("ratio to native, median over the rounds")
    for subject in subjects:
        native = figures[subject, "native"]
        ratios = [statistics.median(a / b for a, b in zip(figures[subject, arm], native)) for arm in arms]
        print(f"{subject:22}" + "".join(f"{value:16.2f}" for value in ratios))


def main():
    args = arguments()
    if not args.inside:
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        here = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside"]
        os.execvp("unshare", ["unshare", *user, "--net", *here])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    build = os.path.abspath(args.build)
    library = f"{build}/lib/libportpool.so"
    with tempfile.TemporaryDirectory() as directory:
        socket = f"{directory}/poold.sock"
        serve = [f"{build}/bin/poold", "serve", "--socket", socket]
        daemon = subprocess.Popen(serve, stderr=subprocess.DEVNULL)
        try:
            wait_for_daemon(build, socket)
            arms = {
                "native": {},
                "library": {"LD_PRELOAD": library, "PORTPOOL_SOCKET": socket},
                "no daemon": {"LD_PRELOAD": library, "PORTPOOL_SOCKET": "/nonexistent"},
            }
            if args.against:
                arms["against"] = {"LD_PRELOAD": args.against, "PORTPOOL_SOCKET": socket}
            measure(build, arms, args.rounds)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
