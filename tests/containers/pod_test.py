"""The images as the two containers of a pod: one network namespace and one folder are shared; mount,
process and user namespaces are each one's own. Roots are read-only, users are not root, capabilities
are dropped, podman's seccomp filter is in force. pod.sh builds the images and calls this."""

import json
import os
import subprocess
import sys
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../system/programs"))
from support.upstream import Upstream  # noqa: E402
from support.waiting import eventually, read  # noqa: E402

MANIFESTS = os.path.join(HERE, "../../packaging/kubernetes")
WORK = sys.argv.pop()
GROUP = 59481
# Users of the two have nothing in common but the group, whose number is the same outside.
POOLD_USERS = ["--uidmap=0:100000:65536", "--gidmap=0:100000:65536"]
PROGRAM_USERS = [
    "--uidmap=0:200000:65536",
    f"--gidmap=0:200000:{GROUP}",
    f"--gidmap={GROUP}:{100000 + GROUP}:1",
    f"--gidmap={GROUP + 1}:{200000 + GROUP + 1}:{65536 - GROUP - 1}",
]
RESTRICTED = ["--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all"]
RESTRICTED += ["--security-opt=no-new-privileges"]
PRELOAD = ["--env=LD_PRELOAD=/portpool/libportpool.so"]
SOCKET = ["--env=PORTPOOL_SOCKET=/portpool/poold.sock"]
STATUS = ["/usr/bin/poold", "status", "--lanes", "0"]  # as in the probes


def podman(*words):
    """What it says; the test fails when it does not end with 0."""
    for _ in range(3):
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        # crun, now and then, before anything of ours runs: the storage is not the container's user's yet.
        if not ("crun: make `" in said and "private: Permission denied" in said):
            break
    if done.returncode != 0:
        raise AssertionError(f"podman {' '.join(words)}: {done.returncode}\n{said}")
    return said


def of(name, what):
    return podman("inspect", "--format", what, name).strip()


def ended(name):
    """Its exit status. Not by `podman wait`, which may take 20 s more (podman 4.3 without systemd)."""
    eventually(lambda: of(name, "{{.State.Status}}") in ("exited", "stopped"), f"{name} ends")
    return of(name, "{{.State.ExitCode}}")


