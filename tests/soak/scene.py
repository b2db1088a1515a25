"""The host of a soak: settings, addresses, servers, poold."""

import json
import os
import re
import signal
import subprocess

from faults import EDGE, NARROW, SOURCES, set_sysctl
from programs import EARLY, HTTP
from support.case import add_address, prepare_network
from support.poold import Poold
from support.program import Program
from support.upstream import Upstream
from support.waiting import eventually
from worker import Guest, Worker, guest_command

PLACES = 256  # of lanes
NARROW_PORTS = (20000, 20199)


def config(early_bind="promise", policy="fill", more=""):
    sources = ", ".join(f'"{source}"' for source in SOURCES)
    return f"""
strategy = "port-range"
max_lanes = {PLACES}
metrics_listen = "{Scene.metrics}"
sources_optional = true
[[pool]]
name = "narrow"
destinations = ["{NARROW}"]
port_range = "{NARROW_PORTS[0]}-{NARROW_PORTS[1]}"
[[pool]]
name = "edge"
destinations = ["{EDGE}"]
sources = [{sources}]
source_policy = "{policy}"
{more}
[[pool]]
name = "rest"
early_bind = "{early_bind}"
"""


class SoakPoold(Poold):
    """Whose process is replaced in every way. This process is its namespace's first: a successor
    that nobody started here becomes a child of it."""

    def start(self):
        super().start()
        self.pid = self.ask_pid()

    def configure(self, chosen):
        more = chosen.choice(["", '[[pool]]\nname = "none"\ndestinations = ["10.9.9.0/24"]'])
        with open(self.config, "w") as file:
            file.write(
                config(chosen.choice(["promise", "real"]), chosen.choice(["fill", "balance"]), more)
            )

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self._await_end(self.pid)

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        status = self._await_end(self.pid)
        assert status == 0, f"poold ended with {status}: {self.program}"

    def take_over(self):
        predecessor = self.pid
        self._replace(lambda: Program(self.folder, [*self.command, "--take-over"]), predecessor)

    def upgrade(self):
        predecessor = self.pid

        def signalled():
            os.kill(predecessor, signal.SIGUSR2)
            return self.program

        self._replace(signalled, predecessor)

    def _replace(self, start, predecessor):
        before = self.program
        successor = start()
        eventually(lambda: self.ask_pid() != predecessor, f"poold is replaced: {successor}")
        assert self._await_end(predecessor) == 0, before
        self.program, self.pid = successor, self.ask_pid()

    def _await_end(self, pid):
        if self.program.pid == pid:
            return self.program.wait()
        ended = eventually(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, f"{pid} ends")
        return os.waitstatus_to_exitcode(ended[1])


class Scene:
    metrics = "127.0.0.1:9481"

    def __init__(self, folder):
        self.ports = (20000, 39999)
        prepare_network(*self.ports)
        for address in ("10.0.0.1", *SOURCES):
            add_address(f"{address}/32")
        self.upstream = Upstream(folder, [HTTP, *EARLY])
        self.echo = Guest(guest_command("soak_echo", 9011, 9012, 9013, 9014))
        assert self.echo.hear() == "listens"
        self.poold = SoakPoold(folder, started=False)
        with open(self.poold.config, "w") as file:
            file.write(config())
        self.poold.start()
        self.environment = self.poold.environment()
        self.scout = Worker(self.environment)
        self.cut_off = 0  # processes killed in a call, since the segment was made

    def set_ports(self, low, high):
        self.ports = (low, high)
        set_sysctl("ip_local_port_range", f"{low} {high}")

    def scout_by_pool(self):
        """The next call of a program that lives all the time has a port of the pool."""
        before = self._scout_connects()
        answer = self.scout.ask("probe 127.0.0.1:9011 plain")
        if not answer.startswith("ok"):
            raise OSError(answer)
        return self._scout_connects() > before >= 0

    def _scout_connects(self):
        asked = subprocess.run(
            [self.poold.command[3], "status", "--clients", "--json", "--socket", self.poold.socket],
            capture_output=True,
            text=True,
        )
        if asked.returncode > 1:
            return -1
        for client in json.loads(asked.stdout)["programs"]:
            if client["pid"] == self.scout.pid:
                return (client["connects"] or {"pool": 0})["pool"]
        return 0

    def ports_lost(self):
        """At rest, after patience: how many ports the lanes hold wrongly, and the words for it."""
        narrow = ["narrow", *NARROW_PORTS]
        command = guest_command("soak_lanes", self.poold.socket, 10, *self.ports, *narrow)
        for _ in range(6):
            # After the end of a program poold looks at the lanes that hold ports, and soon; in calm it
            # takes its time, the more the slower the machine is.
            subprocess.run(["true"], env={**os.environ, **self.environment}, check=True)
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
        if done.returncode == 0:
            return 0, ""
        pairs = re.findall(r"(\d+), the kernel's table says (\d+)", done.stdout)
        lost = max((abs(int(one) - int(other)) for one, other in pairs), default=0)
        return lost, done.stdout + done.stderr

    def accounts(self):
        """What does not add up (tests/support/accounts.h)."""
        command = guest_command("support_accounts", self.cut_off)
        status = self.poold.status()
        done = subprocess.run(command, input=json.dumps(status), capture_output=True, text=True)
        if done.returncode == 0:
            return ""
        figures = {key: status[key] for key in ("connects", "fallbacks", "counters")}
        return f"{done.stdout}{done.stderr}up to {self.cut_off} cut off, {figures}"

    def stop(self):
        self.scout.kill()
        self.poold.stop()
        self.echo.kill()
        self.upstream.program.kill()
