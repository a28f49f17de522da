"""VMs as network namespaces: one each, on a bridge that has a namespace of its own.

Nothing of it is named or mounted anywhere, and nothing touches the machine's own interfaces: a namespace lives as
long as its holder, a ``cat`` that waits for the end of a pipe from this process, or somebody in it. So whatever
becomes of the tests, nothing stays behind that a next run would have to remove.

Needs ``ip`` (iproute2), ``unshare`` and ``nsenter`` (util-linux), and either root's rights or the permission to
make user namespaces.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from snsnode.node.config import RoleName

STEP_S = 10.0
NETWORK = "198.18.0"  # for tests of networks (RFC 2544): never anybody's own
PORTS: dict[RoleName, int] = {"router": 3010, "master": 3020}
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_LOCAL_PREF = 100  # where we move the rule that finds our own addresses, so that ours can stand before it
_CUT_PREF = 10


def obstacle() -> str | None:
    """Return why there can be no namespaces here, None where there can."""
    missing = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool, path=_PATH) is None]
    if missing:
        package = "iproute2" if "ip" in missing else "util-linux"
        return f"there is no {' and no '.join(missing)} here (Debian's package {package})"
    try:
        with Namespaces(["probe"]):
            return None
    except (CannotMake, OSError, subprocess.SubprocessError) as error:
        return str(error)


class CannotMake(Exception):
    """A step of making the network failed; says which, and what the kernel said."""


class Namespaces:
    """The namespaces of ``vms`` and the bridge between them."""

    kind = "namespaces"

    def __init__(self, vms: Sequence[str]) -> None:
        self._addresses = {vm: f"{NETWORK}.{number}" for number, vm in enumerate(vms, start=10)}
        self._holders: dict[str, subprocess.Popen[str]] = {}
        # Without root's rights the first one comes with a user namespace, in which we have them.
        self._as_root = os.geteuid() == 0

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # --- what the tests ask -----------------------------------------------------------------------------------

    def address(self, vm: str) -> str:
        """Return the address of ``vm`` on the bridge."""
        return self._addresses[vm]

    def port(self, vm: str, role: RoleName) -> int:
        """Return the port of the listener: all VMs have the same, as real ones do."""
        return PORTS[role]

    def command(self, vm: str, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs ``arguments`` in the namespace of ``vm``."""
        user = [] if self._as_root else ["--user", "--preserve-credentials"]
        nsenter = shutil.which("nsenter", path=_PATH) or "nsenter"
        return [nsenter, "--target", str(self._holders[vm].pid), *user, "--net", "--", *arguments]

    def environment(self, vm: str) -> Mapping[str, str]:
        """Return nothing: the processes need not know."""
        return {}

    def cut(self, source: str, target: str) -> None:
        """Let ``target`` drop all that comes from ``source``, before it looks at it."""
        self._ip(target, "rule", "add", *self._rule(source))

    def heal(self, source: str, target: str) -> None:
        """Undo ``cut``."""
        self._ip(target, "rule", "del", *self._rule(source))

    def vanish(self, vm: str) -> None:
        """Pull the cable: the bridge's end of it goes down, so that ``vm`` still reaches itself."""
        self._ip(_BRIDGE, "link", "set", f"to-{vm}", "down")

    def come_back(self, vm: str) -> None:
        """Plug it in again."""
        self._ip(_BRIDGE, "link", "set", f"to-{vm}", "up")

    # --- how it is made ---------------------------------------------------------------------------------------

    def _make(self) -> None:
        self._hold(_BRIDGE)
        self._ip(_BRIDGE, "link", "add", "bridge", "type", "bridge")
        self._ip(_BRIDGE, "link", "set", "bridge", "up")
        for vm, address in self._addresses.items():
            self._hold(vm)
            self._plug_in(vm, address)
        for vm in self._addresses:
            self._meet(vm)

    def _hold(self, name: str) -> None:
        """Make a namespace and a process that holds it."""
        new = ["unshare", "--net", "--", "sh", "-c", "echo made; exec cat"]
        if name != _BRIDGE:
            new = self.command(_BRIDGE, new)
        elif not self._as_root:
            new[1:1] = ["--user", "--map-root-user"]
        holder = subprocess.Popen(
            new,
            env=os.environ | {"PATH": _PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._holders[name] = holder
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != "made\n":
            raise CannotMake(f"cannot make a network namespace: {holder.stderr.read().strip()}")

    def _plug_in(self, vm: str, address: str) -> None:
        pid = str(self._holders[vm].pid)
        mac = _mac(address)
        self._ip(_BRIDGE, "link", "add", f"to-{vm}", "type", "veth", "peer", "name", "eth0", "netns", pid)
        self._ip(_BRIDGE, "link", "set", f"to-{vm}", "master", "bridge", "up")
        self._ip(vm, "link", "set", "lo", "up")
        self._ip(vm, "link", "set", "eth0", "address", mac, "up")
        self._ip(vm, "address", "add", f"{address}/24", "dev", "eth0")
        self._ip(vm, "rule", "add", "pref", str(_LOCAL_PREF), "from", "all", "lookup", "local")
        self._ip(vm, "rule", "del", "pref", "0")

    def _meet(self, vm: str) -> None:
        """Let ``vm`` know the others' link addresses for good.

        Who has to ask for them is told "no route to host" after three seconds without an answer; behind a real
        network's routers nobody is told anything.
        """
        for other, address in self._addresses.items():
            if other != vm:
                self._ip(
                    vm, "neighbour", "add", address, "lladdr", _mac(address), "dev", "eth0", "nud", "permanent"
                )

    def _rule(self, source: str) -> list[str]:
        return ["pref", str(_CUT_PREF), "from", f"{self._addresses[source]}/32", "blackhole"]

    def _ip(self, vm: str, *arguments: str) -> None:
        done = subprocess.run(
            self.command(vm, ["ip", *arguments]),
            env=os.environ | {"PATH": _PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        if done.returncode:
            raise CannotMake(f"cannot run 'ip {' '.join(arguments)}' on {vm}: {done.stderr.strip()}")

    def _end(self) -> None:
        for holder in self._holders.values():
            holder.communicate(timeout=STEP_S)  # closes its input, at the end of which it ends
        self._holders.clear()


_BRIDGE = "(bridge)"  # the namespace of the bridge: no VM's name


def _mac(address: str) -> str:
    """Return a link address of our own (the 02) for ``address``."""
    return ":".join(f"{part:02x}" for part in (2, 0, *map(int, address.split("."))))
