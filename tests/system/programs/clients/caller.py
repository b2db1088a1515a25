"""Calls HOST PORT twice from whatever address and twice from SOURCE, whether or not somebody listens."""

import socket
import struct
import sys

host, port, source = sys.argv[1:]
for bound in (None, source) * 2:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
        if bound:
            connection.bind((bound, 0))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.connect_ex((host, int(port)))
