"""SUITES: each says how its files are had, how it is run, and how its results are read."""

from .cpython import CPython, CPythonSample, CPythonSmall
from .curl import Curl
from .kernel import Kernel
from .libevent import Libevent
from .libuv import Libuv
from .node import Node
from .redis import Redis

SUITES = {suite.name: suite for suite in
          (CPython, CPythonSmall, CPythonSample, Libevent, Libuv, Redis, Curl, Node, Kernel)}
