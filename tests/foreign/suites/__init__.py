"""SUITES: each says how its files are had, how it is run, and how its results are read."""

from .cpython import CPython, CPythonSample, CPythonSmall
from .kernel import Kernel
from .libevent import Libevent
from .libuv import Libuv
from .redis import Redis

SUITES = {suite.name: suite for suite in
          (CPython, CPythonSmall, CPythonSample, Libevent, Libuv, Redis, Kernel)}
