"""The VMs that the words after a command name: shared by ``why``, ``pause`` and ``resume``."""

from collections.abc import Iterable

from snsnode.base.errors import UsageError
from snsnode.base.ids import VmName, shown
from snsnode.cli.machine import Machine
from snsnode.control.local import LocalVm, is_local, why_not_here


def named(here: Machine, words: Iterable[str]) -> tuple[VmName, ...]:
    """Return the VMs ``words``, in the order of the spec; those that ``--vm`` names, or all, without words.

    Raises:
        UsageError: the spec has no such VM.
    """
    asked = set(words)
    unknown = sorted(asked.difference(here.spec.vms))
    if unknown:
        raise UsageError(
            f"cannot find the VM {shown(unknown[0])}: the spec {here.path} has {', '.join(here.spec.vms)}"
        )
    return tuple(name for name in here.spec.vms if name in asked) if asked else here.vms


def pairs(here: Machine, words: tuple[str, ...], verb: str) -> list[LocalVm]:
    """Return the VMs ``words`` of this machine; those with a pair among ``--vm``, or all, without words.

    Raises:
        UsageError: one is unknown, has no pair, or lives elsewhere.
        ConfigError: one was not generated.
    """
    chosen = named(here, words)
    for name in chosen if words else ():
        if here.spec.vms[name].server is None:
            raise UsageError(f"cannot {verb} {name}: it has no server")
        if not is_local(here.spec.vms[name].address):
            raise UsageError(f"cannot {verb} {name}: {why_not_here(here.spec.vms[name].address)}")
    return here.local(tuple(name for name in chosen if here.spec.vms[name].server is not None))
