"""``node.json``: what one VM's processes need to know of the cluster.

Written by ``render`` from the spec, read by every role and by supervisord's plug-in. What people write is
validated in ``spec``; here only a file that was damaged, or made by another version, is refused.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar

from snsnode.base import fields, reading
from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName, shown

FORMAT = 1
FILENAME = "node.json"
CAUSE_MAX = 200  # characters of what is wrong with it: a key may be as long as the file
BYTES_MAX = 4 * 1024 * 1024  # ten thousand routers, of at most 350 bytes each

RoleName = Literal["router", "slave", "master"]
ROLES: tuple[RoleName, ...] = ("router", "slave", "master")
PARTNERS: tuple[RoleName, RoleName] = ("slave", "master")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a role listens: an IP address or host name, and a TCP port 1–65535."""

    vm: VmName
    address: str
    port: int

    @property
    def target(self) -> str:
        """``address:port``, the address in brackets where it is IPv6."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Heartbeat times: one each ``interval_s``, answered within ``timeout_s``; ``silence_s`` is too long."""

    interval_s: float
    timeout_s: float
    silence_s: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The restart rule: ``intensity`` at once within ``period_s``, then backoff up to ``backoff_max_s``."""

    intensity: int
    period_s: float
    backoff_max_s: float


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One VM's part of the cluster.

    ``store`` is a URL; a SQLite path in it is relative to the home, the parent of the VM's folder.
    ``routers`` may change under a running role; everything else takes a restart (see ``digest``).
    """

    cluster: str
    vm: VmName
    address: str
    router_port: int | None
    server_port: int | None
    routers: tuple[Endpoint, ...]
    store: str
    selection: Literal["single", "spread"]
    spare: bool
    keepalive: KeepAlive
    restart: Restart

    @property
    def roles(self) -> tuple[RoleName, ...]:
        """The roles of this VM, in the order in which they start."""
        router: tuple[RoleName, ...] = ("router",) if self.router_port is not None else ()
        return router + (PARTNERS if self.server_port is not None else ())

    def endpoint(self, role: RoleName) -> Endpoint:
        """Return where ``role`` of this VM listens; the slave listens nowhere and shares the master's."""
        port = self.router_port if role == "router" else self.server_port
        if port is None:
            raise ConfigError(f"cannot run a {role} on {self.vm}: {FILENAME} gives this VM none")
        return Endpoint(self.vm, self.address, port)

    def digest(self, role: RoleName) -> str:
        """Return a short hash of all that ``role`` must be restarted for when it changes."""
        relevant = dataclasses.asdict(self)
        del relevant["routers"]
        for key in _IRRELEVANT[role]:
            del relevant[key]
        text = json.dumps([FORMAT, relevant], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# What a role does not use: a change of it leaves the role's process alone.
_IRRELEVANT: dict[RoleName, tuple[str, ...]] = {
    "router": ("server_port", "store", "spare", "restart"),
    "slave": ("router_port", "selection"),
    "master": ("router_port", "selection", "spare"),
}


def to_json(config: NodeConfig) -> str:
    """Return the text of ``node.json``: the same configuration gives the same bytes."""
    return json.dumps({"format": FORMAT} | dataclasses.asdict(config), indent=2) + "\n"


def load(vm_dir: Path) -> NodeConfig:
    """Read ``vm_dir/node.json``.

    Raises:
        ConfigError: the file is missing, damaged, or of another format.
    """
    path = vm_dir / FILENAME
    try:
        return from_json(reading.read_text(path, BYTES_MAX))
    except FileNotFoundError:
        raise ConfigError(f"cannot read {path}: no such file; run 'snsctl generate' first") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        cause = str(error) if isinstance(error, reading.Damaged) else shown(repr(error), CAUSE_MAX)[1:-1]
        raise ConfigError(f"cannot read {path}: {cause}; run 'snsctl generate' to write it anew") from None


def from_json(text: str) -> NodeConfig:
    """Return the configuration in ``text``.

    Raises:
        ValueError, KeyError, TypeError: ``text`` is not what ``to_json`` writes.
    """
    raw: dict[str, Any] = reading.parse_object(text)
    if raw.pop("format") != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    raw["routers"] = tuple(_checked(Endpoint(**router)) for router in raw["routers"])
    raw["keepalive"] = _checked(KeepAlive(**raw["keepalive"]))
    raw["restart"] = _checked(Restart(**raw["restart"]))
    return _checked(NodeConfig(**raw))


Part = TypeVar("Part", Endpoint, KeepAlive, Restart, NodeConfig)

# What JSON gives for a declared type; the others are parts, checked themselves. A bool is no number here.
_JSON_TYPES: dict[object, tuple[type, ...]] = {
    str: (str,),
    VmName: (str,),
    Literal["single", "spread"]: (str,),
    bool: (bool,),
    int: (int,),
    int | None: (int, NoneType),
    float: (float, int),
}


# What the spec allows, or wider: a file is refused here only where no role could work with it.
_RANGES: dict[str, tuple[float, float]] = {
    "port": (1, 65535),
    "router_port": (1, 65535),
    "server_port": (1, 65535),
    "interval_s": (0.001, 3600),
    "timeout_s": (0.001, 3600),
    "silence_s": (0.001, 86400),
    "intensity": (1, 1_000_000),
    "period_s": (0.001, 86400),
    "backoff_max_s": (0.001, 86400),
}
_VM = re.compile(r"[a-z][a-z0-9-]{0,31}")


def _checked(part: Part) -> Part:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.type in _JSON_TYPES and type(value) not in _JSON_TYPES[field.type]:
            raise TypeError(f"{field.name} is {reading.named(value)}")
        if isinstance(value, str):
            _check_text(field.name, value)
        elif field.name in _RANGES and value is not None:
            fields.real_of(value, field.name, *_RANGES[field.name])
    return part


def _check_text(name: str, value: str) -> None:
    if not value.isprintable() or not 1 <= len(value) <= fields.TEXT_MAX:
        raise reading.Damaged(f"{name} is {reading.named(value)}, no text of 1 to {fields.TEXT_MAX} characters")
    # A VM's name names a folder; a path must not come of it.
    if name in ("vm", "cluster") and not _VM.fullmatch(value):
        raise reading.Damaged(f"{name} is {reading.named(value)}, no name")
    if name == "selection" and value not in ("single", "spread"):
        raise reading.Damaged(f"selection is {reading.named(value)}, neither single nor spread")
