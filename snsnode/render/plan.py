"""What ``generate`` has to change: pure, from the spec, the template and what is on disk.

The same spec gives the same bytes. Called by ``cli``; ``readback`` and ``disk`` take the result from here.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.node import cluster as node_cluster
from snsnode.node import config as node
from snsnode.node.cluster import ClusterFile
from snsnode.node.config import Endpoint, NodeConfig
from snsnode.render import template
from snsnode.spec.model import Spec

CONF = "supervisord.conf"
RETIRED = "retired"
FILENAMES = (CONF, node.FILENAME, node_cluster.FILENAME, RETIRED)
RETIRED_TEXT = "no longer in the spec: 'snsctl start' ends what runs here and clears this folder\n"


@dataclass(frozen=True, slots=True)
class Change:
    """One file, its path relative to the home: None as ``before`` is a new file, as ``after`` a removed one."""

    path: str
    before: str | None
    after: str | None

    @property
    def vm(self) -> VmName:
        """The VM in whose folder it is."""
        return VmName(self.path.partition("/")[0])

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.partition("/")[2]


def plan(
    spec: Spec, template_text: str, on_disk: Mapping[str, str], only: Collection[VmName] | None = None
) -> tuple[Change, ...]:
    """Return the changes that bring ``on_disk`` to what ``spec`` says; none when it is so already.

    VMs that the spec no longer has are marked as retired, and what they need to be reached is left to them.
    With ``only``, no other VM is touched.

    Args:
        on_disk: the text of each of ``FILENAMES`` in the home, by path relative to it.

    Raises:
        ConfigError: the template is wrong, or the home belongs to another cluster.
    """
    _refuse_foreign(spec, on_disk)
    names = [name for name in spec.vms if only is None or name in only]
    wanted = files(spec, template_text, names)
    wanted |= {f"{name}/{RETIRED}": None for name in names}
    if only is None:
        wanted |= {f"{name}/{RETIRED}": RETIRED_TEXT for name in _departed(spec, on_disk)}
    changes = (Change(path, on_disk.get(path), text) for path, text in wanted.items())
    return tuple(change for change in changes if change.before != change.after)


def files(spec: Spec, template_text: str, names: Collection[VmName]) -> dict[str, str | None]:
    """Return the text of every file of the VMs ``names``, by path relative to the home; None: it is not to be.

    Raises:
        ConfigError: the template is wrong.
    """
    texts: dict[str, str | None] = {}
    for name in names:
        config = node_config(spec, name)
        texts[f"{name}/{CONF}"] = template.render(
            template_text, cluster=spec.cluster, vm=name, programs=config.roles
        )
        texts[f"{name}/{node.FILENAME}"] = node.to_json(config)
        texts[f"{name}/{node_cluster.FILENAME}"] = cluster_text(spec, name)
    return texts


def node_config(spec: Spec, name: VmName) -> NodeConfig:
    """Return the part of the cluster that VM ``name`` needs to know."""
    vm = spec.vms[name]
    return NodeConfig(
        cluster=spec.cluster,
        vm=name,
        address=vm.address,
        router_port=vm.router.port if vm.router else None,
        server_port=vm.server.port if vm.server else None,
        routers=tuple(_routers(spec)),
        store=spec.store,
        selection=spec.selection,
        spare=spec.spare,
        keepalive=node.KeepAlive(
            interval_s=spec.keepalive.interval_s,
            timeout_s=spec.keepalive.timeout_s,
            silence_s=spec.keepalive.silence_s,
        ),
        restart=node.Restart(
            intensity=spec.restart.intensity,
            period_s=spec.restart.period_s,
            backoff_max_s=spec.restart.backoff_max_s,
        ),
    )


def cluster_text(spec: Spec, name: VmName) -> str | None:
    """Return the text of VM ``name``'s ``cluster.json``; None where it needs none.

    A router must know every server of the spec. A VM without one needs the file only for a limit of its own.
    """
    limits = node_cluster.Limits(spec.limits.memory_bytes)
    if spec.vms[name].router is not None:
        file = ClusterFile(spec.cluster, tuple(_servers(spec)), tuple(_routers(spec)), limits)
    elif limits != node_cluster.Limits():
        file = ClusterFile(spec.cluster, limits=limits)
    else:
        return None
    return node_cluster.to_json(file)


def _servers(spec: Spec) -> Iterator[Endpoint]:
    for name, vm in spec.vms.items():
        if vm.server is not None:
            yield Endpoint(name, vm.address, vm.server.port)


def _routers(spec: Spec) -> Iterator[Endpoint]:
    for name, vm in spec.vms.items():
        if vm.router is not None:
            yield Endpoint(name, vm.address, vm.router.port)


def _clusters(on_disk: Mapping[str, str]) -> Iterator[tuple[VmName, str]]:
    """Yield each VM folder with the cluster that its ``node.json`` names; a damaged one names none."""
    for path, text in sorted(on_disk.items()):
        name, _, filename = path.partition("/")
        if filename != node.FILENAME:
            continue
        # Not node.from_json: a file of another format still says whose it is.
        try:
            cluster = json.loads(text)["cluster"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(cluster, str):
            yield VmName(name), cluster


def _refuse_foreign(spec: Spec, on_disk: Mapping[str, str]) -> None:
    for name, cluster in _clusters(on_disk):
        if cluster != spec.cluster:
            raise ConfigError(
                f"cannot generate cluster {spec.cluster!r} here: {name} in this home is of {cluster!r}; "
                "give another --home, or stop that cluster and move its home away"
            )


def _departed(spec: Spec, on_disk: Mapping[str, str]) -> list[VmName]:
    return [name for name, _ in _clusters(on_disk) if name not in spec.vms]
