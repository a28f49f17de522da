"""``snsctl start``: a role, everything of this machine, or a client."""

import time
from pathlib import Path

import click

from snsnode.base.errors import ConfigError, UsageError
from snsnode.base.ids import VmName
from snsnode.cli import machine
from snsnode.cli.machine import Machine, in_parallel
from snsnode.cli.options import shared, takes_template
from snsnode.cli.streams import complain, tell
from snsnode.control import names
from snsnode.control.local import LocalVm, is_elsewhere, is_local, retired
from snsnode.node.config import ROLES
from snsnode.node.paths import VmDir

NAMES_AT_ONCE_S = 0.2  # for all names: one of /etc/hosts takes some milliseconds

HELP = """
Start ROLE (router, slave or master) on this machine and wait until it serves.

Without ROLE: everything of the spec that lives here; after an edit and 'generate', only what changed is
restarted, added or removed. "start slave" brings up the pair. "start client USER" runs the client here.
"""


@click.command(help=HELP)
@click.argument("role", required=False, type=click.Choice([*ROLES, "client"]))
@click.argument("user", required=False)
@click.option("--at", metavar="ADDRESS", help="Only VMs at this address.")
@click.option("--router-at", metavar="ADDRESS", help="The router's address, which the spec must know.")
@takes_template
@shared
def command(
    role: str | None,
    user: str | None,
    at: str | None,
    router_at: str | None,
    template_path: Path | None,
    spec_path: Path | None,
    home: Path | None,
    vms: tuple[str, ...],
) -> int:
    """Start what is asked for; return the exit code."""
    here = machine.read(spec_path, home, vms, looks=role != "client")  # a client needs no home
    if router_at is not None:
        here.having("router", router_at)
    if role == "client":
        return _client(here, user, router_at)
    if user is not None:
        raise UsageError(f"cannot take {user!r}: only 'start client USER' has a second word")
    if role is None:
        return _everything(here, at, template_path)
    return _role(here, role, at)


def _client(here: Machine, user: str | None, router_at: str | None) -> int:
    from snsnode.cli.start_client import run_client

    if user is None:
        raise UsageError("cannot start a client without a name: write 'snsctl start client USER'")
    routers = [e.target for e in here.endpoints("router") if router_at in (None, e.address)]
    return run_client(routers, user)


def _role(here: Machine, role: str, at: str | None) -> int:
    from snsnode.control.start import start_roles

    name = machine.role_named(role)
    wanted = here.having(name, at)
    code = here.tell_unknown(wanted, "started")
    local = here.local(wanted)
    if not local:
        raise UsageError(f"cannot start the {role} of {', '.join(wanted)}: not on this machine")
    in_parallel(lambda vm: start_roles(vm, [name], tell), local)
    return code


def _everything(here: Machine, at: str | None, template_path: Path | None) -> int:
    wanted = tuple(name for name in here.vms if at in (None, here.spec.vms[name].address))
    _say_if_outdated(here, template_path)
    # A silent name service holds up nobody whose address is known without it.
    until_s = time.monotonic() + NAMES_AT_ONCE_S
    known = tuple(
        name
        for name in wanted
        if names.is_answered(here.spec.vms[name].address, max(0.0, until_s - time.monotonic()))
    )
    broken: list[ConfigError] = []
    if known != wanted:
        broken += _bring_up(here, known)
    if wanted == tuple(here.spec.vms):
        _end_what_left(here)
    broken += _bring_up(here, wanted if known == wanted else tuple(name for name in wanted if name not in known))
    code = _tell_of_others(here, wanted)
    for error in broken[1:]:
        complain(f"snsctl: {error.message}")
    if broken:
        raise broken[0]
    return code


def _bring_up(here: Machine, vms: tuple[VmName, ...]) -> list[ConfigError]:
    """Start all of ``vms`` that live here; return what is wrong with those that cannot be used."""
    from snsnode.control.start import apply_changes, is_managed, prepare, start_roles

    local, broken = here.healthy(vms)
    # First what runs, so that a port which one VM gives up is free for another.
    in_parallel(lambda vm: apply_changes(vm, tell), [vm for vm in local if is_managed(vm)])

    def start(vm: LocalVm) -> None:
        prepare(vm, vm.config.roles)
        # "start slave" brings up the pair.
        start_roles(vm, [role for role in vm.config.roles if role != "master"], tell)

    in_parallel(start, local)
    return broken


def _tell_of_others(here: Machine, vms: tuple[VmName, ...]) -> int:
    others = [name for name in vms if not is_local(here.spec.vms[name].address)]
    elsewhere = [name for name in others if is_elsewhere(here.spec.vms[name].address)]
    if elsewhere:
        tell(f"not on this machine: {', '.join(elsewhere)}")
    return here.tell_unknown(tuple(name for name in others if name not in elsewhere), "started")


def _end_what_left(here: Machine) -> None:
    """End VMs that left the spec, and those that it has moved to another machine."""
    from snsnode.control.processes import roles_of
    from snsnode.control.stop import retire, stop_all

    for vm_dir in retired(here.home, here.spec.cluster):
        retire(vm_dir)
        tell(f"{vm_dir.path.name}: ended; it is no longer in the spec")
    for name, vm in here.spec.vms.items():
        vm_dir = VmDir((here.home / name).absolute())
        if is_elsewhere(vm.address) and roles_of(vm_dir.path):
            stop_all(vm_dir, here.roles(vm_dir))
            tell(f"{name}: ended here; the spec has it at {vm.address}")


def _say_if_outdated(here: Machine, template_path: Path | None) -> None:
    """Say that the spec was edited since the last ``generate``: what starts is what was generated."""
    from snsnode.render import disk, plan, template

    if plan.plan(here.spec, template.chosen(template_path), disk.read(here.home), None):
        complain(f"snsctl: {here.path} differs from what was generated; run 'snsctl generate'")
