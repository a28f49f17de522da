"""The journal as a story: which entries belong together, and the sentence that they make. Pure.

Called by ``snsctl why``. An outage is told where it began, with its end; what only repeats it is left out:
``Serving`` beside a launch, and a partner that was found running. An event that is not known here is told as it
stands, so that a newer journal is readable too.
"""

import math
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, TypeVar

from snsnode.guard.machine import Cause
from snsnode.observe import events
from snsnode.observe.events import Event
from snsnode.observe.journal import Entry

_E = TypeVar("_E", bound=Event)

NEAR = 40  # entries; a pid is recycled later than that
RESTART_S = 10.0  # a stop on purpose and a start within this are one planned restart

_SYMPTOMS = {
    Cause.DEAD.value: "died",
    Cause.FROZEN.value: "was frozen (SIGSTOP) and was killed",
    Cause.HUNG.value: "hung, without KeepAlive and progress, and was killed",
    Cause.UNANSWERED.value: "did not answer KeepAlive and was killed",
    Cause.WEDGED.value: "answered KeepAlive but served nobody, and was killed",
    Cause.SILENT.value: "fell silent and was killed",
    Cause.NEVER_READY.value: "did not become ready in time and was killed",
    "it launches no master": "launched no master and was killed by supervisord",
    "it does not move": "did not move and was killed by supervisord",
}
_TOLD_ELSEWHERE = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """What happened: ``at`` is the journal's time in UTC."""

    at: str
    vm: str
    text: str


def tell(entries: Iterable[Entry]) -> list[Sentence]:
    """Return the story of the entries of any number of VMs, each oldest first; newest last."""
    by_vm: dict[str, list[Entry]] = {}
    for entry in entries:
        by_vm.setdefault(entry.vm, []).append(entry)
    told = [
        Sentence(entry.at, vm, text)
        for vm, of_vm in by_vm.items()
        for index, entry in enumerate(of_vm)
        if (text := _text(of_vm, index)) != _TOLD_ELSEWHERE
    ]
    return sorted(told, key=lambda sentence: sentence.at)


def line(sentence: Sentence, today: date, zone: tzinfo | None = None) -> str:
    """Return the sentence for people, in the time of ``zone`` (None: this machine's)."""
    try:
        at = datetime.fromisoformat(sentence.at).astimezone(zone)
    except ValueError:
        return f"{sentence.at} {sentence.vm}: {sentence.text}"
    when = f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{when} {sentence.vm}: {sentence.text}"


def raw(entry: Entry) -> dict[str, Any]:
    """Return the entry as the journal has it."""
    whose = {"at": entry.at, "vm": entry.vm, "role": entry.role, "pid": entry.fields.get("pid")}
    return whose | {"event": entry.event} | entry.fields


