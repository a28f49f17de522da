"""``snsctl doctor``: whether the store can be opened. A SQLite file is only read."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

from snsnode.base.errors import SnsError
from snsnode.control.doctor_home import existing
from snsnode.control.findings import Finding, Patient, fail, ok, warn

# A file there is written by several machines' kernels, and SQLite's locks do not hold across all of them.
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs")
MOUNTS = Path("/proc/self/mountinfo")
INTEGRITY_WITHIN_S = 10.0  # some gigabytes; an examination must end


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what was found."""
    if not any(patient.spec.vms[name].server is not None for name in patient.local):
        return
    if patient.spec.is_sqlite:
        path = patient.home / patient.spec.store.partition("://")[2].removeprefix("/")
        yield from _file(path, patient.home)
        yield _folder(path.parent)
    else:
        yield _engine(patient)


def _engine(patient: Patient) -> Finding:
    from snsnode.store.engines import examine_postgresql

    try:
        return ok("store", asyncio.run(examine_postgresql(patient.spec.store, patient.home)))
    except SnsError as error:
        return fail("store", error.message, f"mend it, or change store in {patient.spec_path}")


def _file(path: Path, home: Path) -> Iterator[Finding]:
    from snsnode.store.engines import check_sqlite_files
    from snsnode.store.sqlite_backup import faults
    from snsnode.store.sqlite_file import checked_version, open_reader

    if not path.exists() and (path.parent.exists() or path.parent == home):
        yield ok("store", f"{path} is made at the first start")
        return
    if not path.exists():
        yield fail(
            "store", f"there is no folder {path.parent}", "make it: a start makes the home, and no folder in it"
        )
        return
    try:
        check_sqlite_files(path)
        db = open_reader(path)
        try:
            yield _schema(path, checked_version(db, path))
            wrong = faults(db, INTEGRITY_WITHIN_S)
        finally:
            db.close()
    except SnsError as error:
        yield fail("store", error.message, "see the message; a copy of the file is worth having first")
        return
    if wrong is None:
        yield ok("store integrity", f"no fault found in {INTEGRITY_WITHIN_S:.0f} s; 'snsctl backup' checks it all")
    elif wrong:
        yield fail("store integrity", f"{path} is damaged: {'; '.join(wrong)}", "stop, and restore a backup")
    else:
        yield ok("store integrity", "checked, no fault")


def _schema(path: Path, version: int) -> Finding:
    from snsnode.store.statements import migrations

    latest = migrations("sqlite")[-1].number
    if version < latest:
        return ok("store", f"{path}, schema {version}: brought to {latest} at the next start")
    return ok("store", f"{path}, schema {version}, {path.stat().st_size / 2**20:.1f} MiB")


def _folder(folder: Path) -> Finding:
    place = existing(folder)
    if not os.access(place, os.W_OK | os.X_OK):
        return fail("store folder", f"{place} cannot be written", "change its owner or mode: SQLite needs to")
    kind = filesystem(place, MOUNTS.read_text())
    if kind in NETWORK:
        fix = "put the store on a local disk; several machines share a store through an engine with a server"
        return warn("store folder", f"{place} is on a network filesystem ({kind})", fix)
    return ok("store folder", f"{place} is writable, on {kind}")


def filesystem(place: Path, mounts: str) -> str:
    """Return the type of the filesystem that holds ``place``; ``mounts`` is the text of mountinfo, proc(5)."""
    resolved = place.resolve()
    best, kind = -1, "an unknown filesystem"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        # Spaces and the like are written as \\040.
        point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind
