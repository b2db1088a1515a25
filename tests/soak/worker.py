"""The random walk's worker (tests/support/walk/worker.h), and its other guests."""

import collections
import os
import socket
import subprocess

GUESTS = os.environ["SOAK_GUESTS"]

# Where workers find it (kLifeline in worker.h): their children end with the last writer of this pipe.
LIFELINE = 9
os.dup2(os.pipe()[0], LIFELINE, inheritable=False)


class WrongConnection(Exception):
    """Bytes came back that this connection has not sent."""


def guest_command(name, *arguments, program="stress_test"):
    return [f"{GUESTS}/{program}", f"--guest={name}", *map(str, arguments)]


class Guest:
    """Says lines and is told lines."""

    def __init__(self, command, environment=None, **options):
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        self.lines = ours.makefile("rw", encoding="latin-1", newline="\n")
        ours.close()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, env={**os.environ, **(environment or {})}, **options
        )
        theirs.close()

    @property
    def pid(self):
        return self.process.pid

    def tell(self, line):
        self.lines.write(line + "\n")
        self.lines.flush()

    def hear(self):
        line = self.lines.readline()
        if not line:
            raise EOFError(f"{self.process.args} has ended")
        return line.rstrip("\n")

    def kill(self):
        self.process.kill()
        self.process.wait()
        try:
            self.lines.close()
        except OSError:
            pass


class Worker(Guest):
    """Holds connections, each of which proves by its bytes that it is the one it should be."""

    def __init__(self, environment=None):
        super().__init__(guest_command("walk_worker"), environment, pass_fds=[LIFELINE])
        self.environment = environment or {}
        self.open = collections.OrderedDict()  # id: destination
        self.next_id = 1

    def ask(self, command):
        self.tell(command)
        return self.hear()

    def connect(self, destination, how="plain"):
        return self.connect_many([destination], how)[0]

    def connect_many(self, destinations, how="plain"):
        """0 or the errno of each."""
        ids = range(self.next_id, self.next_id + len(destinations))
        self.next_id += len(destinations)
        errors = []
        for first in range(0, len(ids), 100):  # what a socket's buffer holds
            batch = list(zip(ids, destinations))[first : first + 100]
            for number, destination in batch:
                self.tell(f"connect {number} {destination} {how}")
            for number, destination in batch:
                words = self.hear().split()
                if words[0] == "wrong-echo":
                    raise WrongConnection(f"{destination} from port {words[1]}")
                if words[0] == "ok":
                    self.open[number] = destination
                errors.append(0 if words[0] == "ok" else int(words[1]))
        return errors

    def close_oldest(self, how="reset", but=0):
        for number in list(self.open)[: len(self.open) - but]:
            self.ask(f"close {number} {how}")
            del self.open[number]

    def check_all(self):
        answer = self.ask("echo-all")
        if not answer.startswith("ok"):
            raise WrongConnection(answer)
