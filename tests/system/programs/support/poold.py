"""A running `poold serve`, and what `poold status --json` says."""

import json
import os
import signal
import socket
import struct
import subprocess

from .program import Program
from .waiting import eventually

POOLD = os.environ["PORTPOOL_TEST_POOLD"]
SHIM = os.environ["PORTPOOL_TEST_SHIM"]


STRATEGY = os.environ.get("PORTPOOL_TEST_STRATEGY", "port-range")


class Poold:
    """`isolated` wraps its command for namespaces of its own, where the socket's path may differ."""

    def __init__(
        self, folder, config="", path=None, started=True, isolated=None, inner_path=None
    ):
        self.folder = folder
        self.socket = path or os.path.join(folder, "poold.sock")
        self.config = os.path.join(folder, "poold.toml")
        with open(self.config, "w") as file:
            file.write(f'strategy = "{STRATEGY}"\n{config}')
        command = [POOLD, "serve", "--config", self.config]
        command += ["--socket", inner_path or self.socket]
        # Before all others: programs give up attaching after 50 ms, and the tests count exactly.
        self.command = ["nice", "-n", "-15", *(isolated(command) if isolated else command)]
        self.program = None
        if started:
            self.start()

    def start(self):
        self.program = Program(self.folder, self.command)
        eventually(self.answers, f"poold answers\n{self.program}")

    def answers(self):
        assert self.program.process.poll() is None, self.program
        return os.path.exists(self.socket) and self.ask().returncode == 0

    def ask(self):
        return subprocess.run(
            [POOLD, "status", "--json", "--socket", self.socket], capture_output=True, text=True
        )

    def status(self):
        answer = self.ask()
        assert answer.returncode <= 1, answer.stderr
        return json.loads(answer.stdout)

    def lanes(self):
        """(source, destination) of each lane."""
        return {(lane["source"], lane["destination"]) for lane in self.status()["lanes"]}

    def environment(self, **more):
        """What puts a program under the shim."""
        return {"LD_PRELOAD": SHIM, "PORTPOOL_SOCKET": self.socket, **more}

    def restart(self):
        self.stop()
        self.start()

    def stop(self):
        """In good order. What was isolated is told itself, since its keeper hands no signal on."""
        if self.program is None or self.program.process.poll() is not None:
            return
        os.kill(self.ask_pid(), signal.SIGTERM)
        status = self.program.wait()
        assert status == 0, f"poold ended with {status}: {self.program}"

    def ask_pid(self):
        """In this process's own namespace."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("3i", credentials)[0]


class Use:
    """How the counters moved between two readings."""

    def __init__(self, before, after):
        def moved(part):
            return {
                name: after[part][name] - before[part].get(name, 0)
                for name in after[part]
                if after[part][name] != before[part].get(name, 0)
            }

        self.pool = after["connects"]["pool"] - before["connects"]["pool"]
        self.kernel = after["connects"]["kernel"] - before["connects"]["kernel"]
        self.fallbacks = moved("fallbacks")
        self.counters = moved("counters")
        self.results = moved("results")

    def __str__(self):
        return f"pool {self.pool}, kernel {self.kernel}, {self.fallbacks}, {self.counters}"
