"""The journal as a story: which entries belong together, and the sentence that they make. Pure.

Called by ``snsctl why``. An outage is told where it began, with its end; what only repeats it is left out:
``serving`` beside a launch, and a partner that was found running. An event that is not known here is told as it
stands, so that a newer journal is readable too.
"""

import math
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any

from snsnode.guard.machine import Cause
from snsnode.observe.journal import Entry

NEAR = 40  # entries; a pid is recycled later than that
RESTART_S = 10.0  # a stop on purpose and a start within this are one planned restart

_SYMPTOMS = {
    Cause.DEAD.value: "died",
    Cause.STOPPED.value: "was frozen (SIGSTOP) and was killed",
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
        by_vm.setdefault(_vm(entry), []).append(entry)
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
    whose = {"at": entry.at, "vm": _vm(entry), "role": entry.role, "pid": entry.fields.get("pid")}
    return whose | {"event": entry.event} | entry.fields


def _text(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    partner, _, what = entry.event.rpartition("-")
    if partner in ("master", "slave") and what in _OF_PARTNER:
        return _OF_PARTNER[what](entries, index, partner)
    if entry.event in _OF_ITSELF:
        return _OF_ITSELF[entry.event](entries, index)
    if entry.event.endswith("-launch-failed"):
        return f"the {entry.role} could not launch the {entry.event.partition('-')[0]}: {_cause(entry)}"
    fields = ", ".join(f"{key} {value}" for key, value in entry.fields.items() if key not in ("vm", "pid"))
    return f"{_self(entry)}: {entry.event}{f' ({fields})' if fields else ''}"


# --- what a watcher writes of its partner --------------------------------------------------------------------


def _down(entries: Sequence[Entry], index: int, partner: str) -> str:
    entry = entries[index]
    symptom = _SYMPTOMS.get(_cause(entry), _cause(entry))
    if _cause(entry) == Cause.DEAD.value:
        asked = _near(entries, index, "draining", pid=entry.fields.get("partner_pid"))
        symptom = f"ended as a signal asked it to{_clients(asked)}" if asked else symptom
        symptom += _how(entry.fields.get("exit_code"))
    return f"{partner} (process {entry.fields.get('partner_pid')}) {symptom}; {_sequel(entries, index, partner)}"


def _sequel(entries: Sequence[Entry], index: int, partner: str) -> str:
    following = _next_of(entries, index, partner)
    if following is None:
        return "it is not back yet"
    if following.event != f"{partner}-up":
        return "it did not come back at once"
    if _cause(following) == Cause.FOUND.value:
        return f"found running again as {_as(following)}"
    return f"restarted by the {following.role} as {_as(following)}"


def _up(entries: Sequence[Entry], index: int, partner: str) -> str:
    entry = entries[index]
    earlier = (at for at in range(index - 1, -1, -1) if entries[at].event in _fates(partner))
    before = next(earlier, None)
    if _cause(entry) == Cause.FOUND.value or (before is not None and entries[before].event == f"{partner}-down"):
        return _TOLD_ELSEWHERE
    if before is not None and _restart(entries, before, partner) is entry:
        return _TOLD_ELSEWHERE
    return f"the {entry.role} launched the {partner} as {_as(entry)}"


def _stopped(entries: Sequence[Entry], index: int, partner: str) -> str:
    entry = entries[index]
    who = f"{partner} (process {entry.fields.get('partner_pid')})"
    if _is_paused(entries, index):
        return f"{who} ended while restarting was paused{_how(entry.fields.get('exit_code'))}"
    drained = _near(entries, index, "draining", pid=entry.fields.get("partner_pid"))
    moved = _clients(drained) if drained else ""
    heir = _restart(entries, index, partner)
    if heir is None:
        return f"{who} was stopped on purpose{moved}"
    later = _duration(_seconds_between(entry, heir) * 1000)
    now = f"now process {heir.fields.get('partner_pid')}{_epoch(heir)}"
    return f"{who} was restarted on purpose{moved}; {now}, {later} later"


def _restart(entries: Sequence[Entry], index: int, partner: str) -> Entry | None:
    """Return what came up after the stop at ``index``, where the two are one planned restart."""
    if entries[index].event != f"{partner}-stopped" or _is_paused(entries, index):
        return None
    following = _next_of(entries, index, partner)
    if following is None or following.event != f"{partner}-up":
        return None
    return following if 0 <= _seconds_between(entries[index], following) <= RESTART_S else None


def _seconds_between(first: Entry, second: Entry) -> float:
    """Return the journal's time from one entry to another; infinite where one of the times is damaged."""
    try:
        return (datetime.fromisoformat(second.at) - datetime.fromisoformat(first.at)).total_seconds()
    except (ValueError, TypeError):
        return math.inf


_OF_PARTNER: dict[str, Callable[[Sequence[Entry], int, str], str]] = {
    "down": _down,
    "up": _up,
    "stopped": _stopped,
}


# --- what a process writes of itself, and what others write ---------------------------------------------------


def _serving(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    if _was_launched(entries, index, "master") or _near(entries, index, "rescue", pid=entry.fields.get("pid")):
        return _TOLD_ELSEWHERE
    return f"{_self(entry)} serves{_epoch(entry)}"


def _slave_started(entries: Sequence[Entry], index: int) -> str:
    if _was_launched(entries, index, "slave"):
        return _TOLD_ELSEWHERE
    return f"{_self(entries[index])} started"


def _slave_ended(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    if any(_near(entries, index, event, partner_pid=entry.fields.get("pid")) for event in _ENDS_OF_SLAVE):
        return _TOLD_ELSEWHERE
    return f"{_self(entry)} ended: {_cause(entry)}"


_ENDS_OF_SLAVE = ("slave-down", "slave-stopped")


def _draining(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    pid = entry.fields.get("pid")
    if any(_near(entries, index, event, partner_pid=pid) for event in ("master-stopped", "master-down")):
        return _TOLD_ELSEWHERE
    return f"{_self(entry)} was asked to stop{_clients(entry)}"


def _degraded(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    wait = _duration(entry.fields.get("wait_ms"))
    partner = entry.fields.get("partner")
    return f"DEGRADED: the {partner} fails too often; the next start waits {wait} ('snsctl doctor' may tell why)"


def _rescue(entries: Sequence[Entry], index: int) -> str:
    entry = entries[index]
    serving = _near(entries, index, "serving", pid=entry.fields.get("pid"))
    waited_ms = entry.fields.get("wait_ms")
    waited = f", after a wait of {_duration(waited_ms)}" if waited_ms else ""
    end = f"took the master's place{_epoch(serving)}" if serving else "is to take the master's place"
    return f"{_cause(entry)}; the spare (process {entry.fields.get('pid')}) {end}{waited}"


def _set_aside(entry: Entry) -> str:
    file, kept = entry.fields.get("file"), entry.fields.get("kept")
    return f"{file} was damaged ({_cause(entry)}); the {_self(entry)} set it aside as {kept} and went on without"


_OF_ITSELF: dict[str, Callable[[Sequence[Entry], int], str]] = {
    "serving": _serving,
    "slave-started": _slave_started,
    "slave-ended": _slave_ended,
    "router-started": lambda entries, index: f"{_self(entries[index])} started",
    "router-ended": lambda entries, index: f"{_self(entries[index])} ended: {_cause(entries[index])}",
    "draining": _draining,
    "degraded": _degraded,
    "rescue": _rescue,
    "slave-launch": lambda entries, index: f"{_cause(entries[index])}; the {_self(entries[index])} launched one",
    "first-launch": lambda entries, index: f"{_cause(entries[index])}; supervisord launched its slave anew",
    "outgrown": lambda entries, index: (
        f"{_self(entries[index])} has {entries[index].fields.get('used_mib')} MiB, more than limits.memory: it "
        "ends in good order, and the next one is launched"
    ),
    "moved": lambda entries, index: _TOLD_ELSEWHERE,  # told by "draining"
    "drained": lambda entries, index: "an operator drained the server: its clients are sent to others",
    "undrained": lambda entries, index: "an operator let clients come to the server again",
    "paused": lambda entries, index: "restarting was paused by an operator",
    "set-aside": lambda entries, index: _set_aside(entries[index]),
    "resumed": lambda entries, index: "restarting was resumed by an operator",
}


# --- looking around, and words --------------------------------------------------------------------------------


def _fates(partner: str) -> tuple[str, str, str]:
    return f"{partner}-down", f"{partner}-up", f"{partner}-stopped"


def _next_of(entries: Sequence[Entry], index: int, partner: str) -> Entry | None:
    """Return what the journal next says of the partner's life or end."""
    fates = _fates(partner)
    return next((entry for entry in entries[index + 1 :] if entry.event in fates), None)


def _near(entries: Sequence[Entry], index: int, event: str, **fields: Any) -> Entry | None:
    """Return an entry around ``index`` with these fields: two processes write, in either order."""
    for entry in entries[max(index - NEAR, 0) : index + NEAR]:
        if entry.event == event and all(entry.fields.get(key) == value for key, value in fields.items()):
            return entry
    return None


def _was_launched(entries: Sequence[Entry], index: int, role: str) -> bool:
    """Tell whether its partner tells of the launch of the process that wrote this entry."""
    pid = entries[index].fields.get("pid")
    return any(
        entry.event == f"{role}-up"
        and entry.fields.get("partner_pid") == pid
        and _cause(entry) != Cause.FOUND.value
        for entry in entries[max(index - NEAR, 0) : index + NEAR]
    )


def _is_paused(entries: Sequence[Entry], index: int) -> bool:
    last = next((e.event for e in reversed(entries[:index]) if e.event in ("paused", "resumed")), None)
    return last == "paused"


def _vm(entry: Entry) -> str:
    return str(entry.fields.get("vm", "?"))


def _self(entry: Entry) -> str:
    return f"{entry.role} (process {entry.fields.get('pid')})"


def _cause(entry: Entry) -> str:
    return str(entry.fields.get("cause", "no cause given"))


def _as(entry: Entry) -> str:
    took_ms = entry.fields.get("took_ms")
    took = f", in {_duration(took_ms)}" if took_ms is not None else ""
    return f"process {entry.fields.get('partner_pid')}{_epoch(entry)}{took}"


def _epoch(entry: Entry) -> str:
    return f", epoch {entry.fields['epoch']}" if "epoch" in entry.fields else ""


def _clients(entry: Entry) -> str:
    count = entry.fields.get("clients")
    return f", after {count} client{'' if count == 1 else 's'} moved elsewhere" if count else ""


def _how(exit_code: Any) -> str:
    """Return how a process ended, as ``waitpid`` told; nothing where it was not our child."""
    if not isinstance(exit_code, int):
        return ""
    if exit_code >= 0:
        return f", exit code {exit_code}"
    try:
        return f", killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f", killed by signal {-exit_code}"


def _duration(milliseconds: Any) -> str:
    if not isinstance(milliseconds, int | float):
        return "an unknown time"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"
