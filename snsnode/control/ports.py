"""Who has a TCP port of this machine: asked before a role is started, and by ``snsctl doctor``."""

import contextlib
import socket
import sys
from pathlib import Path

from snsnode.transport.reservation import bound

_LISTEN = "0A"  # /proc/net/tcp's state
_MAPPED = bytes(10) + b"\xff\xff"


def is_free(address: str, port: int) -> bool:
    """Tell whether a server could listen on ``address``:``port`` now."""
    try:
        # As a server does, at every address of a name: what lingers in TIME_WAIT after a crash is no holder. It
        # must not listen itself: a process that another thread forks at this moment would hold our listener until
        # its exec, and the next look would take us for a stranger.
        bound(address, port).close()
    except OSError:
        return False
    return True


def holder(address: str, port: int) -> str:
    """Name who listens there: ``process 4242 (nginx)``, or ``another process`` where it cannot be told."""
    pid = listener(address, port)
    with contextlib.suppress(OSError):
        if pid is not None:
            return f"process {pid} ({Path('/proc', str(pid), 'comm').read_text().strip()})"
    return "another process"


def listener(address: str, port: int) -> int | None:
    """Return the pid of who listens on ``address``:``port``; None: nobody does, or it cannot be told."""
    inodes = _listening_inodes(address, port)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return int(folder.name)
    return None


def _listening_inodes(address: str, port: int) -> set[str]:
    """Return the sockets that take what is sent there: on the address itself, or on all of the machine's."""
    found: set[str] = set()
    wanted = {"0.0.0.0", "::"}
    with contextlib.suppress(OSError):
        wanted |= {str(info[4][0]) for info in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                local, _, number = fields[1].rpartition(":")
                if fields[3] == _LISTEN and int(number, 16) == port and _address(local) in wanted:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _address(digits: str) -> str:
    """Return the address that /proc/net/tcp writes as 32-bit words in the machine's byte order, proc(5)."""
    words = (int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8))
    packed = b"".join(words)
    if packed.startswith(_MAPPED):  # an IPv4 address on an IPv6 socket, as gRPC listens
        packed = packed.removeprefix(_MAPPED)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
