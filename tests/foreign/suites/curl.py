"""curl's own tests: curl, libcurl and the servers that they need, built from Debian's source. Without
curl's debug build, which fails over its style checks of Debian's patches: tests that need it are left
out by curl itself."""

import os
import re

import debian

from .suite import Suite

# HTTP, FTP, mail, SOCKS and other proxies. From there on they are mostly of libcurl's interfaces.
LAST = 950


class Curl(Suite):
    name = "curl"

    def prepare(self, folder):
        debian.need("perl", "perl")
        tree, version = debian.source("curl", folder)
        debian.build("tests/server/sws", [
            ["./configure", "--quiet", "--with-openssl", "--disable-shared", "--disable-debug",
             "--without-libpsl", "--disable-ldap", "--disable-manual"],
            ["make", "-s", "-j2"], ["make", "-s", "-j2", "-C", "tests"]], tree)
        return version

    def command(self, folder, work):
        """Not over ssh, whose servers want a user's home and name: without those the run ends there."""
        tests = os.path.join(folder, "curl/tests")
        numbers = []
        for number in range(1, LAST + 1):
            file = os.path.join(tests, f"data/test{number}")
            if os.path.exists(file):
                with open(file, errors="replace") as text:
                    if not re.search(r"^(SFTP|SCP)$", text.read(), re.MULTILINE):
                        numbers.append(number)
        run = f"exec perl runtests.pl -am -a -n {' '.join(map(str, numbers))}"
        return ["sh", "-c", f'cd "$0" && {run}', tests], {}

    def results(self, folder, work):
        return {name: kind for kind, name in
                re.findall(r"^(PASS|FAIL|SKIP): (\d+)", self.output(work), re.MULTILINE)}
