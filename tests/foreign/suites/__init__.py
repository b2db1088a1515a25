"""SUITES: each says how its files are had, how it is run, and how its results are read.

A suite has
  name
  by_default    whether it is run when no suite is named
  files         the folder in the cache
  seconds       after which a run is given up
  least_share   of its connects that the pool must serve
  prepare(folder)          fetches and builds there; returns the version
  command(folder, work)    the command of a run, and variables for it
  results(folder, work)    after the run: a word for each test by name; what it said is WORK/output
"""

from .cpython import CPython, CPythonSample, CPythonSmall

SUITES = {suite.name: suite for suite in (CPython, CPythonSmall, CPythonSample)}
