"""Java: Socket, NIO and HttpClient in many threads, and a small reverse proxy."""

import os

from support.case import ProgramCase, main
from support.load import load
from support.waiting import eventually, listens

HERE = os.path.dirname(os.path.abspath(__file__))
PROXY = os.path.join(HERE, "../../../examples/java/ReverseProxy.java")
# Quick to start: these programs live for a moment.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
IPV4_ONLY = "-Djava.net.preferIPv4Stack=true"


class Java(ProgramCase):
    def compile(self, source):
        self.run_program(["javac", "-J-XX:TieredStopAtLevel=1", "-d", self.folder, source], shim=False)

    def clients(self, way, host, port, count, *options):
        command = [*JAVA, *options, "-cp", self.folder, "Clients", way, host, port, count]
        _, use = self.use_of(lambda: self.run_program(command))
        return use

    def test_every_way_to_connect(self):
        """IPv4 too goes through AF_INET6 sockets here, to IPv4-mapped addresses."""
        self.compile(f"{HERE}/java/Clients.java")
        self.clients("plain", "127.0.0.1", 9001, 1)
        self.clients("plain", "::1", 9001, 1)
        self.wait_for_lane("127.0.0.1:9001")
        self.wait_for_lane("[::1]:9001", "::1")
        for way in ("plain", "channel", "selected"):
            with self.subTest(way):
                self.assert_all_by_pool(self.clients(way, "127.0.0.1", 9001, 300), 300)
        with self.subTest("bound"):
            eventually(
                lambda: self.clients("bound", "127.0.0.1", 9001, 1).pool == 1, "lane and promises"
            )
            use = self.clients("bound", "127.0.0.1", 9001, 300)
            self.assert_all_by_pool(use, 300)
            self.assertEqual(use.sources, {"127.0.0.2": 300}, use)
            self.assertEqual(use.counters.get("ports_promised"), 300, use)
        with self.subTest("IPv6"):
            self.assert_all_by_pool(self.clients("selected", "::1", 9001, 300), 300)
        with self.subTest("IPv4 sockets"):
            use = self.clients("plain", "127.0.0.1", 9001, 300, IPV4_ONLY)
            self.assert_all_by_pool(use, 300)

    def test_http_client_with_many_threads(self):
        self.compile(f"{HERE}/java/Clients.java")
        self.clients("plain", "127.0.0.1", 9001, 1)
        self.wait_for_lane("127.0.0.1:9001")
        self.assert_all_by_pool(self.clients("client", "127.0.0.1", 9001, 1000), 8)

    def test_refused(self):
        self.compile(f"{HERE}/java/Clients.java")
        self.clients("refused", "127.0.0.1", 9009, 1)
        self.wait_for_lane("127.0.0.1:9009")
        use = self.clients("refused", "127.0.0.1", 9009, 200)
        self.assertEqual((use.pool, use.kernel), (200, 0), use)

    def test_reverse_proxy(self):
        self.compile(PROXY)
        proxy = self.start(
            [*JAVA, "-cp", self.folder, "ReverseProxy", "8080", "http://127.0.0.1:9001"]
        )
        eventually(lambda: listens(8080, "::") or proxy.process.poll(), "the proxy listens")
        load(8080, 1)
        self.wait_for_lane("127.0.0.1:9001")
        _, use = self.use_of(lambda: load(8080, 400))
        self.assert_all_by_pool(use, 400)


if __name__ == "__main__":
    main()
