"""nginx: many ways to an upstream, workers of another user, reload and upgrade under load."""

import os
import signal

from support.case import ProgramCase, add_address, main
from support.load import load
from support.waiting import children_of, eventually, is_gone, listens, read

PORT = 8080


class NginxCase(ProgramCase):
    def start_nginx(self, http="", main_part="", stream="", shim=True):
        """As root, with workers of www-data, in the background as usual."""
        text = f"""
            user www-data;
            worker_processes 2;
            pid {self.folder}/nginx.pid;
            error_log {self.folder}/nginx.log warn;
            {main_part}
            events {{ worker_connections 2048; }}
        """
        if http:
            folders = "".join(
                f"{kind}_temp_path {self.folder}/{kind};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            text += f"http {{ access_log off; {folders} {http} }}"
        if stream:
            text = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" + text
            text += f"stream {{ {stream} }}"
        self.write_config(text)
        command = ["/usr/sbin/nginx", "-p", self.folder, "-c", self.config_path, "-e", self.log]
        self.run_program(command, shim=shim)
        self.addCleanup(self.stop_nginx)
        eventually(lambda: listens(PORT), "nginx listens")

    @property
    def config_path(self):
        return os.path.join(self.folder, "nginx.conf")

    @property
    def log(self):
        return os.path.join(self.folder, "nginx.log")

    def write_config(self, text):
        self.file("nginx.conf", text)

    def master(self):
        return int(read(os.path.join(self.folder, "nginx.pid")) or 0)

    def stop_nginx(self):
        master = self.master()
        os.kill(master, signal.SIGQUIT)
        eventually(lambda: is_gone(master), "nginx ends")
        complaints = [line for line in read(self.log).splitlines() if "[notice]" not in line]
        self.assertEqual(complaints, [])

    def warm_up(self, *lanes):
        """One request of each worker's kind, until the lanes are there."""
        load(PORT, 1)
        for source, destination in lanes or [("127.0.0.1", "127.0.0.1:9001")]:
            self.wait_for_lane(destination, source)


class Nginx(NginxCase):
    def test_proxy_without_keepalive(self):
        self.start_nginx("server { listen 8080; location / { proxy_pass http://127.0.0.1:9001; } }")
        self.warm_up()
        for worker in children_of(self.master()):
            self.assertEqual(os.stat(f"/proc/{worker}").st_uid, 33, "www-data")
        answers, use = self.use_of(lambda: load(PORT, 500))
        self.assertEqual(len(answers), 500)
        self.assert_all_by_pool(use, 500)

    def test_proxy_with_keepalive(self):
        self.start_nginx("""
            upstream far { server 127.0.0.1:9001; keepalive 8; keepalive_requests 3; }
            server { listen 8080; location / {
              proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://far; } }
        """)
        self.warm_up()
        _, use = self.use_of(lambda: load(PORT, 900))
        self.assert_all_by_pool(use, 300)
        self.assertLess(use.accepted, 900)

    def test_proxy_bind(self):
        for last in (5, 6, 7):
            add_address(f"10.0.0.{last}/32")
        self.start_nginx("""
            map $server_port $from { 8080 10.0.0.5; 8081 10.0.0.6; 8082 10.0.0.7; }
            server { listen 8080; listen 8081; listen 8082;
              location / { proxy_bind $from; proxy_pass http://127.0.0.1:9001; } }
        """)
        for port in (8080, 8081, 8082):
            load(port, 1)
        for last in (5, 6, 7):
            self.wait_for_lane("127.0.0.1:9001", f"10.0.0.{last}")
        _, use = self.use_of(lambda: [load(port, 200) for port in (8080, 8081, 8082)])
        self.assert_all_by_pool(use, 600)
        self.assertEqual(use.sources, {"10.0.0.5": 200, "10.0.0.6": 200, "10.0.0.7": 200})

    def test_ipv6_upstream(self):
        self.start_nginx("server { listen 8080; location / { proxy_pass http://[::1]:9001; } }")
        self.warm_up(("::1", "[::1]:9001"))
        _, use = self.use_of(lambda: load(PORT, 300))
        self.assert_all_by_pool(use, 300)

    def test_stream(self):
        self.start_nginx(stream="server { listen 8080; proxy_pass 127.0.0.1:9001; }")
        self.warm_up()
        _, use = self.use_of(lambda: load(PORT, 300, headers="Connection: close\r\n"))
        self.assert_all_by_pool(use, 300)

    def test_upstream_that_refuses(self):
        config = "server { listen 8080; location / { proxy_pass http://127.0.0.1:9009; } }"
        self.start_nginx(config)
        load(PORT, 1, expected=502)
        self.wait_for_lane("127.0.0.1:9009")
        _, use = self.use_of(lambda: load(PORT, 200, expected=502))
        self.assertEqual(use.pool, 200, use)
        # Non-blocking: the refusal comes later, not from connect().
        self.assertEqual(use.results, {"in_progress": 200}, use)
        refused = read(self.log).count("Connection refused")
        self.file("nginx.log")
        self.assertEqual(refused, 201)

    def test_reload_under_load(self):
        self.start_nginx("server { listen 8080; location / { proxy_pass http://127.0.0.1:9001; } }")
        self.warm_up()
        old = children_of(self.master())

        def reload():
            os.kill(self.master(), signal.SIGHUP)
            eventually(lambda: all(is_gone(worker) for worker in old), "old workers end")

        _, use = self.use_of(lambda: self.while_loaded(PORT, reload))
        self.assert_all_by_pool(use, 600)

    def test_binary_upgrade_under_load(self):
        # nginx hands nothing of its environment to the new binary but what is named here.
        self.start_nginx(
            "server { listen 8080; location / { proxy_pass http://127.0.0.1:9001; } }",
            main_part="env LD_PRELOAD; env PORTPOOL_SOCKET;",
        )
        self.warm_up()
        old = self.master()

        def upgrade():
            os.kill(old, signal.SIGUSR2)
            new = eventually(lambda: self.master() not in (0, old) and self.master(), "new master")
            eventually(lambda: len(children_of(new)) == 2, "new workers")
            os.kill(old, signal.SIGQUIT)
            eventually(lambda: is_gone(old), "old master ends")

        _, use = self.use_of(lambda: self.while_loaded(PORT, upgrade))
        self.assert_all_by_pool(use, 600)
        _, use = self.use_of(lambda: load(PORT, 200))
        self.assert_all_by_pool(use, 200)


class Restart(NginxCase):
    config = 'socket_group = "www-data"\n'

    def test_poold_restarts(self):
        """Workers that gave root away, and wrote over their environment, find the new daemon."""
        self.start_nginx("server { listen 8080; location / { proxy_pass http://127.0.0.1:9001; } }")
        self.warm_up()
        self.poold.restart()

        def by_pool():
            _, use = self.use_of(lambda: load(PORT, 50))
            return use.pool == use.accepted == 50

        eventually(by_pool, "the pool is used again")


if __name__ == "__main__":
    main()
