"""Other projects' own test suites, with and without portpool, compared test by test.

  tests/foreign/run.sh [option...] [suite...]        (no suite: the large ones)

Each suite is fetched from the distribution's archive, built where it must be, and run several times,
each time in network, mount and process namespaces of its own:

  native      without the library
  pool        with libportpool.so and a poold (strategy port-range)
  bind        the same with the strategy bind
  no-daemon   with libportpool.so, and no poold

Under pool and bind a second library, tests/libpatience.so of the build, lets each connect() wait for
the lane that it asks for: suites connect to a new port in nearly every test.

The table has one line for each run with the library:

  tests       how many different names of tests there were
  equal       ended as they did natively: passed, skipped, failed or not run at all
  flaky       end differently without the library, too: between two native runs
  known       differ for a reason that stands in docs/reliability.md and beside the suite
  different   the others; all but the equal ones are named below the table's line
  pool        the share of TCP connects that the pool served, by `poold status --json`; those in
              other network namespaces, which suites make, are left out

What differs at first is run again, natively and not, before it is called flaky or different.
All output is kept below BUILD/foreign/SUITE.

Exit status: 0 all is well; 1 a test differs, none has run, or the pool served less of the connects
than the suite says that it must; 2 wrong usage; 77 a suite cannot be had or built here, and the others
are well. Needs root, and a build with tests (cmake --preset release && cmake --build --preset release).
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys

import debian
from judge import judge
from suites import SUITES

HERE = os.path.dirname(os.path.abspath(__file__))
ARMS = ("pool", "bind", "no-daemon")
NATIVE_RUNS = 3
MISSING = 77
CACHE = "PORTPOOL_FOREIGN_CACHE"


class Runs:
    """The runs of one suite, made when they are asked for."""

    def __init__(self, suite, given):
        self.suite = suite
        self.files = os.path.join(given.cache, suite.files)
        self.results = os.path.join(given.build, "foreign", suite.name)
        self.build = given.build
        self.library = given.library
        self.done = {}

    def get(self, arm, turn):
        if (arm, turn) not in self.done:
            self.done[arm, turn] = self._run(arm, os.path.join(self.results, f"{arm}.{turn}"))
        return self.done[arm, turn]

    def _run(self, arm, work):
        os.makedirs(work)
        subprocess.run(
            ["setpriv", "--pdeathsig", "KILL",  # when this ends, so does all of that
             "unshare", "--net", "--mount-proc", "--pid", "--fork", "--kill-child", sys.executable,
             os.path.join(HERE, "arm.py"), self.suite.name, arm, self.files, work],
            env={**os.environ,
                 "PORTPOOL_TEST_POOLD": os.path.join(self.build, "bin/poold"),
                 "PORTPOOL_TEST_SHIM": self.library,
                 "PORTPOOL_TEST_PATIENCE": os.path.join(self.build, "tests/libpatience.so"),
                 "PORTPOOL_TEST_STRATEGY": "bind" if arm == "bind" else "port-range"},
            check=True)
        with open(os.path.join(work, "arm.json")) as file:
            return json.load(file)


def compare(runs, arm):
    """The judgement of one arm, after as many runs as it takes to tell what is flaky."""
    known = runs.suite.known.get(arm, {})
    native = [runs.get("native", 0)["tests"]]
    under = [runs.get(arm, 0)["tests"]]
    judgement = judge(native, under, known)
    while judgement.different and len(native) < NATIVE_RUNS:
        native.append(runs.get("native", len(native))["tests"])
        judgement = judge(native, under, known)
    if judgement.different:  # each time?
        under.append(runs.get(arm, 1)["tests"])
        judgement = judge(native, under, known)
    return judgement


def report(runs, arm, version):
    """Prints the arm's line of the table and what there is to say. Whether all is well."""
    judgement = compare(runs, arm)
    use = runs.get(arm, 0)
    has_pool = arm != "no-daemon"
    share = f"{100 * use['share']:.1f} % of {use['connects']:,}" if has_pool else "-"
    print(f"| {runs.suite.name} | {version} | {arm} | {judgement.count:,} | {judgement.equal:,} | "
          f"{len(judgement.flaky)} | {len(judgement.known)} | {len(judgement.different)} | "
          f"{share} |", flush=True)
    for kind, lines in (("DIFFERENT", judgement.different), ("known", judgement.known),
                        ("flaky", judgement.flaky)):
        for line in lines:
            print(f"  {kind} {line}", flush=True)
    well = judgement.equal > 0 and not judgement.different
    if has_pool and use["share"] < runs.suite.least_share:
        print(f"  TOO FEW by the pool, less than {100 * runs.suite.least_share:.0f} %: "
              f"{use['fallbacks']}")
        well = False
    return well


def run_suite(suite, given):
    """Whether all is well; None when the suite is not to be had."""
    runs = Runs(suite, given)
    os.makedirs(runs.files, exist_ok=True)
    try:
        version = suite.prepare(runs.files)
    except debian.Missing as missing:
        print(f"{suite.name} is left out: {missing}", flush=True)
        return None
    if given.fetch:
        return True
    shutil.rmtree(runs.results, ignore_errors=True)
    return all([report(runs, arm, version) for arm in given.arms])


def arguments():
    parser = argparse.ArgumentParser(
        prog="tests/foreign/run.sh", description=__doc__, usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "../../build/release"), metavar="FOLDER",
                        help="of the build; build/release without it")
    parser.add_argument("--cache", default=os.environ.get(CACHE), metavar="FOLDER",
                        help="where what is fetched and built stays for the next time; without it "
                        f"${CACHE}, or BUILD/foreign-cache")
    parser.add_argument("--arms", default=",".join(ARMS), metavar="A,B",
                        help=f"of {', '.join(ARMS)}; all without it")
    parser.add_argument("--library", metavar="FILE", help="in place of the build's libportpool.so")
    parser.add_argument("--fetch", action="store_true", help="fetch and build only")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}")
    given = parser.parse_args()
    given.arms = given.arms.split(",")
    unknown = [name for name in given.suites if name not in SUITES]
    unknown += [arm for arm in given.arms if arm not in ARMS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    given.build = os.path.abspath(given.build)
    given.cache = os.path.abspath(given.cache or os.path.join(given.build, "foreign-cache"))
    given.library = os.path.abspath(given.library or os.path.join(given.build, "lib/libportpool.so"))
    given.suites = given.suites or [name for name in SUITES if SUITES[name].by_default]
    return given


def main():
    given = arguments()
    if os.getuid() != 0:
        print("needs root: each run is in namespaces of its own")
        return MISSING
    print(f"{datetime.date.today().isoformat()}, Linux {os.uname().release}\n\n"
          "| suite | version | run | tests | equal | flaky | known | different | pool |\n"
          "|---|---|---|---|---|---|---|---|---|", flush=True)
    well = [run_suite(SUITES[name](), given) for name in given.suites]
    if False in well:
        return 1
    return MISSING if None in well else 0


if __name__ == "__main__":
    sys.exit(main())
