"""soak.py FOLDER MINUTES SEED [FAULT...], in namespaces of its own: see tests/soak.sh."""

import collections
import faulthandler
import os
import random
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../system/programs"))

from faults import FAULTS, RENEWALS, flood_of_destinations, flooding  # noqa: E402
from programs import Programs, Traffic  # noqa: E402
from scene import PLACES, Scene  # noqa: E402
from support.waiting import eventually  # noqa: E402
from watch import RENEWED, Watch  # noqa: E402
from worker import WrongConnection  # noqa: E402

# Poold's process is replaced in the middle of the time only, so that before and after there is one that
# lives for long enough to be watched.
RENEWED_FROM, RENEWED_UNTIL = 0.4, 0.6
# What the end takes, in seconds: lanes become idle in ten.
FINISH = 20
# After MINUTES, to end by itself; later it hangs.
OVERTIME = 60
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
    def __init__(self, folder, seconds, seed, named):
        self.begin = time.monotonic()
        self.seconds = seconds - FINISH
        self.slowest = 0.0  # of the rounds
        self.named = named  # only these faults; none: all
        self.random = random.Random(seed)
        self.rows = collections.defaultdict(Row)
        self.problems = []
        self.watch = Watch()
        self.scene = Scene(folder)
        self.traffic = Traffic(seed)
        self.programs = Programs(folder, self.scene.environment, self.traffic)
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
        begin = time.monotonic()
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
        self.await_recovery(fault)
        time.sleep(chosen.uniform(0.1, 0.6))
        self.traffic.rest()
        self.take_troubles(fault)
        self.look(fault)
        table = self.scene.poold.status()["lane_table"]
        self.most_lanes = max(self.most_lanes, table["in_service"])
        poold = [self.scene.poold.pid]
        self.watch.sample({"poold": poold, RENEWED: poold, **self.roles()})
        self.slowest = max(self.slowest, time.monotonic() - begin)

    def await_recovery(self, fault):
        over = time.monotonic()
        try:
            while not self.scene.scout_by_pool():
                if time.monotonic() > over + PATIENCE:
                    self.problem(fault, f"no connect by the pool within {PATIENCE} s")
                    break
        except OSError as problem:
            self.traffic.errors.append(("the scout", str(problem)))
        row = self.rows[fault]
        row.recovery = max(row.recovery, time.monotonic() - over)

    def look(self, fault):
        """At rest."""
        lost, words = self.scene.ports_lost()
        if words:
            self.rows[fault].lost += lost
            self.problem(fault, f"{lost} ports lost: {words}")
        accounts = self.scene.accounts()
        if accounts:
            self.problem(fault, f"accounts: {accounts}")

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

    def next_faults(self, names, left):
        """Each once, in another order each time."""
        if not left:
            left.extend(names)
            self.random.shuffle(left)
        return left.pop()

    def run(self):
        self.warm_up()
        self.watch.samples.clear()
        renewals, faults = self.chosen(RENEWALS), self.chosen(FAULTS)
        of_life, of_renewal = [], []
        fresh = False  # another poold than at the beginning, with an empty table perhaps
        while (spent := self.spent()) < 1:
            if fresh and spent >= RENEWED_UNTIL and not self.named:
                self.warm_up()
                self.watch.forget_after_first("poold")
                fresh = False
            by_turns = RENEWED_FROM < spent < RENEWED_UNTIL or self.named
            if renewals and (not faults or (by_turns and self.random.random() < 2 / 3)):
                name = self.next_faults(renewals, of_renewal)
                self.do(name, renewals[name])
                fresh = True
            else:
                name = self.next_faults(faults, of_life)
                self.do(name, faults[name])
        self.finish()

    def chosen(self, table):
        return {
            name: action
            for name, action in table.items()
            if not self.named or action.__name__ in self.named
        }

    def spent(self):
        """Of the time for faults, a part; 1 where another round might not end in it."""
        last = self.begin + self.seconds - self.slowest
        now = time.monotonic()
        return 1 if now >= last else (now - self.begin) / self.seconds

    def finish(self):
        """With quiet, and nothing left of the programs that worked."""
        self.traffic.end()
        self.programs.stop()
        self.look("the end")
        lanes = self.scene.poold.status()["lanes"]
        in_use = sum(lane["in_use"] for lane in lanes)
        if in_use:
            self.problem("the end", f"{in_use} ports in use, and no program left")
        try:
            self.every_place_serves({key_of(lane) for lane in lanes if not holds_ports(lane)})
            eventually(self.table_has_room, "an eighth of the table's places is free")
        except AssertionError as problem:
            self.problem("the end", str(problem))

    def every_place_serves(self, before):
        """While more destinations are in use than there are places: a place that is lost stays empty,
        and a lane that cannot end keeps its own."""

        def status_is_so():
            self.kept = before & {key_of(lane) for lane in self.scene.poold.status()["lanes"]}
            self.in_service = self.scene.poold.status()["lane_table"]["in_service"]
            return not self.kept and self.in_service == PLACES

        with flooding(self.scene, "destinations", 4000, 4000 + PLACES + 50, shim=True):
            try:
                eventually(status_is_so, "")
            except AssertionError:
                raise AssertionError(
                    f"lanes: at most {self.in_service} of {PLACES} places serve others,"
                    f" and without a port these stay: {sorted(self.kept)}"
                ) from None

    def table_has_room(self):
        table = self.scene.poold.status()["lane_table"]
        return table["taken"] == table["in_service"] <= PLACES * 7 // 8

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
        kinds = [*self.chosen(RENEWALS), *self.chosen(FAULTS)]
        tried = [name for name in kinds if name in self.rows]
        rounds = sum(self.rows[name].tried for name in tried)
        say("")
        say(f"{len(tried)} of {len(kinds)} kinds of faults, {rounds} in all")
        if self.named and len(tried) < len(kinds):
            self.problems.append(f"no time for {sorted({*kinds} - {*tried})}")
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


def key_of(lane):
    return lane["pool"], lane["source"], lane["destination"]


def holds_ports(lane):
    return lane["in_use"] + lane["quarantined"] + lane["reusable"] > 0


def main(folder, minutes, seed, *named):
    say(f"seed {seed}; the same again: tests/soak.sh {minutes:g} {seed}")
    known = [action.__name__ for action in [*RENEWALS.values(), *FAULTS.values()]]
    if not {*named} <= {*known}:
        say(f"SOAK_FAULTS: of {' '.join(known)}")
        return 2
    faulthandler.dump_traceback_later(minutes * 60 + OVERTIME, exit=True)
    soak = Soak(folder, minutes * 60, seed, named)
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
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
