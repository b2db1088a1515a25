"""libuv's own tests, built from Debian's source."""

import os
import re

import debian

from .suite import Suite


class Libuv(Suite):
    name = "libuv"
    seconds = 900

    def prepare(self, folder):
        tree, version = debian.source("libuv1", folder)
        debian.build("b/uv_run_tests_a", [
            ["cmake", "-B", "b", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"],
            ["ninja", "-C", "b", "-j2", "uv_run_tests_a"]], tree)
        return version

    def command(self, folder, work):
        tree = os.path.join(folder, "libuv1")  # where its tests look for test/fixtures
        return ["sh", "-c", 'cd "$0" && exec b/uv_run_tests_a', tree], {"UV_RUN_AS_ROOT": "1"}

    def results(self, folder, work):
        return {name: kind + (" # skip" if "SKIP" in rest else "") for kind, name, rest in
                re.findall(r"^(ok|not ok) \d+ - (\S+)(.*)$", self.output(work), re.MULTILINE)}
