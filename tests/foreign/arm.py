"""One run of a suite, inside namespaces of its own:   arm.py SUITE ARM FILES WORK

Writes WORK/output, what the suite said, and WORK/arm.json: a word for each of its tests, and how many
of its connects the pool served.
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../system/programs"))

from suites import SUITES  # noqa: E402
from support.case import prepare_network  # noqa: E402
from support.poold import SHIM, Poold, Use  # noqa: E402


def preload(arm, poold):
    """Variables that put the suite under the library."""
    if arm == "native":
        return {}
    libraries = SHIM if arm == "no-daemon" else f"{os.environ['PORTPOOL_TEST_PATIENCE']}:{SHIM}"
    return {**poold.environment(), "LD_PRELOAD": libraries}


def run(suite, files, work, environment):
    argv, more = suite.command(files, work)
    place = os.path.join(work, "place")
    os.makedirs(place)
    variables = {**os.environ, "TMPDIR": place, **environment, **more}
    with open(os.path.join(work, "output"), "wb") as output:
        try:
            subprocess.run(argv, cwd=place, stdin=subprocess.DEVNULL, stdout=output,
                           stderr=subprocess.STDOUT, timeout=suite.seconds, env=variables)
        except subprocess.TimeoutExpired:
            print(f"  not done within {suite.seconds} s: {work}", flush=True)


def main():
    name, arm, files, work = sys.argv[1:]
    suite = SUITES[name]()
    prepare_network(32768, 60999)
    # `ip netns add` keeps its files there.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    poold = Poold(work, started=arm in ("pool", "bind"))
    before = poold.status() if poold.program else None
    run(suite, files, work, preload(arm, poold))
    done = {"tests": suite.results(files, work)}
    if before is not None:
        use = Use(before, poold.status())
        # In network namespaces that the suite has made no pool is at hand.
        done["connects"] = use.pool + use.kernel - use.fallbacks.get("other_netns", 0)
        done["share"] = use.pool / max(1, done["connects"])
        done["fallbacks"] = use.fallbacks
        poold.stop()
    with open(os.path.join(work, "arm.json"), "w") as file:
        json.dump(done, file, indent=1)


if __name__ == "__main__":
    main()