class Pod(unittest.TestCase):
    def setUp(self):
        self.upstream = Upstream(self.folder("upstream"), [9001])
        self.addCleanup(self.upstream.program.kill)
        # Like an emptyDir: whoever is in the pod may write there who has it mounted so.
        self.shared = self.folder("shared")
        os.chmod(self.shared, 0o777)
        self.addCleanup(podman, "rm", "--all", "--force", "--time", "0")
        self.copy_library()

    def folder(self, name):
        path = os.path.join(WORK, self.id().rpartition(".")[2], name)
        os.makedirs(path)
        return path

    def run_to_its_end(self, *words):
        name = podman("run", "--detach", *RESTRICTED, *words).strip()
        self.assertEqual(ended(name), "0", podman("logs", name))

    def copy_library(self):
        mount = f"--volume={self.shared}:/portpool"
        self.run_to_its_end(*POOLD_USERS, mount, "localhost/library")

    def start_poold(self, overlay="base", access=""):
        """Without an overlay by the configuration in the image."""
        volumes = [f"--volume={self.shared}:/portpool{access}"]
        if overlay:
            volumes.append(f"--volume={MANIFESTS}/{overlay}:/etc/portpool:ro")
        podman("run", "--detach", "--name=poold", *RESTRICTED, *POOLD_USERS, *SOCKET, *volumes, "localhost/poold")

    def wait_for_poold(self):
        def alive():
            done = subprocess.run(["podman", "exec", "poold", *STATUS], capture_output=True)
            return done.returncode == 0

        eventually(alive, "poold's startup probe succeeds")

    def status(self):
        return json.loads(podman("exec", "poold", *STATUS, "--json"))

    def start_program(self, group=True):
        out = self.folder("out")
        os.chmod(out, 0o777)
        volumes = [f"--volume={self.shared}:/portpool:ro", f"--volume={out}:/out"]
        groups = [f"--group-add={GROUP}"] if group else []
        command = ["/usr/bin/python3", "-B", "/clients/steady_client.py", "9001", "/out"]
        podman("run", "--detach", "--name=program", "--user=10001:10001", *groups, *RESTRICTED, *PROGRAM_USERS,
               *PRELOAD, *SOCKET, "--env=PORTPOOL_VERBOSE=1", *volumes, "localhost/program", *command)
        self.wait_for_answers(out, 20)
        return out

    def wait_for_answers(self, out, more):
        start = int(read(f"{out}/asked") or 0)
        eventually(lambda: int(read(f"{out}/asked") or 0) >= start + more, f"{more} answers")

    def stop_program(self, out):
        """Every byte was right, and no connect failed; returns what the library said."""
        open(f"{out}/stop", "w").close()
        self.assertEqual(ended("program"), "0", podman("logs", "program"))
        return podman("logs", "program")

    def wait_until_pooled(self, count=100):
        first = self.status()["connects"]["pool"]
        eventually(lambda: self.status()["connects"]["pool"] >= first + count, f"{count} by the pool")

    def test_program_first_and_poold_killed_and_started_again(self):
        out = self.start_program()
        self.start_poold()
        self.wait_for_poold()
        self.wait_until_pooled()
        first = self.status()
        self.assertGreaterEqual(first["fallbacks"]["no_daemon"], 20)
        self.check_isolation()
        self.check_metrics()
        # As when the pod's first containers run once more, while the library is in use.
        self.copy_library()
        podman("kill", "--signal=KILL", "poold")
        ended("poold")
        self.wait_for_answers(out, 50)
        podman("start", "poold")
        self.wait_for_poold()
        self.wait_until_pooled()
        self.assertNotEqual(first["daemon"]["generation"], self.status()["daemon"]["generation"])
        podman("kill", "--signal=TERM", "poold")
        self.assertEqual(ended("poold"), "0", podman("logs", "poold"))
        self.wait_for_answers(out, 50)
        self.stop_program(out)

    def check_isolation(self):
        """The test is about what it says it is about."""
        pids = [of(name, "{{.State.Pid}}") for name in ("poold", "program")]
        for kind, shared in {"net": True, "mnt": False, "pid": False, "user": False}.items():
            one, other = [os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids]
            self.assertEqual(one == other, shared, kind)
        for pid, user in zip(pids, (100000 + GROUP, 210001)):
            fields = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines())
            self.assertEqual(fields["Uid"].split()[0], str(user))
            for name, value in {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}.items():
                self.assertEqual(fields[name], value, name)
        with self.assertRaises(OSError):
            open(f"/proc/{pids[0]}/root/written", "w")

    def check_metrics(self):
        with urllib.request.urlopen("http://127.0.0.1:9481/metrics", timeout=10) as answer:
            self.assertIn(b"portpool_connects_total", answer.read())

    def test_poold_first(self):
        self.start_poold(overlay="")
        self.wait_for_poold()
        podman("healthcheck", "run", "poold")
        out = self.start_program()
        self.wait_until_pooled()
        said = self.stop_program(out)
        self.assertIn("attached", said)
        status = self.status()
        self.assertNotIn("no_daemon", status["fallbacks"])
        self.assertEqual(sum(status["connects"].values()), int(read(f"{out}/asked")))

    def test_observe_only(self):
        self.start_poold(overlay="observe-only")
        self.wait_for_poold()
        out = self.start_program()
        self.stop_program(out)
        connects = self.status()["connects"]
        self.assertEqual(connects["pool"], 0)
        self.assertEqual(connects["kernel"], int(read(f"{out}/asked")))

    def test_program_without_the_group(self):
        self.start_poold()
        self.wait_for_poold()
        out = self.start_program(group=False)
        said = self.stop_program(out)
        self.assertIn("refused this process (see socket_group)", said)
        self.assertEqual(self.status()["connects"], {"pool": 0, "kernel": 0})

    def check_refused(self, words, **options):
        self.start_poold(**options)
        self.assertEqual(ended("poold"), "2")
        self.assertRegex(podman("logs", "poold"), rf"poold: .*/portpool/poold\.sock.*: {words}")
        podman("rm", "poold")

    def test_folder_that_poold_may_not_write(self):
        out = self.start_program()
        self.check_refused("Read-only file system", access=":ro")
        os.chmod(self.shared, 0o755)
        self.check_refused("Permission denied")
        self.stop_program(out)

    def test_folder_of_the_node(self):
        """What the first container of the DaemonSet does, again when the pod is made anew."""
        run = self.folder("run")
        os.chmod(run, 0o755)
        words = ["/usr/bin/install", "-d", "-m", "0755", "-o", "59481", "-g", "59481", "/run/portpool"]
        for _ in range(2):
            self.run_to_its_end("--user=0:0", "--cap-add=CHOWN", "--cap-add=FOWNER",
                                f"--volume={run}:/run/portpool", "localhost/library", *words)
            self.assertEqual(os.stat(run).st_uid, GROUP)
            os.chmod(run, 0o700)


if __name__ == "__main__":
    unittest.main(verbosity=2)
