"""What an examination by ``snsctl doctor`` takes and gives: shared by its parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snsnode.base.ids import VmName
from snsnode.spec.model import Spec

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do about it (empty where all is well)."""

    level: Level
    what: str
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the spec and the home as this machine has them; ``local`` are the VMs that live here."""

    spec: Spec
    spec_path: Path
    home: Path  # absolute
    local: tuple[VmName, ...]
    template: Path | None = None  # None is the installed one


def ok(what: str, detail: str) -> Finding:
    """All is well."""
    return Finding("ok", what, detail)


def warn(what: str, detail: str, fix: str) -> Finding:
    """It works, and is likely to hurt."""
    return Finding("warn", what, detail, fix)


def fail(what: str, detail: str, fix: str) -> Finding:
    """It does not, or will not, work."""
    return Finding("FAIL", what, detail, fix)
