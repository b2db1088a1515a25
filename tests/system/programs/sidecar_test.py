"""poold beside a program, each in mount, process, user and IPC namespaces of its own. They share the
network namespace and one folder, with the library and the socket, which each sees under another
name."""

import os
import shutil
import sys

from support.case import ProgramCase, main
from support.poold import POOLD, SHIM, Poold
from support.waiting import eventually, read

HERE = os.path.dirname(os.path.abspath(__file__))
ISOLATED = ["unshare", "--mount", "--pid", "--ipc", "--user", "--map-root-user", "--fork"]
ISOLATED += ["--kill-child", "--mount-proc"]
STEADY = [sys.executable, f"{HERE}/clients/steady_client.py", "9001"]


def seeing(shared, place, command, namespaces=ISOLATED):
    """`command` in namespaces where the folder `shared` is at `place`, and /run is empty."""
    script = 'mount --bind "$1" "$2" && mount -t tmpfs none /run && shift 2 && exec "$@"'
    return [*namespaces, "sh", "-c", script, "sh", shared, place, *command]


def inside_words(variables):
    return " ".join(f"{name}={value}" for name, value in variables.items())


class Sidecar(ProgramCase):
    def make_poold(self):
        self.shared = os.path.join(self.folder, "shared")
        os.mkdir(self.shared)
        shutil.copy(SHIM, self.shared)
        return Poold(
            self.folder,
            path=f"{self.shared}/poold.sock",
            started=False,
            isolated=lambda command: seeing(self.shared, "/srv", command),
            inner_path="/srv/poold.sock",
        )

    def start_client(self, namespaces=ISOLATED):
        inside = {"LD_PRELOAD": "/mnt/libportpool.so", "PORTPOOL_SOCKET": "/mnt/poold.sock"}
        # Set inside: before, the library is not where it says.
        command = ["env", *(f"{name}={value}" for name, value in inside.items()), *STEADY, "/mnt"]
        return self.start(seeing(self.shared, "/mnt", command, namespaces), shim=False)

    def asked(self):
        return int(read(f"{self.shared}/asked") or 0)

    def stop_client(self, client):
        self.file("shared/stop")
        self.assertEqual(client.wait(), 0, client)

    def wait_until_pooled(self, count=100):
        def pooled():
            status = self.poold.status()
            return status["connects"]["pool"] >= count

        eventually(pooled, f"{count} connects by the pool")

    def test_program_before_poold_and_poold_restarted(self):
        client = self.start_client()
        eventually(lambda: self.asked() >= 20, "it works without poold")
        self.poold.start()
        self.wait_until_pooled()
        first = self.poold.status()
        self.assertGreaterEqual(first["fallbacks"].get("no_daemon", 0), 20)
        self.poold.restart()
        self.wait_until_pooled()
        second = self.poold.status()
        self.assertNotEqual(first["daemon"]["generation"], second["daemon"]["generation"])
        self.poold.stop()
        asked = self.asked()
        eventually(lambda: self.asked() >= asked + 20, "it works without poold again")
        self.stop_client(client)

    def test_program_in_another_network(self):
        """It gets hold of the socket, and no segment."""
        self.poold.start()
        before = self.poold.status()
        inside = {"LD_PRELOAD": SHIM, "PORTPOOL_SOCKET": self.poold.socket}
        script = 'ip link set lo up && "$@"'
        serve_and_ask = f"""
            {sys.executable} -m support.upstream 9001 & server=$!
            until grep -q ':2329 .* 0A ' /proc/net/tcp; do sleep 0.01; done
            {inside_words(inside)} PORTPOOL_VERBOSE=1 {' '.join(STEADY)} {self.shared} & client=$!
            until [ "$(cat {self.shared}/asked)" -ge 50 ]; do sleep 0.01; done 2>/dev/null
            touch {self.shared}/stop
            wait $client; status=$?
            kill $server; exit $status"""
        program = self.start(
            ["unshare", "--net", "sh", "-c", script, "sh", "sh", "-c", serve_and_ask],
            shim=False,
            cwd=HERE,
        )
        self.assertEqual(program.wait(), 0, program)
        self.assertIn("another network namespace", program.said())
        after = self.poold.status()
        self.assertGreaterEqual(after["clients"]["refused"], before["clients"]["refused"] + 1)
        self.assertEqual(after["connects"], before["connects"])
        self.assertEqual(after["clients"]["attached_total"], before["clients"]["attached_total"])

    def start_client_with(self, proc):
        inside = {"LD_PRELOAD": "/mnt/libportpool.so", "PORTPOOL_SOCKET": "/mnt/poold.sock"}
        variables = [f"{name}={value}" for name, value in inside.items()]
        command = ["sh", "-c", f'{proc} && exec "$@"', "sh", "env", *variables, *STEADY, "/mnt"]
        return self.start(seeing(self.shared, "/mnt", command), shim=False)

    def test_program_without_proc(self):
        self.poold.start()
        client = self.start_client_with("mount -t tmpfs none /proc")
        self.wait_until_pooled()
        self.stop_client(client)

    def test_program_that_sees_its_own_processes_alone(self):
        self.poold.start()
        client = self.start_client_with("mount -t proc -o hidepid=2 none /proc")
        self.wait_until_pooled()
        self.stop_client(client)

    def test_poold_without_proc(self):
        client = self.start_client()
        command = [POOLD, "serve", "--socket", "/srv/poold.sock"]
        empty = ["sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", *command]
        poold = self.start(seeing(self.shared, "/srv", empty), shim=False)
        self.assertEqual(poold.wait(), 2, poold)
        self.assertIn("is /proc mounted?", poold.said())
        self.assertFalse(os.path.exists(f"{self.shared}/poold.sock"))
        eventually(lambda: self.asked() >= 20, "it works without poold")
        self.stop_client(client)

    def test_poold_that_sees_its_own_processes_alone(self):
        """As another user than root, from whom hidepid=2 would hide nothing."""
        os.chmod(self.folder, 0o755)
        os.chmod(self.shared, 0o777)
        inside = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", POOLD, "serve"]
        inside += ["--socket", f"{self.shared}/poold.sock"]
        hidden = ["sh", "-c", 'mount -t proc -o hidepid=2 none /proc && exec "$@"', "sh", *inside]
        self.poold.command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *hidden]
        self.poold.start()
        # A root that may open that user's socket.
        client = self.start_client([word for word in ISOLATED if "user" not in word])
        self.wait_until_pooled()
        self.stop_client(client)


class Users(ProgramCase):
    config = 'socket_group = "nogroup"\n'

    def ask_as(self, *options):
        """100 answers for a user without root's rights; returns what was said and the use."""
        library = shutil.copy(SHIM, self.folder)
        clients = shutil.copy(f"{HERE}/clients/python_clients.py", self.folder)
        command = ["setpriv", "--reuid=12345", *options, sys.executable, clients]
        inside = {"LD_PRELOAD": library, "PORTPOOL_VERBOSE": "1"}
        return self.use_of(
            lambda: self.run_program([*command, "http.client", 9001, 100], environment=inside)
        )

    def test_members_of_the_group(self):
        self.ask_as("--regid=nogroup", "--clear-groups")
        self.wait_for_lane("127.0.0.1:9001")
        for options in (["--regid=nogroup", "--clear-groups"], ["--regid=1", "--groups=nogroup"]):
            _, use = self.ask_as(*options)
            self.assert_all_by_pool(use, 100)

    def test_anybody_else(self):
        said, use = self.ask_as("--regid=1", "--clear-groups")
        self.assertIn("refused this process", said)
        self.assertEqual((use.accepted, use.pool, use.kernel), (100, 0, 0), use)


if __name__ == "__main__":
    main()
