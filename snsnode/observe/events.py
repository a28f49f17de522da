"""What the journal tells: a closed set of events, each a frozen class with typed fields.

Whoever does something constructs its event, ``journal`` writes it as one JSON line, and ``control.story`` matches
on the classes. The reference page is made of their docstrings and of the texts beside their fields. A name or a
field that was released keeps its meaning: scripts read them, and a journal outlives an upgrade. Fields that are
None are not written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

Role = Literal["master", "slave", "router"]
Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    WORD: ClassVar[str]

    @property
    def name(self) -> str:
        """The journal's ``event``."""
        return self.WORD


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRole(Event):
    """Something that the writer saw of, or did to, the process of another role; the role stands in the name."""

    OF: ClassVar[tuple[Role, ...]] = ("master", "slave")

    of: Role

    @property
    def name(self) -> str:
        """The journal's ``event``, as ``master-down``."""
        return f"{self.of}-{self.WORD}"


# --- what a watcher writes of the process that it watches -----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(OfRole):
    """The end of the process."""

    cause: Annotated[str, "the symptom that the writer saw, in words"]
    partner_pid: Annotated[int, "the process that is dead now"]
    epoch: Annotated[int | None, "the epoch that it served as; only a master has one"] = None
    exit_code: Annotated[int | None, "as `waitpid` tells it, negative for a signal; only of a child"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Down(Ended):
    """The process died, or the writer ended it because it was stuck."""

    WORD = "down"
    OF = ("master", "slave", "router")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Ended):
    """The process ended, and nobody wants it back: an operator stopped, restarted or paused it."""

    WORD = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Up(OfRole):
    """The process answers: the writer launched it, or found it running."""

    WORD = "up"

    cause: Annotated[str, "why it was launched; `found running` where the writer did not launch it"]
    partner_pid: Annotated[int, "the process that runs now"]
    epoch: Annotated[int | None, "the epoch that it serves as; only a master has one"] = None
    took_ms: Annotated[Number | None, "from when the writer saw the outage, in milliseconds"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailed(OfRole):
    """The writer could not launch the process, and will try again."""

    WORD = "launch-failed"

    cause: Annotated[str, "what stood in the way, in words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded(Event):
    """The process failed so often that the next launch has to wait."""

    WORD = "degraded"

    partner: Annotated[Role, "the role that fails"]
    wait_ms: Annotated[Number, "until the next launch, in milliseconds"]
    restarts: Annotated[int, "launches that had to wait, one after the other"]


# --- what a process writes of itself --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStarted(Event):
    """The router answers."""

    WORD = "router-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterEnded(Event):
    """The router ended in good order."""

    WORD = "router-ended"

    cause: Annotated[str, "why"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaveStarted(Event):
    """The slave holds its role, and watches the master."""

    WORD = "slave-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaveEnded(Event):
    """The slave ended by itself."""

    WORD = "slave-ended"

    cause: Annotated[str, "`asked to stop`, or `failed`"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The process could not go on, and ended by itself."""

    WORD = "failed"

    cause: Annotated[str, "what stood in the way, in words"]
    exit_code: Annotated[int, "78 where no restart helps before somebody acts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving(Event):
    """The master answers clients."""

    WORD = "serving"

    epoch: Annotated[int, "counts the masters of this VM: no two of them serve with the same epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining(Event):
    """The master was asked to stop: it sends its clients to other servers, then it ends."""

    WORD = "draining"

    clients: Annotated[int, "that were logged in here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Event):
    """A draining master has sent its clients to other servers."""

    WORD = "moved"

    clients: Annotated[int, "that were logged in here before"]
    left: Annotated[int, "that are still here"]
    took_ms: Annotated[Number, "in milliseconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """An operator drained the server: its clients are sent to others, and new ones come only if no other lives."""

    WORD = "drained"

    clients: Annotated[int, "that were logged in here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undrained(Event):
    """An operator let clients come to the server again."""

    WORD = "undrained"

    clients: Annotated[int, "that are logged in here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgrown(Event):
    """The process has more memory than `limits.memory` allows: it ends in good order, and the next is launched."""

    WORD = "outgrown"

    used_mib: Annotated[int, "its resident memory, in MiB"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside(Event):
    """The writer found a damaged file, renamed it, and went on without."""

    WORD = "set-aside"

    file: Annotated[str, "its name"]
    kept: Annotated[str, "the name that it has now, in the same folder"]
    cause: Annotated[str, "what is wrong with it"]


# --- what a spare and supervisord do where no partner can -----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BySpare(Event):
    """What a spare does out of the restart budget."""

    cause: Annotated[str, "what the spare saw, in words"]
    wait_ms: Annotated[Number, "that the restart budget makes it wait, in milliseconds"]
    restarts: Annotated[int, "launches that had to wait, one after the other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue(BySpare):
    """The spare takes the master's place, for the slave is dead too."""

    WORD = "rescue"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaveLaunch(BySpare):
    """The spare launches a slave, for the master does not."""

    WORD = "slave-launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLaunch(Event):
    """supervisord launched the slave of a dead pair anew."""

    WORD = "first-launch"

    cause: Annotated[str, "what supervisord saw, in words"]


# --- what an operator does ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """An operator paused restarting: whatever ends stays down."""

    WORD = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """An operator resumed restarting."""

    WORD = "resumed"


ALL: tuple[type[Event], ...] = (
    Down, Stopped, Up, LaunchFailed, Degraded,
    RouterStarted, RouterEnded, SlaveStarted, SlaveEnded, Serving, Draining, Moved, Drained, Undrained, Outgrown,
    Failed, SetAside, Rescue, SlaveLaunch, FirstLaunch, Paused, Resumed,
)  # fmt: skip

ROLES: tuple[Role, ...] = get_args(Role)
_OF_ROLE: dict[str, type[OfRole]] = {kind.WORD: kind for kind in ALL if issubclass(kind, OfRole)}
_OTHERS = {kind.WORD: kind for kind in ALL if not issubclass(kind, OfRole)}


class Told(NamedTuple):
    """A field of an event, as its class declares it: ``type`` with None where it is optional, ``base`` without."""

    name: str
    type: Any
    base: Any
    text: str
    optional: bool


def told_by(kind: type[Event]) -> list[Told]:
    """Return the fields of an event's class, without the role that stands in its name."""
    found = []
    for each in fields(kind):
        if each.name != "of":
            declared, text = get_args(each.type)
            base = next(kind for kind in _BASES if declared in (kind, kind | None))
            found.append(Told(each.name, declared, base, text, optional=each.default is None))
    return found


_BASES: tuple[Any, ...] = (str, int, Number, Role)
_TOLD = {kind: told_by(kind) for kind in ALL}


def encode(event: Event) -> dict[str, Any]:
    """Return the fields of ``event`` that are written beside its name."""
    found = ((each.name, getattr(event, each.name)) for each in _TOLD[type(event)])
    return {name: value for name, value in found if value is not None}


def decode(name: str, raw: Mapping[str, Any]) -> Event | None:
    """Return the event of that name; None where this version does not know it, or a field is not of its type."""
    kind: type[Event] | None = _OTHERS.get(name)
    given: dict[str, Any] = {}
    if kind is None:
        role, _, word = name.partition("-")
        of_role = _OF_ROLE.get(word)
        if of_role is None or role not in of_role.OF:
            return None
        kind, given["of"] = of_role, role
    for each in _TOLD[kind]:
        value = raw.get(each.name)
        if not _is_a(value, each.type):
            return None
        given[each.name] = value
    return kind(**given)


def _is_a(value: object, wanted: Any) -> bool:
    if wanted is Role:
        return isinstance(value, str) and value in ROLES
    return isinstance(value, wanted) and not isinstance(value, bool)
