"""Which VMs of the cluster live on this machine, and what stands in their folders."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.control import names, processes, supervisords
from snsnode.node import config as node_config
from snsnode.node.config import NodeConfig
from snsnode.node.paths import VmDir

SUPERVISORD_CONF = "supervisord.conf"


@dataclass(frozen=True, slots=True)
class LocalVm:
    """A VM of this machine, as generated."""

    dir: VmDir
    config: NodeConfig

    @property
    def name(self) -> VmName:
        """The VM's name."""
        return self.config.vm


def load(home: Path, vms: Iterable[VmName]) -> list[LocalVm]:
    """Return the generated VMs ``vms``, as absolute folders.

    Raises:
        ConfigError: one was not generated, or its files are damaged.
    """
    return [_load(home, name) for name in vms]


def _load(home: Path, name: VmName) -> LocalVm:
    vm_dir = VmDir((home / name).absolute())
    for needed in (node_config.FILENAME, SUPERVISORD_CONF):
        if not (vm_dir.path / needed).exists():
            raise ConfigError(
                f"cannot use {name}: {home / name / needed} does not exist; run 'snsctl generate' first"
            )
    return LocalVm(vm_dir, node_config.load(vm_dir.path))


def retired(home: Path, cluster: str) -> list[VmDir]:
    """Return the folders of VMs that left the spec and still await their end."""
    found: list[VmDir] = []
    for marker in sorted(home.glob("*/retired")):
        vm_dir = VmDir(marker.parent.absolute())
        try:
            if node_config.load(vm_dir.path).cluster == cluster:
                found.append(vm_dir)
        except ConfigError:
            continue
    return found


def folders(home: Path, cluster: str, vms: Iterable[VmName]) -> list[VmDir]:
    """Return the folders below ``home`` whose processes are this cluster's, whatever state their files are in.

    ``vms`` are the spec's: such a folder counts even where its node.json is damaged or gone, and where it was
    removed altogether while something of it still runs.
    """
    found = {folder.absolute() for folder in home.glob("*") if folder.is_dir() and _cluster_of(folder) == cluster}
    in_use = supervisords.folders_in_use() | processes.working_folders()
    for path in ((home / name).absolute() for name in vms):
        if path.is_dir() or os.path.realpath(path) in in_use:
            found.add(path)
    return [VmDir(path) for path in sorted(found)]


def check_cluster(home: Path, cluster: str) -> None:
    """Refuse a home of another cluster: a stop with the wrong spec must not end somebody else's processes.

    Raises:
        ConfigError: a VM's folder in ``home`` names another cluster.
    """
    for folder in sorted(home.glob("*")):
        there = _cluster_of(folder) if folder.is_dir() else None
        if there not in (None, cluster):
            raise ConfigError(
                f"cannot use the home {home} for the cluster {cluster}: {folder.name} in it is of the cluster "
                f"{there}; give that cluster's --spec, or another --home"
            )


def _cluster_of(folder: Path) -> str | None:
    try:
        return node_config.load(folder).cluster
    except ConfigError:
        return None


def is_local(address: str) -> bool:
    """Tell whether ``address`` is this machine's: whether a socket can be bound to it.

    False also where its name cannot be looked up in time; see ``is_elsewhere``.
    """
    try:
        infos = names.look_up(address)
    except OSError:
        return False
    return any(_binds(family, sockaddr) for family, _, _, _, sockaddr in infos)


def is_elsewhere(address: str) -> bool:
    """Tell whether ``address`` leads to another machine: a name that nobody can look up leads nowhere yet."""
    return is_found(address) and not is_local(address)


def is_found(address: str) -> bool:
    """Tell whether ``address`` leads anywhere, here or elsewhere; False also where the name service is silent."""
    try:
        names.look_up(address)
    except OSError:
        return False
    return True


def why_not_here(address: str) -> str:
    """Say of a VM whose address is not ``is_local`` where it lives instead, as far as anybody knows."""
    if is_elsewhere(address):
        return f"it is on another machine, {address}; do it there"
    return f"its address, {address}, cannot be looked up; check the name service, or write a number in the spec"


def _binds(family: int, sockaddr: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(sockaddr)
    except OSError:
        return False
    return True
