"""The kernel's selftests of TCP's bind, connect and ports that are single programs of libc's, from
Debian's package of the kernel's source.

Their scripts make network namespaces, where they would be out of the pool's reach; so the programs are
run as the scripts would, in the namespace at hand.
"""

import os
import re
import shlex

import debian

from .suite import Suite

# A release that has them; nothing else of it is used.
RELEASE, PACKAGE = "trixie", "linux-source-6.12"
NET = "tools/testing/selftests/net"

# What is run, with the settings of the script that belongs to it.
COMMANDS = [
    ("bind_timewait", "./bind_timewait"),
    ("bind_wildcard", "./bind_wildcard"),
    ("reuseaddr_conflict", "./reuseaddr_conflict"),
    ("reuseport_addr_any", "./reuseport_addr_any"),
    ("reuseport_bpf", "./reuseport_bpf"),
    ("reuseport_bpf_cpu", "./reuseport_bpf_cpu"),
    ("reuseport_dualstack", "./reuseport_dualstack"),
    ("sk_bind_sendto_listen", "./sk_bind_sendto_listen"),
    ("sk_connect_zero_addr", "./sk_connect_zero_addr"),
    ("sk_so_peek_off", "./sk_so_peek_off"),
    ("so_incoming_cpu", "./so_incoming_cpu"),
    ("so_netns_cookie", "./so_netns_cookie"),
    ("stress_reuseport_listen", "sysctl -qw net.ipv6.ip_nonlocal_bind=1; "
     "./stress_reuseport_listen 12 80; e=$?; sysctl -qw net.ipv6.ip_nonlocal_bind=0; (exit $e)"),
    ("tcp_fastopen_backup_key-4", "sysctl -qw net.ipv4.tcp_fastopen=3; ./tcp_fastopen_backup_key -4"),
    ("tcp_fastopen_backup_key-6", "ip tcp_metrics flush; ./tcp_fastopen_backup_key -6"),
    ("tcp_inq", "./tcp_inq"),
    ("mptcp_inq-tcp", "./mptcp_inq -t tcp -r tcp"),
    ("mptcp_inq-mptcp", "./mptcp_inq -t mptcp -r mptcp"),
    ("mptcp_inq-6", "./mptcp_inq -6 -t tcp -r tcp"),
    ("mptcp_sockopt", "./mptcp_sockopt"),
    ("mptcp_sockopt-6", "./mptcp_sockopt -6"),
    ("ip_local_port_range", "sysctl -qw net.mptcp.enabled=1; "
     "sysctl -qw net.ipv4.ip_local_port_range='40000 49999'; ./ip_local_port_range"),
    ("reuseaddr_ports_exhausted", "sysctl -qw net.ipv4.ip_autobind_reuse=1; "
     "sysctl -qw net.ipv4.ip_local_port_range='32768 32768'; ./reuseaddr_ports_exhausted"),
]

# bind() to port 0 is put off until the port is needed: with all ports taken it succeeds.
EXHAUSTED = {f"reuseaddr_ports_exhausted{rest}" for rest in (
    "", ": global.reuseaddr_ports_exhausted_reusable_same_euid",
    ": global.reuseaddr_ports_exhausted_unreusable")}


class Kernel(Suite):
    name = "kernel"
    seconds = 300
    known = {arm: EXHAUSTED for arm in ("pool", "bind")}

    def prepare(self, folder):
        unpacked, version = debian.package(PACKAGE, folder, release=RELEASE)
        tests = os.path.join(folder, "selftests")
        if not os.path.isdir(tests):
            archive = os.path.join(unpacked, f"usr/src/{PACKAGE}.tar.xz")
            debian.run(["tar", "-xf", archive, "--strip-components=3", f"{PACKAGE}/tools/testing/selftests"],
                       folder)
        net = os.path.join(tests, "net")
        for program in sorted({re.search(r"\./(\w+)", command)[1] for _, command in COMMANDS}):
            source = f"mptcp/{program}.c" if program.startswith("mptcp_") else f"{program}.c"
            debian.build(program, [["cc", "-O2", "-w", "-D_GNU_SOURCE=", "-I..", "-o", program, source,
                                    "-lpthread"]], net)
        return version

    def command(self, folder, work):
        script = "".join(
            f"echo '=== {name}'; timeout 60 sh -c {shlex.quote(command)}; echo \"=== exit $?\"\n"
            for name, command in COMMANDS)
        return ["sh", "-c", f'cd "$0"\n{script}', os.path.join(folder, "selftests/net")], {}

    def results(self, folder, work):
        """By the lines of TAP where a program has them, and its exit status."""
        text = self.output(work)
        found = {}
        for name, said, status in re.findall(r"^=== (\S+)$(.*?)^=== exit (\d+)$", text,
                                             re.MULTILINE | re.DOTALL):
            found[name] = f"exit {status}"
            for kind, test in re.findall(r"^((?:not )?ok) \d+ (.*)$", said, re.MULTILINE):
                found[f"{name}: {test}"] = kind
        return found
