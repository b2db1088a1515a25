"""Redis's own tests of replication, failover, clients and connections, with a server built from Debian's
source. The client in them is tclsh's."""

import os
import re

import debian

from .suite import Suite

# integration/replication of Debian's 7.0.15 ends in an error of its own.
PARTS = """unit/auth unit/info unit/introspection-2 unit/limits unit/networking unit/obuf-limits
 unit/protocol unit/pubsub unit/querybuf unit/quit unit/shutdown unit/tracking unit/wait
 integration/block-repl integration/failover integration/logging integration/psync2
 integration/psync2-master-restart integration/psync2-pingoff integration/redis-benchmark
 integration/redis-cli integration/replication-2 integration/replication-3 integration/replication-4
 integration/replication-buffer integration/shutdown""".split()


class Redis(Suite):
    name = "redis"

    def prepare(self, folder):
        debian.need("tclsh", "tcl")
        tree, version = debian.source("redis", folder)
        debian.build("src/redis-sentinel", [
            ["make", "-j2", "MALLOC=libc", "OPTIMIZATION=-O1", "redis-server", "redis-cli",
             "redis-benchmark", "redis-sentinel"]], tree)
        return version

    def command(self, folder, work):
        """Each part by itself: an error in one ends the run."""
        script = f'cd "$0"; for part in {" ".join(PARTS)}; do ./runtest --tags -slow --single $part; done'
        return ["sh", "-c", script, os.path.join(folder, "redis")], {}

    def results(self, folder, work):
        """Names with their numbers left out, since some tell times and sizes; a name may come more
        than once, and how often may depend on the time."""
        found = {}
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.output(work))
        for kind, name in re.findall(r"^\[(ok|err|exception|ignore|skip)\]: (.*)$", text, re.MULTILINE):
            name = re.sub(r"\d+", "#", re.sub(r" \(\d+ ms\)$| in tests/.*", "", name))
            found.setdefault(name, set()).add(kind)
        return {name: " ".join(sorted(kinds)) for name, kinds in found.items()}
