"""ProgramCase: a private network with a far server and a poold, ready for a real program."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

from .load import load
from .poold import Poold, Use
from .program import Program
from .upstream import Upstream
from .waiting import eventually


CALLER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "clients", "caller.py")


def prepare_network(low, high):
    """CMakeLists.txt starts each test in a network namespace of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write(f"{low} {high}")


def add_address(prefix):
    nodad = ["nodad"] if ":" in prefix else []
    subprocess.run(["ip", "address", "add", prefix, "dev", "lo", *nodad], check=True)


class ProgramCase(unittest.TestCase):
    config = ""  # further lines for poold.toml
    port_range = (20000, 29999)
    upstream_ports = [9001]

    def setUp(self):
        prepare_network(*self.port_range)
        self.folder = tempfile.mkdtemp(prefix="portpool-programs.")
        self.addCleanup(shutil.rmtree, self.folder)
        os.chmod(self.folder, 0o755)
        self.upstream = Upstream(self.folder, self.upstream_ports)
        self.addCleanup(self.upstream.program.kill)
        self.poold = self.make_poold()
        self.addCleanup(self.poold.stop)

    def make_poold(self):
        return Poold(self.folder, self.config)

    def file(self, name, text=""):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self, argv, shim=True, environment=None, **options):
        """Starts a program under the shim; it is ended after the test."""
        variables = {**(self.poold.environment() if shim else {}), **(environment or {})}
        program = Program(self.folder, argv, variables, **options)
        self.addCleanup(program.kill)
        return program

    def run_program(self, argv, status=0, **options):
        """Runs it to its end. Returns what it said."""
        program = self.start(argv, **options)
        self.assertEqual(program.wait(), status, program)
        return program.said()

    def wait_for_lane(self, destination, source="127.0.0.1"):
        """What the program has asked for once is asked for again: a lane is made for that."""
        host, _, port = destination.rpartition(":")
        self.run_program([sys.executable, CALLER, host.strip("[]"), port, source])
        eventually(
            lambda: (source, destination) in self.poold.lanes(),
            f"lane from {source} to {destination}",
        )

    def use_of(self, work):
        """What `work()` returned, how the counters moved meanwhile, and the far server's."""
        before, far_before = self.poold.status(), self.upstream.counters()
        result = work()
        far_after = self.upstream.counters()
        use = Use(before, self.poold.status())
        use.accepted = far_after["accepted"] - far_before["accepted"]
        use.sources = {
            source: count - far_before["sources"].get(source, 0)
            for source, count in far_after["sources"].items()
            if count != far_before["sources"].get(source, 0)
        }
        return result, use

    def assert_all_by_pool(self, use, at_least):
        """Every connection that the far server saw had a port from the pool."""
        self.assertGreaterEqual(use.accepted, at_least, use)
        self.assertEqual(use.pool, use.accepted, use)
        self.assertEqual((use.kernel, use.fallbacks), (0, {}), use)

    def while_loaded(self, port, action, requests=600):
        """Runs action() in the middle of a load, which must not lose a request. A connection for
        each request: a proxy that is replaced may close those that wait for their next one."""
        problems = []

        def work():
            try:
                load(port, requests, headers="Connection: close\r\n")
            except Exception as problem:  # handed to the test's own thread
                problems.append(problem)

        thread = threading.Thread(target=work)
        thread.start()
        seen = self.upstream.counters()["requests"]
        eventually(lambda: self.upstream.counters()["requests"] > seen + requests // 10, "load")
        action()
        thread.join()
        if problems:
            raise problems[0]


def main():
    if os.getuid() != 0:
        print("needs root: programs that give root away are tested")
        sys.exit(77)
    result = unittest.main(verbosity=2, exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    if len(result.skipped) == result.testsRun:
        sys.exit(77)
