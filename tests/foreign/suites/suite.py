"""What each suite says of itself."""


class Suite:
    name = ""
    by_default = True  # run when no suite is named
    seconds = 1500  # after which a run is given up
    least_share = 0.9  # of its connects that the pool must serve
    known = {}  # by run (pool, bind, no-daemon): names of tests that may differ, for a reason

    @property
    def files(self):
        """Its folder in the cache."""
        return self.name

    def prepare(self, folder):
        """Fetches and builds in `folder`. Returns the version; raises debian.Missing."""
        raise NotImplementedError

    def command(self, folder, work):
        """The command of a run, and variables for it."""
        raise NotImplementedError

    def results(self, folder, work):
        """After the run: a word for each test by name. What it said is WORK/output."""
        raise NotImplementedError

    @staticmethod
    def output(work):
        with open(f"{work}/output", errors="replace") as file:
            return file.read()
