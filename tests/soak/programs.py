"""The programs that work all the time, each in a thread that gives it work in small turns."""

import errno
import os
import random
import subprocess
import sys
import threading
import time

from support.load import load
from support.program import Program
from support.upstream import body_of
from support.waiting import children_of, eventually, listens
from worker import Worker, WrongConnection

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM = os.path.join(HERE, "../system/programs")
JAVA_PROXY = os.path.join(HERE, "../../examples/java/ReverseProxy.java")
HTTP, EARLY = 9001, (9002, 9003)  # where the HTTP server listens; the last two are for Erlang
ECHO = ["127.0.0.1:9011", "127.0.0.1:9012", "[::1]:9011"]


class Traffic:
    """Threads that take turns until they are told to rest. What goes wrong is kept for who asks."""

    def __init__(self, seed):
        self.seed = seed
        self.threads = []
        self.may_go = threading.Event()
        self.ended = False
        self.busy = 0
        self.changed = threading.Condition()
        self.errors = []  # (who, what)
        self.wrong = []
        self.turns = {}

    def add(self, name, turn, pause):
        """Calls turn(random) again and again, with up to `pause` seconds between."""
        chosen = random.Random(f"{self.seed} {name}")
        thread = threading.Thread(target=self._work, args=(name, turn, pause, chosen), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _work(self, name, turn, pause, chosen):
        while not self.ended:
            self.may_go.wait()
            with self.changed:
                if not self.may_go.is_set() or self.ended:
                    continue
                self.busy += 1
            try:
                turn(chosen)
                self.turns[name] = self.turns.get(name, 0) + 1
            except WrongConnection as problem:
                self.wrong.append((name, str(problem)))
            except Exception as problem:  # whatever it is, an application has seen it
                where = self.wrong if "that were sent" in str(problem) else self.errors
                where.append((name, f"{type(problem).__name__}: {problem}"[:300]))
            with self.changed:
                self.busy -= 1
                self.changed.notify_all()
            time.sleep(chosen.uniform(0.2, 1) * pause)

    def go_on(self):
        self.may_go.set()

    def rest(self):
        self.may_go.clear()
        with self.changed:
            assert self.changed.wait_for(lambda: self.busy == 0, 120), "a turn does not end"

    def end(self):
        self.rest()
        self.ended = True
        self.may_go.set()
        for thread in self.threads:
            thread.join()

    def take_troubles(self):
        errors, self.errors = self.errors, []
        wrong, self.wrong = self.wrong, []
        return errors, wrong


class Programs:
    """Starts them. `roles()`: the processes to be watched."""

    def __init__(self, folder, environment, traffic):
        self.folder = folder
        self.environment = environment
        self.started = []
        self.nginx = self._start_nginx()
        self.haproxy = self._start_haproxy()
        self.java = self._start_java()
        self.workers = [Worker(environment) for _ in range(3)]
        self.foreign = Worker()  # not under the library
        traffic.add("nginx", lambda r: self._load(8080, r), 0.15)
        traffic.add("haproxy", lambda r: self._load(8081, r), 0.15)
        # Its server resets connections whose last request it has been told (natively, too).
        traffic.add("java", lambda r: self._load(8082, r, headers=""), 0.3)
        traffic.add("curl", self._curl, 0.5)
        traffic.add("erlang", self._erlang, 4)
        for i, worker in enumerate([*self.workers, self.foreign]):
            traffic.add(f"worker {i}", lambda r, w=worker: work_turn(w, r), 0.1)

    def roles(self):
        return {
            "nginx": children_of(self.nginx.pid),
            "haproxy": [self.haproxy.pid],
            "java": [self.java.pid],
            "worker": [worker.pid for worker in self.workers],
        }

    def _start(self, *argv):
        program = Program(self.folder, argv, self.environment)
        self.started.append(program)
        return program

    def _file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def _start_nginx(self):
        folders = "".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self._file(
            "nginx.conf",
            f"""
            user root; worker_processes 2; daemon off; pid {self.folder}/nginx.pid;
            error_log {self.folder}/nginx.log warn;
            events {{ worker_connections 1024; }}
            http {{ access_log off; {folders} server {{ listen 8080; location / {{
              proxy_next_upstream off; proxy_pass http://127.0.0.1:{HTTP}; }} }} }}""",
        )
        program = self._start("/usr/sbin/nginx", "-p", self.folder, "-c", config)
        eventually(lambda: listens(8080) and len(children_of(program.pid)) == 2, "nginx listens")
        return program

    def _start_haproxy(self):
        config = self._file(
            "haproxy.cfg",
            f"""
global
    nbthread 2
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
    retries 0
frontend front
    bind :8081
    default_backend far
backend far
    http-reuse never
    option httpclose
    server one 127.0.0.1:{HTTP}
""",
        )
        program = self._start("/usr/sbin/haproxy", "-db", "-f", config)
        eventually(lambda: listens(8081), "haproxy listens")
        return program

    def _start_java(self):
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        subprocess.run(["javac", "-J-XX:+UseSerialGC", "-d", self.folder, JAVA_PROXY], check=True)
        heap = ["-Xms24m", "-Xmx24m", "-XX:+AlwaysPreTouch"]
        command = ["java", *quick, *heap, "-cp", self.folder, "ReverseProxy", "8082"]
        program = self._start(*command, f"http://127.0.0.1:{HTTP}")
        eventually(lambda: listens(8082, "::"), f"java listens: {program}")
        return program

    @staticmethod
    def _load(port, chosen, headers="Connection: close\r\n"):
        load(port, chosen.randint(4, 16), clients=4, size=800, headers=headers)

    def _curl(self, chosen):
        number = chosen.randrange(1_000_000)
        url = f"http://127.0.0.1:{HTTP}/{number}/500"
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", url],
            env={**os.environ, **self.environment},
            capture_output=True,
        )
        if done.returncode != 0:
            raise OSError(f"curl: {done.returncode} {done.stderr.decode(errors='replace')}")
        if done.stdout != body_of(f"/{number}/500"):
            raise WrongConnection("curl: other bytes than that were sent")

    def _erlang(self, chosen):
        each = chosen.randint(1, 20)
        script = f"{SYSTEM}/erlang/early_binds.escript"
        done = subprocess.run(
            ["escript", script, "127.0.0.2", str(each), *map(str, EARLY)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        wanted = f"connected {each * len(EARLY)} of {each * len(EARLY)}"
        if done.returncode != 0 or wanted not in done.stdout:
            raise OSError(f"erlang: {done.stdout} {done.stderr}")

    def stop(self):
        for worker in [*self.workers, self.foreign]:
            worker.kill()
        for program in self.started:
            program.kill()


def must_connect(worker, destinations, how="plain"):
    failed = [error for error in worker.connect_many(destinations, how) if error != 0]
    if failed:
        raise OSError(f"{len(failed)} of {len(destinations)}: {errno.errorcode[failed[0]]}")


def work_turn(worker, chosen):
    """A few connects and closes; some 30 connections are held."""
    shimmed = "LD_PRELOAD" in worker.environment
    how = chosen.choice(["plain", "nonblocking", "bound" if shimmed else "plain"])
    must_connect(worker, [chosen.choice(ECHO) for _ in range(chosen.randint(1, 6))], how)
    worker.close_oldest(chosen.choice(["normal", "reset", "reset", "raw"]), but=chosen.randint(20, 40))
    if chosen.random() < 0.2:
        worker.check_all()
