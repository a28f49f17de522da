"""What ``status`` needs to know of a spec, kept in the home under the spec's digest.

To read a spec takes pydantic, whose import alone takes longer than asking the whole cluster: a status that is
promised within 2 s on a busy machine reads what the one before found, where not a byte of the spec has changed.
"""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snsnode.base import fields, reading
from snsnode.base.ids import VmName
from snsnode.node.config import Endpoint, RoleName
from snsnode.node.durable import write_text

if TYPE_CHECKING:
    from snsnode.spec.model import Spec

FORMAT = 1  # raised with every change of this file's classes, or of what a valid spec means
FILENAME = ".outline.json"
_PORTS = ("router_port", "server_port")
BYTES_MAX = 4 * 1024 * 1024  # a spec above this is read anew each time


@dataclass(frozen=True, slots=True)
class VmOutline:
    """One VM: its address, and its ports where it has the role."""

    address: str
    router_port: int | None
    server_port: int | None


@dataclass(frozen=True, slots=True)
class Outline:
    """One cluster."""

    cluster: str
    selection: str
    separate_data: bool
    vms: dict[VmName, VmOutline]

    def endpoints(self, role: RoleName) -> tuple[Endpoint, ...]:
        """Return where every VM that has ``role`` listens."""
        ports = {name: vm.router_port if role == "router" else vm.server_port for name, vm in self.vms.items()}
        return tuple(
            Endpoint(name, self.vms[name].address, port) for name, port in ports.items() if port is not None
        )


def outline_of(spec: "Spec") -> Outline:
    """Return the outline of ``spec``."""
    return Outline(
        cluster=spec.cluster,
        selection=spec.selection,
        separate_data=spec.separate_data,
        vms={
            name: VmOutline(
                vm.address,
                vm.router.port if vm.router is not None else None,
                vm.server.port if vm.server is not None else None,
            )
            for name, vm in spec.vms.items()
        },
    )


def digest_of(path: Path) -> str | None:
    """Return what tells this spec from every other; None where it cannot be read so simply."""
    try:
        content = reading.read_bytes(path, BYTES_MAX)
    except (OSError, reading.Damaged):
        return None
    return hashlib.sha256(content).hexdigest()


def kept(home: Path, digest: str) -> Outline | None:
    """Return the outline of the spec with ``digest``; None where it is not known or the file is damaged."""
    try:
        raw: dict[str, Any] = reading.read_object(home / FILENAME, BYTES_MAX)
        if (raw["format"], raw["digest"]) != (FORMAT, digest):
            return None
        outline = raw["outline"]
        return Outline(
            cluster=fields.text(outline, "cluster"),
            selection=fields.text(outline, "selection"),
            separate_data=fields.flag(outline, "separate_data"),
            vms={VmName(name): _vm(vm) for name, vm in outline["vms"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _vm(raw: dict[str, Any]) -> VmOutline:
    ports = {key: None if raw[key] is None else fields.whole(raw, key, 1, 65535) for key in _PORTS}
    return VmOutline(address=fields.text(raw, "address"), **ports)


def keep(home: Path, digest: str, outline: Outline) -> None:
    """Keep ``outline`` for the next time, where there is a home that can be written."""
    text = json.dumps({"format": FORMAT, "digest": digest, "outline": asdict(outline)}) + "\n"
    with contextlib.suppress(OSError):
        write_text(home / FILENAME, text, fsync=False)
