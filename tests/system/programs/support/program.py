"""A real program, with or without the shim, and what it says."""

import os
import signal
import subprocess

from .waiting import DEADLINE, read


class Program:
    """Starts at once; its output goes to a file of the test's folder."""

    def __init__(self, folder, argv, environment=None, **options):
        self.argv = [str(word) for word in argv]
        name = os.path.basename(self.argv[0])
        self.log = os.path.join(folder, f"{name}.{len(os.listdir(folder))}.out")
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                **options,
            )

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return read(self.log)

    def wait(self):
        """Its exit status; a negative number for a signal."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end: {self}") from None

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __str__(self):
        return f"{' '.join(self.argv)}\n{self.said()}"
