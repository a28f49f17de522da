"""``cluster.json``: which servers and routers the spec has, and the limits of this VM's roles.

Written by ``render`` beside ``node.json`` on each VM with a router, and on others where a limit is no default.
Read by routers, which take words about these servers only, and by masters for their limits. A role of an older
version ignores the file, and a role lives without it: what is wrong with it is told in ``problem``, never raised.
"""

import dataclasses
import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snsnode.base import fields, reading
from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.node import config as node
from snsnode.node.config import Endpoint

FORMAT = 1
FILENAME = "cluster.json"
FILE_BYTES_MAX = 4 * 1024 * 1024
ENDPOINTS_MAX = 4_096  # servers, and as many routers: each with the longest name and address takes 350 bytes

MIB = 1024 * 1024
MEMORY_DEFAULT_BYTES = 1024 * MIB
MEMORY_MIN_BYTES = 64 * MIB
MEMORY_MAX_BYTES = 1024 * 1024 * MIB

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HOST = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one role of this VM may use; ``memory_bytes`` from 64 MiB to 1 TiB."""

    memory_bytes: int = MEMORY_DEFAULT_BYTES


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """The servers and routers of the spec, in its order, and this VM's limits.

    ``found`` is False where no file could be read; all else is then the default, and ``problem`` says what was
    wrong with it: empty where it is only missing, which is as it should be on most VMs.
    """

    cluster: str = ""
    servers: tuple[Endpoint, ...] = ()
    routers: tuple[Endpoint, ...] = ()
    limits: Limits = Limits()
    found: bool = False
    problem: str = ""


def to_json(file: ClusterFile) -> str:
    """Return the text of ``cluster.json``: the same content gives the same bytes."""
    written = {
        "format": FORMAT,
        "cluster": file.cluster,
        "servers": [dataclasses.asdict(server) for server in file.servers],
        "routers": [dataclasses.asdict(router) for router in file.routers],
        "limits": dataclasses.asdict(file.limits),
    }
    return json.dumps(written, indent=2) + "\n"


def load(vm_folder: Path) -> ClusterFile:
    """Read ``vm_folder/cluster.json``; raises nothing: see ``ClusterFile``."""
    path = vm_folder / FILENAME
    try:
        return from_json(reading.read_text(path, FILE_BYTES_MAX))
    except FileNotFoundError:
        return ClusterFile()
    except OSError as error:
        return ClusterFile(problem=f"cannot read {path}: {error.strerror}")
    except ValueError as error:
        return ClusterFile(problem=f"cannot read {path}: {error}; run 'snsctl generate' to write it anew")


def neighbours(vm_folder: Path, cluster: str) -> tuple[Endpoint, ...]:
    """Return the servers of ``cluster`` whose folders lie in this home, from their ``node.json``.

    What a router goes by where an older ``generate`` wrote no ``cluster.json`` for it.
    """
    found: list[Endpoint] = []
    for path in sorted(vm_folder.absolute().parent.glob(f"*/{node.FILENAME}"))[:ENDPOINTS_MAX]:
        try:
            config = node.load(path.parent)
        except ConfigError:
            continue
        is_member = config.cluster == cluster and config.vm == path.parent.name
        if is_member and config.server_port is not None and not (path.parent / "retired").exists():
            found.append(Endpoint(config.vm, config.address, config.server_port))
    return tuple(found)


def canonical(address: str) -> str:
    """Return the one spelling of an IP address or host name that its other spellings share."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address.lower().rstrip(".")
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def from_json(text: str) -> ClusterFile:
    """Return the content of ``text``; keys that a newer version added are ignored.

    Raises:
        ValueError: it is not what ``to_json`` writes, in words.
    """
    raw = reading.parse_object(text)
    if raw.get("format") != FORMAT or isinstance(raw["format"], bool):
        raise ValueError(f"it is not of format {FORMAT}")
    cluster = raw.get("cluster")
    if not isinstance(cluster, str) or not _NAME.fullmatch(cluster):
        raise ValueError(f"cluster is {reading.named(cluster)}")
    return ClusterFile(
        cluster=cluster,
        servers=_endpoints(raw, "servers"),
        routers=_endpoints(raw, "routers"),
        limits=_limits(raw.get("limits", {})),
        found=True,
    )


def _endpoints(raw: dict[str, Any], key: str) -> tuple[Endpoint, ...]:
    listed = raw.get(key)
    if not isinstance(listed, list):
        raise ValueError(f"{key} is {reading.named(listed)}")
    if len(listed) > ENDPOINTS_MAX:
        raise ValueError(f"{key} has {len(listed)} entries, at most {ENDPOINTS_MAX} are taken")
    endpoints = {endpoint.vm: endpoint for endpoint in map(_endpoint, listed)}
    if len(endpoints) < len(listed):
        raise ValueError(f"{key} names a VM twice")
    return tuple(endpoints.values())


def _endpoint(raw: Any) -> Endpoint:
    if not isinstance(raw, dict):
        raise ValueError(f"{reading.named(raw)} stands where a server or router should")
    vm, address, port = raw.get("vm"), raw.get("address"), raw.get("port")
    if not isinstance(vm, str) or not _NAME.fullmatch(vm):
        raise ValueError(f"vm is {reading.named(vm)}")
    if not isinstance(address, str) or not _HOST.fullmatch(address):
        raise ValueError(f"the address of {vm} is {reading.named(address)}")
    return Endpoint(VmName(vm), address, fields.whole_of(port, f"the port of {vm}", 1, 65535))


def _limits(raw: Any) -> Limits:
    if not isinstance(raw, dict):
        raise ValueError(f"limits is {reading.named(raw)}")
    memory_bytes = raw.get("memory_bytes", MEMORY_DEFAULT_BYTES)
    return Limits(fields.whole_of(memory_bytes, "limits.memory_bytes", MEMORY_MIN_BYTES, MEMORY_MAX_BYTES))
