"""The comparison itself: what a suite's tests came to, natively and under the library."""

from dataclasses import dataclass


@dataclass
class Judgement:
    count: int  # of different names
    flaky: list  # one line each, with the name
    known: list
    different: list

    @property
    def equal(self):
        return self.count - len(self.flaky) - len(self.known) - len(self.different)


def _shown(runs, name):
    return ", ".join(str(run.get(name, "not run")) for run in runs)


def judge(native, under, known=()):
    """`native` and `under` are lists of runs, a run a word for each test by name. A test that is missing
    in a run has ended differently from one that is there. `known`: names of those that may."""
    names = sorted(set().union(*native, *under))
    judgement = Judgement(len(names), [], [], [])
    for name in names:
        natively = {run.get(name) for run in native}
        if natively == {run.get(name) for run in under} and len(natively) == 1:
            continue
        line = f"{name}: natively {_shown(native, name)}; with the library {_shown(under, name)}"
        if len(natively) > 1:
            judgement.flaky.append(line)
        elif name in known:
            judgement.known.append(line)
        else:
            judgement.different.append(line)
    return judgement
