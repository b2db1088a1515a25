#!/usr/bin/env python3
"""Connects again and again, each time ending with a reset; prints how that went, as JSON.

usage: client.py ADDRESS:PORT COUNT
"""

import collections
import errno
import json
import socket
import struct
import sys

address, port = sys.argv[1].rsplit(":", 1)
outcomes: collections.Counter[str] = collections.Counter()
for _ in range(int(sys.argv[2])):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code = connection.connect_ex((address, int(port)))
        outcomes[errno.errorcode.get(code, "ok")] += 1
print(json.dumps(outcomes))
