"""Rules that look at several keys at once.

They read the draft, not the model: where one VM is wrong, the others are still compared. A value that cannot
be read takes no part, since its own problem is reported already. Called by ``parse``.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from snsnode.spec import model
from snsnode.spec.addresses import canonical, machine, parse_address
from snsnode.spec.draft import Draft, Path
from snsnode.spec.problems import Problem
from snsnode.spec.scalars import SQLITE, parse_duration

LISTENERS = ("router", "server")

_T = TypeVar("_T")


def errors(draft: Draft) -> Iterator[Problem]:
    """Yield every broken rule."""
    yield from _roles(draft)
    yield from _collisions(draft)
    yield from _keepalive(draft)
    yield from _separate_data(draft)


def warnings(draft: Draft) -> Iterator[Problem]:
    """Yield what is allowed, but likely to hurt."""
    for path, port in _ports(draft):
        if port > model.PORT_SAFE_MAX:
            yield Problem(
                draft.value_mark(path),
                f"warning: port {port} is one that the system hands out to clients, and a client that loops on "
                f"it while nobody listens can connect to itself: write a port below {model.PORT_SAFE_MAX + 1}",
            )


def size(draft: Draft) -> Iterator[Problem]:
    """Yield what is wrong where there are more VMs than a cluster takes."""
    vms = draft.data.get("vms")
    if isinstance(vms, dict) and len(vms) > model.VMS_MAX:
        text = f"the spec has {len(vms)} VMs: write at most {model.VMS_MAX}, or divide the cluster"
        yield Problem(draft.key_mark(("vms",)), text)


def _roles(draft: Draft) -> Iterator[Problem]:
    vms = draft.vms()
    for name, _ in vms:
        if ("vms", name) not in draft.merged and not any(("vms", name, role) in draft.keys for role in LISTENERS):
            text = f"the VM {name!r} holds neither a router nor a server: write server: {{port: 3020}}"
            yield Problem(draft.key_mark(("vms", name)), text)
    if not vms or len(vms) < sum(path[:1] == ("vms",) and len(path) == 2 for path in draft.keys):
        return  # what cannot be read may hold the role
    if any(path[:1] == ("vms",) for path in draft.merged):
        return
    for role in LISTENERS:
        if not any(("vms", name, role) in draft.keys for name, _ in vms):
            text = f"no VM holds a {role}, and a cluster needs one: write {role}: {{port: PORT}} in one of them"
            yield Problem(draft.key_mark(("vms",)), text)


def _collisions(draft: Draft) -> Iterator[Problem]:
    taken: dict[tuple[str, int], str] = {}
    for path, port in _ports(draft):
        _, name, role, _ = path
        address = _read(parse_address, draft.data["vms"][name].get("address"))
        if address is None:
            continue
        holder = taken.setdefault((canonical(address), port), f"the {role} of {name}")
        if holder != f"the {role} of {name}":
            text = f"the {role} of {name} takes {address} port {port}, and so does {holder}: write another port"
            yield Problem(draft.value_mark(path), text)


def _keepalive(draft: Draft) -> Iterator[Problem]:
    interval_s, timeout_s, silence_s = (_beat(draft, key) for key in ("interval", "timeout", "silence"))
    if interval_s is None:
        return
    if timeout_s is not None and timeout_s > interval_s:
        text = f"timeout is longer than interval ({interval_s:g}s): write a timeout of at most {interval_s:g}s"
        yield Problem(draft.value_mark(_place(draft, "timeout")), text)
    if silence_s is not None and silence_s < 2 * interval_s:
        text = f"silence is shorter than two intervals of {interval_s:g}s: write at least {2 * interval_s:g}s"
        yield Problem(draft.value_mark(_place(draft, "silence")), text)


def _separate_data(draft: Draft) -> Iterator[Problem]:
    """A SQLite file is shared by the processes of one machine only."""
    store = draft.data.get("store", model.Spec.model_fields["store"].default)
    if not isinstance(store, str) or not store.startswith(SQLITE) or draft.data.get("separate_data") is True:
        return
    machines: dict[str, Path] = {}
    for name, vm in draft.vms():
        address = _read(parse_address, vm.get("address"))
        if address is not None and ("vms", name, "server") in draft.keys:
            machines.setdefault(machine(address), ("vms", name, "address"))
    if len(machines) > 1:
        place = ("store",) if ("store",) in draft.keys else list(machines.values())[1]
        text = (
            f"servers on several machines ({', '.join(list(machines)[:4])}) with a SQLite store keep separate "
            "data on each: write separate_data: true to accept that, or a store that they share, such as "
            "store: postgresql://USER@HOST/DATABASE"
        )
        yield Problem(draft.value_mark(place), text)


def _ports(draft: Draft) -> Iterator[tuple[Path, int]]:
    """Yield the ports that can be read, in the order of the file."""
    for name, vm in draft.vms():
        for role in vm:
            listener = vm[role]
            port = listener.get("port") if role in LISTENERS and isinstance(listener, dict) else None
            if isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= model.PORT_MAX:
                yield ("vms", name, role, "port"), port


def _beat(draft: Draft, key: str) -> float | None:
    keepalive = draft.data.get("keepalive", {})
    if not isinstance(keepalive, dict) or ("keepalive", key) in draft.settled:
        return None
    return _read(_duration, keepalive.get(key, _DEFAULTS[key]))


def _duration(value: object) -> float:
    """Return a duration; a bare number counts as what its own problem says to write, seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return parse_duration(value)


_DEFAULTS = {info.alias: info.default for info in model.KeepAlive.model_fields.values()}


def _place(draft: Draft, key: str) -> Path:
    """Return what to blame: ``key``, or ``interval`` where ``key`` has its default."""
    return ("keepalive", key) if ("keepalive", key) in draft.keys else ("keepalive", "interval")


def _read(parse: Callable[[object], _T], value: Any) -> _T | None:
    try:
        return parse(value)
    except ValueError:
        return None
