"""Java and Erlang ask for a socket's port between bind() and connect(): 1,000 connections over ten
destinations, in a range of 200 ports."""

import os

from support.case import ProgramCase, main
from support.poold import STRATEGY
from support.waiting import eventually

HERE = os.path.dirname(os.path.abspath(__file__))
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
PORTS = 200
DESTINATIONS = list(range(9101, 9111))
EACH = 100
ALL = "connected 1000 of 1000"


class EarlyBind(ProgramCase):
    port_range = (20000, 20000 + PORTS - 1)
    upstream_ports = DESTINATIONS

    def assert_all_connected(self, *command):
        """Natively the range is there once. Under the library, once its lanes are there, for each
        destination."""
        arguments = ["127.0.0.2", EACH, *DESTINATIONS]
        native = self.run_program([*command, *arguments], shim=False)
        self.assertIn(f"connected {PORTS} of 1000", native)

        def lanes_are_there():
            self.run_program([*command, "127.0.0.2", 1, *DESTINATIONS])
            wanted = {("127.0.0.2", f"127.0.0.1:{port}") for port in DESTINATIONS}
            return wanted <= self.poold.lanes() and self.poold.status()["promises"]

        eventually(lanes_are_there, "lanes and promises")
        before = self.poold.status()["counters"]["ports_promised"]
        said, use = self.use_of(lambda: self.run_program([*command, *arguments]))
        self.assertIn(ALL, said)
        self.assertEqual(use.sources, {"127.0.0.2": 1000}, use)
        # By bind() a port that cannot be had alone is shared once few are free; some calls give up.
        self.assertGreaterEqual(use.pool, 900 if STRATEGY == "bind" else 1000, use)
        self.assertEqual(use.pool + use.kernel, 1000, use)
        self.assertEqual(self.poold.status()["counters"]["ports_promised"] - before, 1000)

    def compile_java(self):
        self.run_program(
            ["javac", "-J-XX:TieredStopAtLevel=1", "-d", self.folder, f"{HERE}/java/EarlyBinds.java"],
            shim=False,
        )
        return [*JAVA, "-cp", self.folder, "EarlyBinds"]

    def test_java_socket(self):
        self.assert_all_connected(*self.compile_java(), "socket")

    def test_java_channel(self):
        self.assert_all_connected(*self.compile_java(), "channel")

    def test_erlang(self):
        self.assert_all_connected("escript", f"{HERE}/erlang/early_binds.escript")


if __name__ == "__main__":
    main()
