"""libevent's own regression tests, built from Debian's source."""

import os
import re

import debian

from .suite import Suite


class Libevent(Suite):
    name = "libevent"
    seconds = 900

    def prepare(self, folder):
        tree, version = debian.source("libevent", folder)
        debian.build("b/bin/regress", [
            ["cmake", "-B", "b", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
             "-DEVENT__LIBRARY_TYPE=STATIC", "-DEVENT__DISABLE_BENCHMARK=ON",
             "-DEVENT__DISABLE_SAMPLES=ON"],
            ["ninja", "-C", "b", "-j2", "regress"]], tree)
        return version

    def command(self, folder, work):
        return [os.path.join(folder, "libevent/b/bin/regress"), "--timeout", "60"], {}

    def results(self, folder, work):
        """One line for each test, like "main/methods: [forking] OK"; what it complains about may
        stand between."""
        text = self.output(work)
        found, name = {}, None
        for line in text.splitlines():
            if start := re.match(r"([a-z_0-9]+/[A-Za-z_0-9/.+-]+): ", line):
                name = start.group(1)
            if end := re.search(r"(?:^|[ \]])(OK|SKIPPED|DISABLED)$|^ *\[([A-Za-z0-9_+-]+) FAILED\]", line):
                if name is not None:
                    found[name] = end.group(1) or "FAILED"
                    name = None
        return found
