"""What the network tests ask of a network: VMs with an address each, and packets that vanish without a word.

Two make it: ``namespaces`` (the kernel's own: a VM is a network namespace) and ``proxies`` (TCP proxies on
loopback, one for each directed link). In both, ``cut(a, b)`` lets what a sends to b vanish: nobody is told, no
connection is reset, and neither of the two can open a new one, whichever way. What was under way goes on after
``heal``, unless an end gave up meanwhile.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from snsnode.node.config import RoleName


class Fabric(AbstractContextManager["Fabric"], Protocol):
    """The network of one test; its end removes everything that it made."""

    kind: str

    def address(self, vm: str) -> str:
        """Return the address of ``vm``, under which the others reach it."""

    def port(self, vm: str, role: RoleName) -> int:
        """Return a port for a listener of ``vm``; the same one each time."""

    def command(self, vm: str, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs ``arguments`` on ``vm``."""

    def environment(self, vm: str) -> Mapping[str, str]:
        """Return what the environment of every process of ``vm`` must have."""

    def cut(self, source: str, target: str) -> None:
        """Let everything that ``source`` sends to ``target`` vanish."""

    def heal(self, source: str, target: str) -> None:
        """Undo ``cut``."""

    def vanish(self, vm: str) -> None:
        """Let everything to and from ``vm`` vanish, as if its cable was pulled."""

    def come_back(self, vm: str) -> None:
        """Undo ``vanish``."""
