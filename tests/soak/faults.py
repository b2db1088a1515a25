"""The faults. Each is done while the programs work, and is over when it returns: what it took away is there
again, but for the time that programs and poold need to notice."""

import contextlib
import os
import signal
import subprocess
import time

from programs import ECHO, must_connect
from support.case import add_address
from worker import Guest, Worker, guest_command

NARROW = "127.0.0.1:9014"  # of a pool with few ports (scene.py)
EDGE = "10.0.0.1:9013"  # of a pool with sources of its own
SOURCES = ("10.0.0.5", "10.0.0.6")
MOVING = "10.0.0.9"


def set_sysctl(name, value):
    with open("/proc/sys/net/ipv4/" + name, "w") as file:
        file.write(f"{value}\n")  # nothing written would change nothing


def remove_address(address):
    subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)


@contextlib.contextmanager
def short_lived(worker):
    try:
        yield worker
    finally:
        worker.kill()


# Of poold. These leave another process (RENEWALS below).


def ended_and_started(scene, chosen):
    scene.poold.stop()
    time.sleep(chosen.choice([0, 0, 0.3, 1.5]))
    scene.poold.start()
    scene.cut_off = 0


def killed_and_started(scene, chosen):
    scene.poold.kill()
    time.sleep(chosen.choice([0, 0, 0.3, 1.5]))
    scene.poold.start()
    scene.cut_off = 0


def taken_over(scene, _):
    scene.poold.take_over()


def upgraded_by_signal(scene, _):
    scene.poold.upgrade()


def upgraded_twice(scene, _):
    scene.poold.upgrade()
    scene.poold.take_over()


# Of poold that lives on.


def stopped(scene, chosen):
    os.kill(scene.poold.pid, signal.SIGSTOP)
    time.sleep(chosen.uniform(0.05, 2.5))
    os.kill(scene.poold.pid, signal.SIGCONT)


def reloaded(scene, chosen):
    scene.poold.configure(chosen)
    os.kill(scene.poold.pid, signal.SIGHUP)


# Of clients.


def client_killed(scene, chosen):
    with short_lived(Worker(scene.environment)) as worker:
        must_connect(worker, [chosen.choice(ECHO) for _ in range(chosen.randint(50, 300))])


def client_killed_in_calls(scene, chosen):
    with short_lived(Worker(scene.environment)) as worker:
        for number in range(100):
            worker.tell(f"connect {number} {chosen.choice(ECHO)} plain")
        time.sleep(chosen.uniform(0, 0.02))
        scene.cut_off += 1


def client_killed_after_fork(scene, chosen):
    """The child has the connections still."""
    with short_lived(Worker(scene.environment)) as worker:
        must_connect(worker, [chosen.choice(ECHO) for _ in range(50)])
        child = int(worker.ask("fork").split()[1])
    time.sleep(chosen.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)  # of this process now, the first of its namespace


