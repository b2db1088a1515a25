#!/usr/bin/env python3
"""Runs a command whose connects to a service address go to the service's backends.

usage: rewrite.py [--hide] SERVICE:PORT BACKEND:PORT COMMAND...

What the socket load balancers of container networks do: a BPF program at cgroup/connect4 gives
connect() another destination before the kernel looks at it, here the backend's port or the next
one, at random. --hide: getpeername() tells the service's address all the same (cgroup/getpeername4,
Linux 5.8). The command runs in a control group of its own, which is removed afterwards.

Exit status: that of the command; 77 when there can be no such program here (the reason is told).
"""

import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, PROG_ATTACH = 5, 8  # bpf(2), enum bpf_cmd
CGROUP_SOCK_ADDR = 18  # enum bpf_prog_type
CONNECT4, GETPEERNAME4 = 10, 29  # enum bpf_attach_type
IP4, PORT = 4, 24  # offsets in struct bpf_sock_addr
GET_PRANDOM_U32 = 7  # enum bpf_func_id

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    memory = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(SYS_BPF[platform.machine()], command, memory, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf(2): " + os.strerror(ctypes.get_errno()))
    return result


def op(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhI", code, source << 4 | to, offset, value)


def words(endpoint: tuple[str, int]) -> tuple[int, int]:
    """Address and port as a program reads them: bytes in network order."""
    (address,) = struct.unpack("=I", socket.inet_aton(endpoint[0]))
    return address, socket.htons(endpoint[1])


def rewrite(service: tuple[str, int], backend: tuple[str, int]) -> bytes:
    service_address, service_port = words(service)
    address, port = words(backend)
    _, next_port = words((backend[0], backend[1] + 1))
    body = [
        op(0x85, value=GET_PRANDOM_U32),
        op(0x54, to=0, value=1),  # w0 &= 1
        op(0xB4, to=3, value=port),
        op(0x16, to=0, value=0, offset=1),  # if w0 == 0 skip one
        op(0xB4, to=3, value=next_port),
        op(0x63, to=6, source=3, offset=PORT),
        op(0xB4, to=3, value=address),
        op(0x63, to=6, source=3, offset=IP4),
    ]
    return b"".join(
        [
            op(0xBF, to=6, source=1),
            op(0x61, to=2, source=6, offset=IP4),
            op(0x56, to=2, value=service_address, offset=len(body) + 2),  # if other, to the end
            op(0x61, to=2, source=6, offset=PORT),
            op(0x56, to=2, value=service_port, offset=len(body)),
            *body,
            op(0xB4, to=0, value=1),
            op(0x95),
        ]
    )


def name_as(service: tuple[str, int]) -> bytes:
    address, port = words(service)
    return b"".join(
        [
            op(0xBF, to=6, source=1),
            op(0xB4, to=3, value=port),
            op(0x63, to=6, source=3, offset=PORT),
            op(0xB4, to=3, value=address),
            op(0x63, to=6, source=3, offset=IP4),
            op(0xB4, to=0, value=1),
            op(0x95),
        ]
    )


def attach(program: bytes, place: int, group: str) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    license_text = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(16384)
    at = ctypes.addressof
    head = struct.pack("=IIQQ", CGROUP_SOCK_ADDR, len(program) // 8, at(code), at(license_text))
    head += struct.pack("=IIQII", 1, len(log), at(log), 0, 0)
    loaded = bpf(PROG_LOAD, head + b"rewrite".ljust(16, b"\0") + struct.pack("=II", 0, place))
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    bpf(PROG_ATTACH, struct.pack("=IIII", directory, loaded, place, 0))
    os.close(directory)


def unified_hierarchy() -> str:
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, place, kind = line.split()[:3]
            if kind == "cgroup2":
                return place
    raise OSError("no cgroup2 is mounted here")


def endpoint(text: str) -> tuple[str, int]:
    address, port = text.rsplit(":", 1)
    return address, int(port)


def join(group: str) -> None:
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as members:
        members.write("0")


def main() -> int:
    arguments = sys.argv[1:]
    hide = arguments[0] == "--hide"
    service, backend, *command = arguments[1:] if hide else arguments
    group = ""
    try:
        group = f"{unified_hierarchy()}/portpool-example-{os.urandom(4).hex()}"
        os.mkdir(group)
        attach(rewrite(endpoint(service), endpoint(backend)), CONNECT4, group)
        if hide:
            attach(name_as(endpoint(service)), GETPEERNAME4, group)
    except (OSError, KeyError) as error:
        if os.path.isdir(group):
            os.rmdir(group)
        print(f"no program can be put at cgroup/connect4 here: {error}", file=sys.stderr)
        return 77
    try:
        return subprocess.run(command, preexec_fn=lambda: join(group), check=False).returncode
    finally:
        os.rmdir(group)


if __name__ == "__main__":
    sys.exit(main())
