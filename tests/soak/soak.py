"""soak.py MINUTES SEED, in namespaces of its own: see tests/soak.sh."""

import collections
import os
import random
import shutil
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../system/programs"))

from faults import FAULTS, RENEWALS, flood_of_destinations  # noqa: E402
from programs import Programs, Traffic  # noqa: E402
from scene import PLACES, Scene  # noqa: E402
from support.waiting import eventually  # noqa: E402
from watch import Watch  # noqa: E402
from worker import WrongConnection  # noqa: E402

# Poold's process is replaced in the middle of the time only, so that before and after there is one that
# lives for long enough to be watched.
RENEWED_FROM, RENEWED_UNTIL = 0.4, 0.6
# How long a program may be on the kernel's path after a fault is over: to look for a fault that lasts,
# no promise.
PATIENCE = 30


class Row:
    def __init__(self):
        self.tried = self.errors = self.wrong = self.lost = 0
        self.recovery = 0.0


def say(text):
    print(text, flush=True)


class Soak:
    def __init__(self, minutes, seed):
        self.seconds = minutes * 60
        self.random = random.Random(seed)
        self.rows = collections.defaultdict(Row)
        self.problems = []
        self.watch = Watch()
        self.folder = tempfile.mkdtemp(prefix="portpool-soak.")
        os.chmod(self.folder, 0o755)
        self.scene = Scene(self.folder)
        self.traffic = Traffic(seed)
        self.programs = Programs(self.folder, self.scene.environment, self.traffic)
        self.most_lanes = 0

    def problem(self, fault, what):
        self.problems.append(f"{fault}: {what[:300]}")
        say(f"PROBLEM after {fault}: {what[:2000]}")

    def take_troubles(self, fault):
        row = self.rows[fault]
        errors, wrong = self.traffic.take_troubles()
        for who, what in errors:
            row.errors += 1
            self.problem(fault, f"{who}: {what}")
        for who, what in wrong:
            row.wrong += 1
            self.problem(fault, f"WRONG CONNECTION: {who}: {what}")

    def do(self, fault, action):
        row = self.rows[fault]
        row.tried += 1
        # A generator for each: a fault that goes another way does not change the choices of the next.
        chosen = random.Random(self.random.random())
        self.traffic.go_on()
        time.sleep(chosen.uniform(0.2, 0.8))
        try:
            action(self.scene, chosen)
        except WrongConnection as problem:
            self.traffic.wrong.append(("the fault's own client", str(problem)))
        except OSError as problem:
            self.traffic.errors.append(("the fault's own client", str(problem)))
        over = time.monotonic()
        while not self.scene.scout_by_pool():
            if time.monotonic() > over + PATIENCE:
                self.problem(fault, f"no connect by the pool within {PATIENCE} s")
                break
        row.recovery = max(row.recovery, time.monotonic() - over)
        time.sleep(chosen.uniform(0.1, 0.6))
        self.traffic.rest()
        self.take_troubles(fault)
        self.look(fault)

    def look(self, fault):
        """At rest."""
        lost, words = self.scene.ports_lost()
        if lost:
            self.rows[fault].lost += lost
            self.problem(fault, f"{lost} ports lost: {words}")
        accounts = self.scene.accounts()
        if accounts:
            self.problem(fault, f"accounts: {accounts}")
        table = self.scene.poold.status()["lane_table"]
        self.most_lanes = max(self.most_lanes, table["in_service"])
        self.watch.sample({"poold": [self.scene.poold.pid], **self.roles()})

    def roles(self):
        roles = self.programs.roles()
        roles["worker"] = [*roles["worker"], self.scene.scout.pid]
        return roles

    def warm_up(self):
        """Until all has been used once, and the table of lanes is as full as it gets."""
        for _ in range(2):
            self.do("none", flood_of_destinations)
        for _ in range(3):
            self.do("none", lambda scene, chosen: time.sleep(1))
        self.watch.samples.clear()

    def next_faults(self, names, left):
        """Each once, in another order each time."""
        if not left:
            left.extend(names)
            self.random.shuffle(left)
        return left.pop()

    def run(self):
        self.warm_up()
        begin = time.monotonic()
        of_life, of_renewal = [], []
        while (spent := (time.monotonic() - begin) / self.seconds) < 1:
            if RENEWED_FROM < spent < RENEWED_UNTIL and self.random.random() < 0.5:
                name = self.next_faults(RENEWALS, of_renewal)
                self.do(name, RENEWALS[name])
                if name.endswith("started again"):
                    self.scene.cut_off = 0
            else:
                name = self.next_faults(FAULTS, of_life)
                self.scene.cut_off += 100 if "calls killed" in name else 5 if "killed" in name else 0
                self.do(name, FAULTS[name])
        self.finish()

    def finish(self):
        """With quiet: the table has room again, and nothing is left of the programs that worked."""
        self.traffic.end()
        self.programs.stop()
        lanes = lambda: self.scene.poold.status()["lane_table"]["in_service"]  # noqa: E731
        try:
            eventually(lambda: lanes() <= PLACES * 7 // 8, "an eighth of the table's places is free")
        except AssertionError as problem:
            self.problem("the end", str(problem))
        self.look_at_the_end()

    def look_at_the_end(self):
        lost, words = self.scene.ports_lost()
        if lost:
            self.problem("the end", f"{lost} ports lost: {words}")
        in_use = sum(lane["in_use"] for lane in self.scene.poold.status()["lanes"])
        if in_use:
            self.problem("the end", f"{in_use} ports in use, and no program left")
        accounts = self.scene.accounts()
        if accounts:
            self.problem("the end", f"accounts: {accounts}")

    def report(self):
        say("")
        say("| fault | times tried | application errors | wrong connections | ports lost | worst recovery |")
        say("|---|---|---|---|---|---|")
        for name in ["none", *RENEWALS, *FAULTS]:
            if name in self.rows:
                row = self.rows[name]
                say(
                    f"| {name} | {row.tried} | {row.errors} | {row.wrong} | {row.lost}"
                    f" | {row.recovery:.2f} s |"
                )
        say("")
        self.problems += self.watch.report(say)
        say("")
        say(f"turns: {dict(sorted(self.traffic.turns.items()))}")
        if self.scene.poold.ask().returncode <= 1:
            status = self.scene.poold.status()
            lanes = status["lane_table"]["in_service"]
            say(f"lanes: at most {self.most_lanes} of {PLACES}, {lanes} at the end")
            say(f"the last segment: connects {status['connects']}, fallbacks {status['fallbacks']}")
        for problem in self.problems:
            say(f"PROBLEM: {problem}")

    def close(self):
        self.traffic.end()
        self.programs.stop()
        self.scene.stop()
        shutil.rmtree(self.folder)


def main(minutes, seed):
    say(f"seed {seed}; the same again: tests/soak.sh {minutes:g} {seed}")
    soak = Soak(minutes, seed)
    try:
        soak.run()
    except Exception:
        traceback.print_exc()
        soak.problems.append("the soak itself has failed")
        say(f"poold said: {soak.scene.poold.program}")
    soak.report()
    soak.close()
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
