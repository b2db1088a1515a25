"""Languages and tools that open connections of their own: Node, Python, curl, wrk, nmap, redis-benchmark."""

import os
import re
import shutil
import sys

from support.case import ProgramCase, main
from support.load import load
from support.upstream import body_of
from support.waiting import eventually, listens

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_PROXY = os.path.join(HERE, "../../../examples/node/proxy.js")


class Clients(ProgramCase):
    def test_node(self):
        node = self.start(["node", NODE_PROXY, 8080, "http://127.0.0.1:9001"])
        eventually(lambda: listens(8080) or node.process.poll(), "the proxy listens")
        load(8080, 1)
        self.wait_for_lane("127.0.0.1:9001")
        _, use = self.use_of(lambda: load(8080, 500))
        self.assert_all_by_pool(use, 500)

    def python(self, way, count=1, port=9001):
        command = [sys.executable, f"{HERE}/clients/python_clients.py", way, port, count]
        _, use = self.use_of(lambda: self.run_program(command))
        return use

    def test_python(self):
        self.python("http.client")
        self.python("source")
        self.wait_for_lane("127.0.0.1:9001")
        self.wait_for_lane("127.0.0.1:9001", "127.0.0.2")
        for way in ("http.client", "source", "urllib", "asyncio"):
            with self.subTest(way):
                use = self.python(way, 200)
                self.assert_all_by_pool(use, 200)
                expected = {
                    "source": {"127.0.0.2": 200},
                    "asyncio": {"127.0.0.1": 100, "127.0.0.2": 100},
                }
                self.assertEqual(use.sources, expected.get(way, {"127.0.0.1": 200}))

    def test_python_multiprocessing(self):
        self.python("http.client")
        self.wait_for_lane("127.0.0.1:9001")
        for way in ("fork", "spawn", "forkserver"):
            with self.subTest(way):
                self.assert_all_by_pool(self.python(way, 200), 200)

    def test_python_refused(self):
        self.python("refused", 1, 9009)
        self.wait_for_lane("127.0.0.1:9009")
        use = self.python("refused", 300, 9009)
        self.assertEqual((use.pool, use.kernel), (300, 0), use)

    def curl(self, count, *options):
        """Each answer goes to a file of its own."""
        answers = os.path.join(self.folder, "answers")
        os.makedirs(answers, exist_ok=True)
        urls = f"http://127.0.0.1:9001/[1-{count}]/5000"
        command = ["curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-immediate"]
        command += ["--http1.0", *options, urls, "--output", f"{answers}/#1"]
        _, use = self.use_of(lambda: self.run_program(command))
        for number in range(1, count + 1):
            with open(f"{answers}/{number}", "rb") as file:
                self.assertEqual(file.read(), body_of(f"/{number}/5000"), number)
        return use

    def test_curl(self):
        self.curl(1)
        self.wait_for_lane("127.0.0.1:9001")
        self.assert_all_by_pool(self.curl(300), 300)

    def test_curl_with_a_source_address(self):
        self.curl(1, "--interface", "127.0.0.2")
        self.wait_for_lane("127.0.0.1:9001", "127.0.0.2")
        use = self.curl(300, "--interface", "127.0.0.2")
        self.assert_all_by_pool(use, 300)
        self.assertEqual(use.sources, {"127.0.0.2": 300}, use)

    def test_curl_with_ports_of_its_own(self):
        use = self.curl(300, "--local-port", "25000-25999")
        self.assertEqual((use.accepted, use.pool, use.fallbacks), (300, 0, {}), use)
        self.assertEqual(use.counters.get("passthrough_own_port"), 300, use)

    def test_nmap(self):
        """It finds what it finds natively; what it calls once, poold never hears of."""
        if not shutil.which("nmap"):
            self.skipTest("nmap is not installed")
        scan = ["nmap", "-sT", "-n", "-Pn", "-oG", "-", "-p", "1-12000", "127.0.0.1"]
        natively = self.run_program(scan, shim=False)
        said, use = self.use_of(lambda: self.run_program(scan))
        found = re.findall(r"(\d+)/open/tcp", said)
        self.assertEqual(found, re.findall(r"(\d+)/open/tcp", natively), said)
        self.assertIn("9001", found)
        self.assertGreaterEqual(use.kernel + use.pool, 12000, use)
        self.assertLess(use.counters.get("lane_requests", 0), 1200, use)

    def test_redis_benchmark(self):
        server = self.start(
            ["redis-server", "--port", 9003, "--save", "", "--dir", self.folder], shim=False
        )
        eventually(lambda: listens(9003) or server.process.poll(), "redis listens")
        benchmark = ["redis-benchmark", "-p", 9003, "-k", 0, "-c", 20, "-t", "set,get", "--csv"]
        self.run_program([*benchmark, "-n", 20])
        self.wait_for_lane("127.0.0.1:9003")
        said, use = self.use_of(lambda: self.run_program([*benchmark, "-n", 1000]))
        self.assertEqual(len(re.findall(r'^"[SG]ET"', said, re.M)), 2, said)
        self.assertGreaterEqual(use.pool, 2000, use)
        self.assertEqual((use.kernel, use.fallbacks), (0, {}), use)


class ManyPorts(ProgramCase):
    port_range = (10000, 65535)  # a second of wrk must not use them up

    def test_wrk(self):
        command = ["wrk", "-t2", "-c20", "-d1s", "-H", "Connection: close"]
        self.run_program([*command, "http://127.0.0.1:9001/1/100"])
        self.wait_for_lane("127.0.0.1:9001")
        said, use = self.use_of(lambda: self.run_program([*command, "http://127.0.0.1:9001/1/100"]))
        self.assertNotIn("Socket errors", said, use)
        self.assertGreaterEqual(use.pool, 300, use)
        self.assertEqual((use.kernel, use.fallbacks), (0, {}), use)


if __name__ == "__main__":
    main()
