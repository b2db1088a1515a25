"""Node's own tests of its network parts, of Debian's source, with the node of that version that the
npm registry has: Debian's needs packages that may not be installed."""

import glob
import os
import platform
import re

import debian

from .suite import Suite

PARTS = "net http https tls".split()


class Node(Suite):
    name = "node"

    def prepare(self, folder):
        debian.need("npm", "npm")
        _, version = debian.source("nodejs", folder)
        release = version.split("+")[0]
        program = os.path.join(folder, "nodejs/node")  # where the tests look for it
        if not os.path.exists(program):
            machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
            debian.run(["npm", "pack", "--silent", f"node-linux-{machine}@{release}"], folder)
            (archive,) = glob.glob(os.path.join(folder, "node-linux-*.tgz"))
            debian.run(["tar", "-xzf", archive], folder)
            os.remove(archive)
            os.rename(os.path.join(folder, "package/bin/node"), program)
        return release

    def command(self, folder, work):
        parts = " ".join(f"'parallel/test-{part}-*'" for part in PARTS)
        run = f"exec /usr/bin/python3 tools/test.py -p tap -j 2 --mode release {parts}"
        return ["sh", "-c", f'cd "$0" && {run}', os.path.join(folder, "nodejs")], {}

    def results(self, folder, work):
        text = self.output(work)
        return {name: kind + (" # skip" if "skip" in rest else "") for kind, name, rest in
                re.findall(r"^(ok|not ok) \d+ (\S+)(.*)$", text, re.MULTILINE)}