def programs_killed(scene, chosen):
    for _ in range(5):
        program = subprocess.Popen(
            ["curl", "-s", "http://127.0.0.1:9001/1/200000"],
            env={**os.environ, **scene.environment},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(chosen.uniform(0, 0.03))
        program.kill()
        program.wait()
        scene.cut_off += 1


# Of ports.


def lane_filled(scene, chosen):
    """All ports of a lane, and then some: the kernel gives others."""
    with short_lived(Worker(scene.environment)) as worker:
        must_connect(worker, [NARROW] * chosen.randint(210, 400))
        worker.check_all()
        worker.close_oldest()


def foreign_traffic(scene, chosen):
    with short_lived(Worker()) as worker:
        must_connect(worker, [chosen.choice(ECHO)] * chosen.randint(100, 1000))
        worker.close_oldest(but=100)


def ports_held_by_others(scene, chosen):
    with short_lived(Worker()) as worker:
        for number in range(200):
            port = chosen.randint(scene.ports[0], scene.ports[1])
            worker.ask(f"bind {number} 127.0.0.1:{port} {chosen.choice(['bound', 'listen'])}")
        time.sleep(0.2)


# Of settings.


def range_changed(scene, chosen):
    scene.set_ports(20000, chosen.choice([29999, 34999, 39999]))


def reuse_changed(scene, chosen):
    set_sysctl("tcp_tw_reuse", chosen.choice([0, 1]))
    time.sleep(chosen.uniform(0, 0.5))
    set_sysctl("tcp_tw_reuse", 2)


def ports_reserved(scene, chosen):
    low = chosen.randint(20000, 25000)
    set_sysctl("ip_local_reserved_ports", f"{low}-{low + 2000}")
    time.sleep(chosen.uniform(0.1, 0.5))
    set_sysctl("ip_local_reserved_ports", "")


# Of addresses.


def source_vanished(scene, chosen):
    """One of the pool's sources, or all, while nobody has a connection from there."""
    gone = chosen.choice([SOURCES[:1], SOURCES[1:], SOURCES])
    with short_lived(Worker(scene.environment)) as worker:
        must_connect(worker, [EDGE] * 5)
        worker.close_oldest()
        for address in gone:
            remove_address(address)
        try:
            must_connect(worker, [EDGE] * 20)
            worker.close_oldest()
        finally:
            for address in gone:
                add_address(f"{address}/32")
        must_connect(worker, [EDGE] * 20)
        worker.close_oldest()


def destination_came_and_went(scene, _):
    add_address(f"{MOVING}/32")
    try:
        with short_lived(Worker(scene.environment)) as worker:
            must_connect(worker, [f"{MOVING}:9011"] * 20)
            worker.check_all()
            worker.close_oldest()
    finally:
        remove_address(MOVING)


# Floods (tests/stress/floods/flood_guests.cpp).


@contextlib.contextmanager
def flooding(scene, name, *arguments, shim=False):
    command = ["nice", *guest_command(f"flood_{name}", *arguments, program="floods")]
    guest = Guest(command, scene.environment if shim else None)
    try:
        assert guest.hear() == "floods"
        yield
        guest.tell("stop")
        assert int(guest.hear().split()[1]) > 0, "there was no flood"
        guest.process.wait()
    finally:
        guest.kill()


def flood(scene, chosen, name, *arguments, shim=False):
    with flooding(scene, name, *arguments, shim=shim):
        time.sleep(chosen.uniform(0.2, 1))


def flood_of_destinations(scene, chosen):
    first = chosen.randrange(3000)
    flood(scene, chosen, "destinations", first, first + 299, shim=True)


def flood_of_attention(scene, chosen):
    flood(scene, chosen, "attention", scene.poold.socket)


def flood_of_visitors(scene, chosen):
    flood(scene, chosen, "visitors", scene.poold.socket)


def flood_of_hangups(scene, chosen):
    flood(scene, chosen, "hangups", scene.poold.pid)


def flood_of_scrapes(scene, chosen):
    flood(scene, chosen, "scrapes", scene.metrics)


def flood_of_programs(scene, chosen):
    flood(scene, chosen, "programs", 10000, scene.poold.socket)


RENEWALS = {
    "poold ended, and started again": ended_and_started,
    "poold killed (SIGKILL), and started again": killed_and_started,
    "poold taken over (`serve --take-over`)": taken_over,
    "poold upgraded (SIGUSR2)": upgraded_by_signal,
    "poold upgraded, and taken over at once": upgraded_twice,
}
FAULTS = {
    "poold stopped (SIGSTOP) for up to 2.5 s": stopped,
    "another configuration (SIGHUP)": reloaded,
    "a client with connections killed": client_killed,
    "a client in the middle of calls killed": client_killed_in_calls,
    "a client killed whose child holds its connections": client_killed_after_fork,
    "programs killed as they start": programs_killed,
    "a lane filled to its last port, and beyond": lane_filled,
    "up to 1,000 connections of a program without the library": foreign_traffic,
    "200 ports bound or listened on by others": ports_held_by_others,
    "another ip_local_port_range": range_changed,
    "tcp_tw_reuse 0 or 1 for a while": reuse_changed,
    "2,000 ports reserved for a while": ports_reserved,
    "a source address goes and comes": source_vanished,
    "a destination's address comes and goes": destination_came_and_went,
    "a flood of destinations": flood_of_destinations,
    "a flood of wrong hints (every lane asks for attention)": flood_of_attention,
    "a flood of visitors at the socket": flood_of_visitors,
    "a flood of SIGHUP": flood_of_hangups,
    "a flood of scrapes": flood_of_scrapes,
    "a flood of programs that start": flood_of_programs,
}