def _text(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    match entry.what:
        case events.Down() as down:
            return _down(entries, index, down)
        case events.Up() as up:
            return _up(entries, index, up)
        case events.Stopped() as stopped:
            return _stopped(entries, index, stopped)
        case events.LaunchFailed(of=role, cause=cause):
            return f"the {entry.role} could not launch the {role}: {cause}"
        case events.Degraded(partner=partner, wait_ms=wait_ms):
            wait = _duration(wait_ms)
            known = f"the next start waits {wait} ('snsctl doctor' may tell why)"
            return f"DEGRADED: the {partner} fails too often; {known}"
        case events.Failed(cause=cause, exit_code=code):
            return (
                _TOLD_ELSEWHERE
                if _end(entries, index, entry.role)
                else f"{_self(entry)} failed: {cause}{_how(code)}"
            )
        case events.Serving(epoch=epoch):
            return _serving(entries, index, epoch)
        case events.SlaveStarted():
            return _TOLD_ELSEWHERE if _was_launched(entries, index, "slave") else f"{_self(entry)} started"
        case events.SlaveEnded(cause=cause):
            return _TOLD_ELSEWHERE if _end(entries, index, "slave") else f"{_self(entry)} ended: {cause}"
        case events.Draining() as draining:
            ended = _end(entries, index, "master")
            return _TOLD_ELSEWHERE if ended else f"{_self(entry)} was asked to stop{_moved(draining)}"
        case events.Moved():
            return _TOLD_ELSEWHERE  # by Draining
        case events.Rescue() as rescue:
            return _rescue(entries, index, rescue)
        case events.SlaveLaunch(cause=cause):
            return f"{cause}; the {_self(entry)} launched one"
        case events.FirstLaunch(cause=cause):
            return f"{cause}; supervisord launched its slave anew"
        case None:
            return _unknown(entry)
        case other:
            return _of_itself(entry, other)


def _of_itself(entry: Entry, what: Event) -> str:
    match what:
        case events.RouterStarted():
            return f"{_self(entry)} started"
        case events.RouterEnded(cause=cause):
            return f"{_self(entry)} ended: {cause}"
        case events.Outgrown(used_mib=used):
            more = "more than limits.memory: it ends in good order, and the next one is launched"
            return f"{_self(entry)} has {used} MiB, {more}"
        case events.SetAside(file=file, kept=kept, cause=cause):
            return f"{file} was damaged ({cause}); the {_self(entry)} set it aside as {kept} and went on without"
        case events.Drained():
            return "an operator drained the server: its clients are sent to others"
        case events.Undrained():
            return "an operator let clients come to the server again"
        case events.Paused():
            return "restarting was paused by an operator"
        case events.Resumed():
            return "restarting was resumed by an operator"
    raise AssertionError(f"no sentence for {what}")


def _unknown(entry: Entry) -> str:
    told = ", ".join(f"{key} {value}" for key, value in entry.fields.items() if key not in ("vm", "pid"))
    return f"{_self(entry)}: {entry.event}{f' ({told})' if told else ''}"


# --- what a watcher writes of its partner --------------------------------------------------------------------


def _down(entries: Sequence[Entry], index: int, down: events.Down) -> str:
    symptom = _SYMPTOMS.get(down.cause, down.cause)
    if down.cause == Cause.DEAD.value:
        asked = _near(entries, index, events.Draining, pid=down.partner_pid)
        symptom = f"ended as a signal asked it to{_moved(asked)}" if asked else symptom
        symptom += _how(down.exit_code)
        failed = _near(entries, index, events.Failed, pid=down.partner_pid)
        symptom += f" ({failed.cause})" if failed else ""
    return f"{down.of} (process {down.partner_pid}) {symptom}; {_sequel(entries, index, down.of)}"


def _sequel(entries: Sequence[Entry], index: int, partner: str) -> str:
    if partner == "router":  # which has no partner that tells of it, but tells of itself
        started = next((e for e in entries[index + 1 :] if isinstance(e.what, events.RouterStarted)), None)
        return f"supervisord started it again as process {started.pid}" if started else "it is not back yet"
    following = _next_of(entries, index, partner)
    if following is None:
        return "it is not back yet"
    if not isinstance(following.what, events.Up):
        return "it did not come back at once"
    if following.what.cause == Cause.FOUND.value:
        return f"found running again as {_as(following.what)}"
    return f"restarted by the {following.role} as {_as(following.what)}"


def _up(entries: Sequence[Entry], index: int, up: events.Up) -> str:
    entry = entries[index]
    before = next((at for at in range(index - 1, -1, -1) if _is_fate(entries[at], up.of)), None)
    if up.cause == Cause.FOUND.value:
        return _TOLD_ELSEWHERE
    if before is not None and isinstance(entries[before].what, events.Down):
        return _TOLD_ELSEWHERE
    if before is not None and _restart(entries, before) is entry:
        return _TOLD_ELSEWHERE
    return f"the {entry.role} launched the {up.of} as {_as(up)}"


def _stopped(entries: Sequence[Entry], index: int, stopped: events.Stopped) -> str:
    entry = entries[index]
    who = f"{stopped.of} (process {stopped.partner_pid})"
    if _is_paused(entries, index):
        return f"{who} ended while restarting was paused{_how(stopped.exit_code)}"
    drained = _near(entries, index, events.Draining, pid=stopped.partner_pid)
    moved = _moved(drained) if drained else ""
    heir = _restart(entries, index)
    if heir is None:
        return f"{who} was stopped on purpose{moved}"
    assert isinstance(heir.what, events.Up)
    later = _duration(_seconds_between(entry, heir) * 1000)
    now = f"now process {heir.what.partner_pid}{_epoch(heir.what.epoch)}"
    return f"{who} was restarted on purpose{moved}; {now}, {later} later"


def _restart(entries: Sequence[Entry], index: int) -> Entry | None:
    """Return what came up after the stop at ``index``, where the two are one planned restart."""
    stopped = entries[index].what
    if not isinstance(stopped, events.Stopped) or _is_paused(entries, index):
        return None
    following = _next_of(entries, index, stopped.of)
    if following is None or not isinstance(following.what, events.Up):
        return None
    return following if 0 <= _seconds_between(entries[index], following) <= RESTART_S else None


def _seconds_between(first: Entry, second: Entry) -> float:
    """Return the journal's time from one entry to another; infinite where one of the times is damaged."""
    try:
        return (datetime.fromisoformat(second.at) - datetime.fromisoformat(first.at)).total_seconds()
    except (ValueError, TypeError):
        return math.inf


# --- what a process writes of itself --------------------------------------------------------------------------


def _serving(entries: Sequence[Entry], index: int, epoch: int) -> str:
    entry = entries[index]
    rescued = entry.pid is not None and _near(entries, index, events.Rescue, pid=entry.pid)
    if rescued or _was_launched(entries, index, "master"):
        return _TOLD_ELSEWHERE
    return f"{_self(entry)} serves{_epoch(epoch)}"


def _rescue(entries: Sequence[Entry], index: int, rescue: events.Rescue) -> str:
    pid = entries[index].pid
    serving = _near(entries, index, events.Serving, pid=pid) if pid is not None else None
    waited = f", after a wait of {_duration(rescue.wait_ms)}" if rescue.wait_ms else ""
    end = f"took the master's place{_epoch(serving.epoch)}" if serving else "is to take the master's place"
    return f"{rescue.cause}; the spare (process {pid}) {end}{waited}"


# --- looking around, and words --------------------------------------------------------------------------------


def _is_fate(entry: Entry, partner: str) -> bool:
    return isinstance(entry.what, events.Ended | events.Up) and entry.what.of == partner


def _next_of(entries: Sequence[Entry], index: int, partner: str) -> Entry | None:
    """Return what the journal next says of the partner's life or end."""
    return next((entry for entry in entries[index + 1 :] if _is_fate(entry, partner)), None)


def _around(entries: Sequence[Entry], index: int) -> Sequence[Entry]:
    """Return the entries around ``index``: two processes write, in either order."""
    return entries[max(index - NEAR, 0) : index + NEAR]


def _near(entries: Sequence[Entry], index: int, kind: type[_E], *, pid: int) -> _E | None:
    """Return an event of that kind, written around ``index`` by the process ``pid``."""
    for entry in _around(entries, index):
        if isinstance(entry.what, kind) and entry.pid == pid:
            return entry.what
    return None


def _end(entries: Sequence[Entry], index: int, role: str) -> bool:
    """Tell whether its partner tells of the end of the process that wrote this entry."""
    pid = entries[index].pid
    return any(
        isinstance(entry.what, events.Ended) and (entry.what.of, entry.what.partner_pid) == (role, pid)
        for entry in _around(entries, index)
    )


def _was_launched(entries: Sequence[Entry], index: int, role: str) -> bool:
    """Tell whether its partner tells of the launch of the process that wrote this entry."""
    pid = entries[index].pid
    return any(
        isinstance(entry.what, events.Up)
        and (entry.what.of, entry.what.partner_pid) == (role, pid)
        and entry.what.cause != Cause.FOUND.value
        for entry in _around(entries, index)
    )


def _is_paused(entries: Sequence[Entry], index: int) -> bool:
    marks = (e.what for e in reversed(entries[:index]) if isinstance(e.what, events.Paused | events.Resumed))
    return isinstance(next(marks, None), events.Paused)


def _self(entry: Entry) -> str:
    return f"{entry.role} (process {entry.fields.get('pid')})"


def _as(up: events.Up) -> str:
    took = f", in {_duration(up.took_ms)}" if up.took_ms is not None else ""
    return f"process {up.partner_pid}{_epoch(up.epoch)}{took}"


def _epoch(epoch: int | None) -> str:
    return f", epoch {epoch}" if epoch is not None else ""


def _moved(draining: events.Draining) -> str:
    count = draining.clients
    return f", after {count} client{'' if count == 1 else 's'} moved elsewhere" if count else ""


def _how(exit_code: int | None) -> str:
    """Return how a process ended, as ``waitpid`` told; nothing where it was not our child."""
    if exit_code is None:
        return ""
    if exit_code >= 0:
        return f", exit code {exit_code}"
    try:
        return f", killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f", killed by signal {-exit_code}"


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"
