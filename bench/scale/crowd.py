"""The crowd: sockets that stand, processes that are attached, clients, programs that call once."""

import os
import random
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time

RESET = struct.pack("ii", 1, 0)
BIND_ADDRESS_NO_PORT = 24
PER_HOLDER = 15000
PER_SOURCE = 5000  # below half of the default range, where the kernel finds a port at once


def destination(number):
    """Of 127.1.0.0/16 and up: a listener on 0.0.0.0 answers for all of them."""
    return socket.inet_ntoa(struct.pack(">I", (127 << 24) + 0x10000 + number))


def network_up():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, value in (("core/somaxconn", 1 << 20), ("ipv4/tcp_max_syn_backlog", 1 << 20)):
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write(str(value))


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


class Server:
    """Accepts on `port` and closes when the other side does; on `port` + 1 nobody accepts, so that
    a connection there stands without a descriptor on this side."""

    def __init__(self, port):
        self.port = port
        self.silent = socket.create_server(("0.0.0.0", port + 1), backlog=1 << 20)
        listener = socket.create_server(("0.0.0.0", port), backlog=4096)
        child(lambda: self.serve(listener))
        listener.close()

    @staticmethod
    def serve(listener):
        listener.setblocking(False)
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        connections = {}
        while True:
            for fd, _ in poll.poll():
                if fd != listener.fileno():
                    connections.pop(fd).close()
                    continue
                for _ in range(256):
                    try:
                        accepted, _ = listener.accept()
                    except BlockingIOError:
                        break
                    except OSError:
                        continue
                    poll.register(accepted, select.EPOLLIN)
                    connections[accepted.fileno()] = accepted


class Holders:
    """`wanted` sockets: half of them clients, in processes of some thousand each."""

    def __init__(self, wanted, server):
        self.connections = wanted // 2
        self.port = server.port + 1
        self.held = 0

    def fill(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        per_holder = min(PER_HOLDER, hard - 100)
        for begin in range(0, self.connections, per_holder):
            count = min(per_holder, self.connections - begin)
            ours, theirs = socket.socketpair()
            child(lambda: self.hold(begin, count, theirs))
            theirs.close()
            answer = ours.recv(16)
            ours.close()
            self.held += 2 * int(answer or 0)

    def hold(self, begin, count, channel):
        kept = []
        try:
            for i in range(begin, begin + count):
                made = socket.socket()
                # The port is left to connect(): a port that was bound serves no lane.
                made.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
                made.bind((f"127.200.0.{1 + i // PER_SOURCE}", 0))
                made.connect(("127.0.0.1", self.port))
                kept.append(made)
        except OSError as error:
            print(f"a holder stops at {len(kept)}: {error}", file=sys.stderr)
        channel.send(str(len(kept)).encode())
        while True:
            time.sleep(1000)


class Attached:
    def __init__(self, count, environment):
        self.count, self.environment = count, environment

    def start(self):
        for _ in range(self.count):
            os.posix_spawn("/bin/sleep", ["sleep", "infinity"], self.environment)


class Clients:
    """Programs under the shim, each of which goes round its part of the destinations."""

    def __init__(self, count, destinations, rate, port):
        self.count, self.destinations, self.rate, self.port = count, destinations, rate, port
        self.programs = []

    def start(self, environment):
        part = self.destinations // self.count
        for i in range(self.count):
            self.programs.append(subprocess.Popen(
                ["/usr/bin/python3", __file__, str(i * part), str(part), str(self.rate),
                 str(self.port)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def stop(self):
        """How many connects there were, and how many of them failed."""
        answers = [program.communicate(b"stop")[0].split() for program in self.programs]
        return {"made": sum(int(a[0]) for a in answers), "failed": sum(int(a[1]) for a in answers)}


class Callers:
    """`count` programs in `seconds`, each of which starts, connects once and ends."""

    MEANING = {0: "had the segment", 1: "no connection", 3: "without the segment"}

    def __init__(self, count, seconds, destinations, port, program):
        self.count, self.pause = count, seconds / count
        self.destinations, self.port, self.program = destinations, port, program
        self.results = {}
        self.seconds = 0.0

    def run(self, environment):
        begin = time.monotonic()
        running = set()
        for i in range(self.count):
            time.sleep(max(0.0, begin + i * self.pause - time.monotonic()))
            where = destination(random.randrange(self.destinations))
            running.add(os.posix_spawn(self.program, [self.program, where, str(self.port)],
                                       environment))
            if i % 16 == 0:
                self.reap(running, os.WNOHANG)
        self.reap(running, 0)
        self.seconds = time.monotonic() - begin

    def reap(self, running, flags):
        for pid in list(running):
            ended, status = os.waitpid(pid, flags)
            if ended:
                running.remove(pid)
                code = os.waitstatus_to_exitcode(status)
                meaning = self.MEANING.get(code, f"status {code}")
                self.results[meaning] = self.results.get(meaning, 0) + 1


def client(first, count, rate, port):
    ending = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ending.set()), daemon=True).start()
    made = failed = 0
    due = time.monotonic()
    while not ending.is_set():
        connection = socket.socket()
        try:
            # Twice in a row: a destination that is called once has no lane.
            connection.connect((destination(first + made // 2 % count), port))
        except OSError:
            failed += 1
        made += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
        due = max(due + 1 / rate, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))
    print(made, failed)


if __name__ == "__main__":
    client(*(int(word) for word in sys.argv[1:]))
