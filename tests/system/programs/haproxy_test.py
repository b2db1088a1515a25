"""HAProxy: chroot, another user, threads, its own source addresses and ports, checks, reload."""

import os
import pwd
import signal

from support.case import ProgramCase, add_address, main
from support.load import load
from support.waiting import eventually, is_gone, listens, read

PORT = 8080


class HAProxyCase(ProgramCase):
    def start_haproxy(self, server, more="", options=()):
        """One process with threads that gives root and the file system away."""
        os.makedirs(f"{self.folder}/empty", exist_ok=True)
        self.config_path = self.file(
            "haproxy.cfg",
            f"""
global
    chroot {self.folder}/empty
    user haproxy
    group haproxy
    nbthread 2
    stats socket {self.folder}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
    retries 0
frontend front
    bind :{PORT}
    default_backend far
backend far
    {more}
    server one {server}
""",
        )
        program = self.start(["haproxy", "-db", "-f", self.config_path, *options])
        eventually(lambda: listens(PORT) or program.process.poll(), "haproxy listens")
        self.assertIsNone(program.process.poll(), program)
        return program


class HAProxy(HAProxyCase):
    def test_chroot_user_and_threads(self):
        haproxy = self.start_haproxy("127.0.0.1:9001", "http-reuse never\n    option httpclose")
        load(PORT, 1)
        self.wait_for_lane("127.0.0.1:9001")
        self.assertEqual(os.readlink(f"/proc/{haproxy.pid}/root"), f"{self.folder}/empty")
        self.assertEqual(os.stat(f"/proc/{haproxy.pid}").st_uid, pwd.getpwnam("haproxy").pw_uid)
        self.assertGreaterEqual(len(os.listdir(f"/proc/{haproxy.pid}/task")), 2)
        _, use = self.use_of(lambda: load(PORT, 600, size=20000))
        self.assert_all_by_pool(use, 600)

    def test_connection_reuse(self):
        self.start_haproxy("127.0.0.1:9001", "http-reuse always")
        load(PORT, 1, headers="Connection: close\r\n")
        self.wait_for_lane("127.0.0.1:9001")
        _, use = self.use_of(lambda: load(PORT, 600))
        self.assert_all_by_pool(use, 1)
        self.assertLess(use.accepted, 300)

    def test_source_address(self):
        add_address("10.0.0.5/32")
        self.start_haproxy("127.0.0.1:9001 source 10.0.0.5", "http-reuse never")
        load(PORT, 1, headers="Connection: close\r\n")
        self.wait_for_lane("127.0.0.1:9001", "10.0.0.5")
        _, use = self.use_of(lambda: load(PORT, 400, headers="Connection: close\r\n"))
        self.assert_all_by_pool(use, 400)
        self.assertEqual(use.sources, {"10.0.0.5": 400})

    def test_source_port_range_of_its_own(self):
        add_address("10.0.0.5/32")
        self.start_haproxy("127.0.0.1:9001 source 10.0.0.5:25000-25999", "http-reuse never")
        answers, use = self.use_of(lambda: load(PORT, 300, headers="Connection: close\r\n"))
        self.assertEqual(use.counters.get("passthrough_own_port"), 300, use)
        self.assertEqual((use.pool, use.fallbacks), (0, {}), use)
        ports = {int(answer.peer.split()[1]) for answer in answers}
        self.assertTrue(ports <= set(range(25000, 26000)), ports)

    def test_health_checks(self):
        self.start_haproxy("127.0.0.1:9001 check inter 1ms", "option httpchk GET /0/10")
        self.wait_for_lane("127.0.0.1:9001")
        seen = self.upstream.counters()["requests"]
        _, use = self.use_of(
            lambda: eventually(
                lambda: self.upstream.counters()["requests"] >= seen + 200, "200 checks"
            )
        )
        # Checks go on while the counters are read, one after the other.
        self.assertGreaterEqual(use.pool, 190, use)
        self.assertEqual((use.kernel, use.fallbacks), (0, {}), use)

    def test_upstream_that_refuses(self):
        self.start_haproxy("127.0.0.1:9009")
        load(PORT, 1, expected=503)
        self.wait_for_lane("127.0.0.1:9009")
        _, use = self.use_of(lambda: load(PORT, 200, expected=503))
        self.assertEqual((use.pool, use.kernel), (200, 0), use)

    def test_seamless_reload_under_load(self):
        old = self.start_haproxy("127.0.0.1:9001", "http-reuse never")
        load(PORT, 1, headers="Connection: close\r\n")
        self.wait_for_lane("127.0.0.1:9001")

        def reload():
            listeners = f"{self.folder}/haproxy.sock"
            self.start_haproxy(
                "127.0.0.1:9001", "http-reuse never", ["-x", listeners, "-sf", old.pid]
            )
            self.assertEqual(old.wait(), 0, old)

        _, use = self.use_of(lambda: self.while_loaded(PORT, reload))
        self.assert_all_by_pool(use, 600)
        _, use = self.use_of(lambda: load(PORT, 100, headers="Connection: close\r\n"))
        self.assert_all_by_pool(use, 100)

    def test_poold_restarts_out_of_sight(self):
        """From the chroot its socket cannot be seen: the kernel's path, until the next reload."""
        self.start_haproxy("127.0.0.1:9001", "http-reuse never")
        load(PORT, 1, headers="Connection: close\r\n")
        self.wait_for_lane("127.0.0.1:9001")
        self.poold.restart()
        _, use = self.use_of(lambda: load(PORT, 200, headers="Connection: close\r\n"))
        self.assertEqual((use.accepted, use.pool), (200, 0), use)

    def test_master_and_workers_reload_under_load(self):
        pid_file = f"{self.folder}/haproxy.pid"
        master = self.start_haproxy("127.0.0.1:9001", "http-reuse never", ["-Ws", "-p", pid_file])
        load(PORT, 1, headers="Connection: close\r\n")
        self.wait_for_lane("127.0.0.1:9001")
        old = [int(word) for word in read(f"/proc/{master.pid}/task/{master.pid}/children").split()]
        self.assertEqual(len(old), 1)

        def reload():
            os.kill(master.pid, signal.SIGUSR2)  # it executes itself anew
            eventually(lambda: is_gone(old[0]), "old worker ends")

        _, use = self.use_of(lambda: self.while_loaded(PORT, reload))
        self.assert_all_by_pool(use, 600)


if __name__ == "__main__":
    main()
