"""The cluster spec as frozen pydantic models.

Made by ``parse`` only, so that whoever holds a ``Spec`` holds a valid one. The JSON Schema for editors is
generated from these classes: a description here is what people read while they type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from snsnode.base.ids import VmName
from snsnode.spec.addresses import parse_address
from snsnode.spec.scalars import (
    DURATION_PATTERN,
    NAME_PATTERN,
    SIZE_PATTERN,
    SQLITE,
    STORE_PATTERN,
    parse_duration,
    parse_name,
    parse_size,
    parse_store,
)

VMS_MAX = 4_096  # as many servers, and as many routers, as a router's cluster.json lists
PORT_MAX = 65535
PORT_SAFE_MAX = 32767  # Linux hands out the ports above to clients (net.ipv4.ip_local_port_range)


@dataclass(frozen=True, slots=True)
class Between:
    """A duration with a unit, from ``low`` to ``high``, both included; seconds in the model."""

    low: str
    high: str

    def parse(self, value: object) -> float:
        """Return the seconds; raises ValueError with the bounds."""
        duration_s = parse_duration(value)
        if not parse_duration(self.low) <= duration_s <= parse_duration(self.high):
            raise ValueError(f"{value} is out of range: write a duration from {self.low} to {self.high}")
        return duration_s

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}


@dataclass(frozen=True, slots=True)
class Size:
    """A size with a unit, from ``low`` to ``high``, both included; bytes in the model."""

    low: str
    high: str

    def parse(self, value: object) -> int:
        """Return the bytes; raises ValueError with the bounds."""
        size_bytes = parse_size(value)
        if not parse_size(self.low) <= size_bytes <= parse_size(self.high):
            raise ValueError(f"{value} is out of range: write a size from {self.low} to {self.high}")
        return size_bytes

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{SIZE_PATTERN}$"}


def _text(parse: Any, pattern: str) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(parse), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


ClusterName = Annotated[str, *_text(parse_name, NAME_PATTERN)]
VmKey = Annotated[VmName, BeforeValidator(parse_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})]
StoreUrl = Annotated[str, *_text(parse_store, STORE_PATTERN)]
Address = Annotated[str, BeforeValidator(parse_address)]


def _written(default: str, alias: str, description: str) -> Any:
    """Return a field whose default is written, and shown to editors, the way people write it."""
    return Field(default=default, alias=alias, description=description)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, defer_build=True)


class Listener(_Model):
    """A role and where it listens."""

    port: int = Field(
        ge=1,
        le=PORT_MAX,
        description=f"TCP port, 1 to {PORT_MAX}; best below {PORT_SAFE_MAX + 1}.",
        examples=[3010],
    )


class Vm(_Model):
    """One VM: a router, a server (one master/slave pair), or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["router"]}, {"required": ["server"]}]})

    address: Address = Field(
        description="IP address or host name at which clients and the other VMs reach this one.",
        examples=["127.0.0.1"],
    )
    router: Listener | None = Field(default=None, description="This VM runs a routing server.")
    server: Listener | None = Field(
        default=None, description="This VM runs a master and the slave that watches it."
    )


class KeepAlive(_Model):
    """The heartbeat between a slave and its master."""

    interval_s: Annotated[float, Between("100ms", "1m")] = _written(
        "3s", "interval", "Time between two heartbeats: a duration from 100ms to 1m."
    )
    timeout_s: Annotated[float, Between("1ms", "1m")] = _written(
        "1s", "timeout", "Deadline of one heartbeat: a duration from 1ms to interval."
    )
    silence_s: Annotated[float, Between("200ms", "1h")] = _written(
        "9s", "silence", "A master that heard nothing for so long restarts its slave: from 2 x interval to 1h."
    )


class Restart(_Model):
    """How fast a partner that keeps dying is started again."""

    intensity: int = Field(
        default=5, ge=1, le=10_000, description="Restarts within period that are immediate: 1 to 10000."
    )
    period_s: Annotated[float, Between("1s", "1h")] = _written(
        "10s", "period", "Window in which restarts are counted; so long without one resets the count: 1s to 1h."
    )
    backoff_max_s: Annotated[float, Between("100ms", "5m")] = _written(
        "10s",
        "backoff_max",
        "Longest wait before a restart; waits double from 100ms: a duration from 100ms to 5m.",
    )


class Limits(_Model):
    """How much one process of the cluster may use."""

    memory_bytes: Annotated[int, Size("64MiB", "1TiB")] = _written(
        "1GiB", "memory", "Memory of a role, beyond which it drains and restarts: a size from 64MiB to 1TiB."
    )


class Spec(_Model):
    """A cluster: its VMs, in the order of the file, and how they keep each other up."""

    cluster: ClusterName = Field(
        description="The cluster's name: 1 to 32 lower-case letters, digits or '-', a letter first.",
        examples=["local"],
    )
    store: StoreUrl = Field(
        default="sqlite:///sns.db",
        description="Where everything persists: sqlite:///PATH (relative to the home, four slashes for an "
        "absolute one) or postgresql://USER@HOST[,HOST]/DATABASE, without a password.",
    )
    selection: Literal["single", "spread"] = Field(
        default="single", description="One available master (single), or all of them (spread)."
    )
    spare: bool = Field(default=True, description="Keep a warm process that takes over a dead master's place.")
    separate_data: bool = Field(
        default=False,
        description="With a SQLite store, servers on several machines keep separate data; true accepts it.",
    )
    keepalive: KeepAlive = Field(default_factory=KeepAlive, description="Heartbeat times.")
    restart: Restart = Field(default_factory=Restart, description="Restart rule.")
    limits: Limits = Field(default_factory=Limits, description="What a role may use.")
    vms: Annotated[Mapping[VmKey, Vm], AfterValidator(MappingProxyType)] = Field(
        min_length=1, description="The VMs by name: lower-case letters, digits or '-', a letter first."
    )

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file, which only processes of one machine can share."""
        return self.store.startswith(SQLITE)
