"""Which VMs of the cluster live on this machine, and what stands in their folders."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.control import processes, supervisords
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


def load(home: Path, names: Iterable[VmName]) -> list[LocalVm]:
    """Return the generated VMs ``names``, as absolute folders.

    Raises:
        ConfigError: one was not generated, or its files are damaged.
    """
    return [_load(home, name) for name in names]


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


def folders(home: Path, cluster: str, names: Iterable[VmName]) -> list[VmDir]:
    """Return the folders below ``home`` whose processes are this cluster's, whatever state their files are in.

    ``names`` are the spec's: such a folder counts even where its node.json is damaged or gone, and where it was
    removed altogether while something of it still runs.
    """
    found = {folder.absolute() for folder in home.glob("*") if folder.is_dir() and _cluster_of(folder) == cluster}
    in_use = supervisords.folders_in_use() | processes.working_folders()
    for path in ((home / name).absolute() for name in names):
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
    """Tell whether ``address`` is this machine's: whether a socket can be bound to it."""
    try:
        infos = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_binds(family, sockaddr) for family, _, _, _, sockaddr in infos)


def _binds(family: int, sockaddr: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(sockaddr)
    except OSError:
        return False
    return True
