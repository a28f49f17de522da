"""What the commands that touch this machine share: the spec, the home, and which VMs of it live here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from snsnode.base import aside, trust
from snsnode.base.errors import EXIT_NOT_SO, ConfigError, SnsError, UsageError
from snsnode.base.ids import VmName
from snsnode.cli.options import home_of, selected
from snsnode.cli.specfile import load_spec, show_warnings, spec_path_of
from snsnode.cli.streams import complain
from snsnode.control import names
from snsnode.control.local import LocalVm, check_cluster, folders, is_found, is_local, load
from snsnode.node import config as node_config
from snsnode.node.config import ROLES, Endpoint, RoleName
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal

if TYPE_CHECKING:  # pydantic is imported when a spec is read
    from snsnode.spec.model import Spec, Vm

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Machine:
    """The spec, seen from this machine."""

    spec: "Spec"
    path: Path
    home: Path
    vms: tuple[VmName, ...]  # those that --vm names, or all

    def local(self, vms: tuple[VmName, ...] | None = None) -> list[LocalVm]:
        """Return those of ``vms`` (default: all that were named) that live here.

        Raises:
            ConfigError: one was not generated.
        """
        wanted = self.vms if vms is None else vms
        return load(self.home, [name for name in wanted if is_local(self.spec.vms[name].address)])

    def healthy(self, vms: tuple[VmName, ...]) -> tuple[list[LocalVm], list[ConfigError]]:
        """Return those of ``vms`` that live here and can be used, and what is wrong with the others."""
        usable: list[LocalVm] = []
        broken: list[ConfigError] = []
        for name in vms:
            try:
                usable += self.local((name,))
            except ConfigError as error:
                broken.append(error)
        return usable, broken

    def folders(self) -> list[VmDir]:
        """Return every folder of this cluster in the home, whether or not the spec or its files still say so."""
        return folders(self.home, self.spec.cluster, self.spec.vms)

    def roles(self, vm_dir: VmDir) -> tuple[RoleName, ...]:
        """Return the roles that a VM's folder was generated with; all of them where that cannot be read."""
        try:
            return node_config.load(vm_dir.path).roles
        except ConfigError:
            return ROLES

    def having(self, role: RoleName, at: str | None = None) -> tuple[VmName, ...]:
        """Return the VMs that have ``role``, at address ``at`` if that is given.

        Raises:
            UsageError: there is none.
        """
        if at is not None and at not in {vm.address for vm in self.spec.vms.values()}:
            known = ", ".join(sorted({vm.address for vm in self.spec.vms.values()}))
            raise UsageError(f"cannot find the address {at!r} in {self.path}; it has {known}")
        found = tuple(
            name
            for name in self.vms
            if port_of(self.spec.vms[name], role) is not None and at in (None, self.spec.vms[name].address)
        )
        if not found:
            where = f" at {at}" if at else f" on {', '.join(self.vms)}"
            raise UsageError(f"cannot find a {role}{where}: the spec {self.path} has none there")
        return found

    def tell_unknown(self, vms: tuple[VmName, ...], done: str) -> int:
        """Say which of ``vms`` have an address that cannot be looked up, so that they may live here.

        Returns the exit code: 1 where there is one, for then nobody knows whether all was done.
        """
        found = [f"{name} ({where})" for name in vms if not is_found(where := self.spec.vms[name].address)]
        if found:
            complain(
                f"snsctl: cannot look up the addresses of {', '.join(found)}; what of them lives here was not "
                f"{done}; check the name service, or write numbers in the spec"
            )
        return EXIT_NOT_SO if found else 0

    def endpoints(self, role: RoleName) -> tuple[Endpoint, ...]:
        """Return where every VM of the spec that has ``role`` listens."""
        found = []
        for name, vm in self.spec.vms.items():
            port = port_of(vm, role)
            if port is not None:
                found.append(Endpoint(name, vm.address, port))
        return tuple(found)


def read(
    spec_path: Path | None, home: Path | None, vms: tuple[str, ...], *, warn: bool = True, looks: bool = True
) -> Machine:
    """Read the spec and look at this machine's home, unless ``looks`` is false.

    Raises as ``load_spec``, ``check_home``, ``check_cluster`` and ``selected``.
    """
    path = spec_path_of(spec_path)
    spec, warnings = load_spec(path)
    if warn:
        show_warnings(warnings, path)
    place = home_of(home)
    aside.listeners[:] = [_note_damage]
    if looks:
        trust.check_home(place)
        check_cluster(place, spec.cluster)
    names.prepare(vm.address for vm in spec.vms.values())
    return Machine(spec, path, place, selected(spec.vms, vms))


def _note_damage(path: Path, kept: Path, cause: str) -> None:
    """Write into the journal of the VM in whose run/, state/ or log/ a file was set aside."""
    vm_dir = VmDir(path.parent.parent)
    Journal(vm_dir.journal, vm_dir.path.name, "snsctl").note_damage(path, kept, cause)


def role_named(word: str) -> RoleName:
    """Return the role that a command line names; click has checked that it is one."""
    return ROLES[ROLES.index(word)]  # type: ignore[arg-type, unused-ignore]


def port_of(vm: "Vm", role: RoleName) -> int | None:
    """Return the port of ``role`` on ``vm``; master and slave share the server's."""
    listener = vm.router if role == "router" else vm.server
    return listener.port if listener is not None else None


def in_parallel(work: Callable[[Item], None], vms: list[Item]) -> None:
    """Do ``work`` for every VM at once; the first error is raised when all are done, the others are said."""
    from concurrent.futures import ThreadPoolExecutor

    if not vms:
        return
    with ThreadPoolExecutor(min(len(vms), 16)) as pool:
        done = [pool.submit(work, vm) for vm in vms]
    failed = [error for future in done if (error := future.exception()) is not None]
    for error in failed[1:]:
        complain(f"snsctl: {error.message if isinstance(error, SnsError) else error}")
    if failed:
        raise failed[0]


def count(number: int, noun: str) -> str:
    """Return "1 post", "2 posts"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
