"""Servers and sessions with more to them: squid, PostgreSQL with pgbench, OpenSSH."""

import glob
import os
import pwd
import shutil
import subprocess

from support.case import ProgramCase, main
from support.load import load
from support.waiting import eventually, listens


class Servers(ProgramCase):
    def test_squid(self):
        """A reverse proxy whose process gives root away, and writes over its environment."""
        user = pwd.getpwnam("proxy")
        os.makedirs(f"{self.folder}/squid")
        os.chown(f"{self.folder}/squid", user.pw_uid, user.pw_gid)
        config = self.file(
            "squid.conf",
            f"""
http_port 127.0.0.1:8080 accel defaultsite=test
cache_peer 127.0.0.1 parent 9001 0 no-query originserver no-digest no-netdb-exchange
http_access allow all
cache deny all
server_persistent_connections off
cache_effective_user proxy
pid_filename {self.folder}/squid/squid.pid
cache_log {self.folder}/squid/cache.log
access_log none
netdb_filename none
pinger_enable off
coredump_dir {self.folder}/squid
shutdown_lifetime 0 seconds
max_filedescriptors 4096
""",
        )
        squid = self.start(["squid", "-N", "-f", config])
        eventually(lambda: listens(8080) or squid.process.poll() is not None, "squid listens")
        load(8080, 1)
        self.wait_for_lane("127.0.0.1:9001")
        _, use = self.use_of(lambda: load(8080, 300))
        self.assert_all_by_pool(use, 300)
        self.assertEqual(squid.stop(), 0, squid)

    def test_pgbench(self):
        """A connection for each transaction, over TCP."""
        tools = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        user = pwd.getpwnam("postgres")
        data = f"{self.folder}/pg"
        os.makedirs(data, mode=0o700)
        os.chown(data, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        initdb = [f"{tools}/initdb", "-D", data, "-A", "trust", "--no-sync", "--no-instructions"]
        self.run_program(initdb, shim=False, **identity)
        server = [f"{tools}/postgres", "-D", data, "-p", 9003, "-k", data, "-F"]
        postgres = self.start([*server, "-c", "max_connections=50"], shim=False, **identity)
        ready = [f"{tools}/pg_isready", "-q", "-h", data, "-p", "9003"]
        eventually(lambda: subprocess.run(ready).returncode == 0, f"it is ready\n{postgres}")
        bench = [f"{tools}/pgbench", "-h", "127.0.0.1", "-p", 9003, "-U", "postgres"]
        self.run_program([*bench, "-i", "-q", "postgres"])
        self.wait_for_lane("127.0.0.1:9003")
        bench += ["-C", "-S", "-n", "-c", 4, "-j", 2, "-t", 75, "postgres"]
        said, use = self.use_of(lambda: self.run_program(bench))
        self.assertIn("transactions actually processed: 300/300", said)
        self.assertGreaterEqual(use.pool, 300, use)
        self.assertEqual((use.kernel, use.fallbacks), (0, {}), use)
        self.assertEqual(postgres.stop(), 0, postgres)

    def start_sshd(self):
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)  # of this test alone
        os.makedirs("/run/sshd", mode=0o755)
        key = f"{self.folder}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        shutil.copy(f"{key}.pub", f"{self.folder}/authorized")
        config = self.file(
            "sshd_config",
            f"""
Port 9003
HostKey {key}
AuthorizedKeysFile {self.folder}/authorized
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
MaxStartups 100
PermitUserEnvironment no
""",
        )
        sshd = self.start(["/usr/sbin/sshd", "-D", "-e", "-f", config], shim=False)
        eventually(lambda: listens(9003) or sshd.process.poll() is not None, "sshd listens")
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        ssh = ["ssh", "-F", "none", "-p", 9003, "-i", key]
        return ssh + [word for option in options for word in ("-o", option)]

    def test_ssh(self):
        """Sessions, an address of its own choice, and a tunnel that opens 200 connections."""
        ssh = self.start_sshd()
        host = "root@127.0.0.1"
        self.run_program([*ssh, host, "true"])
        self.wait_for_lane("127.0.0.1:9003")
        said, use = self.use_of(lambda: self.run_program([*ssh, host, "seq 100000"]))
        self.assertEqual(said, "".join(f"{n}\n" for n in range(1, 100001)))
        self.assertEqual((use.pool, use.kernel), (1, 0), use)
        said, _ = self.use_of(
            lambda: self.run_program([*ssh, "-b", "127.0.0.3", host, "echo $SSH_CLIENT"])
        )
        self.assertTrue(said.startswith("127.0.0.3 "), said)
        # Dynamic forwarding from the far side: this client connects to the far server.
        tunnel = self.start([*ssh, "-N", "-R", "8080:127.0.0.1:9001", host])
        eventually(lambda: listens(8080) or tunnel.process.poll() is not None, "tunnel")
        load(8080, 1)
        self.wait_for_lane("127.0.0.1:9001")
        _, use = self.use_of(lambda: load(8080, 200, headers="Connection: close\r\n"))
        self.assert_all_by_pool(use, 200)


if __name__ == "__main__":
    main()
