"""``snsctl doctor``: the home, what was generated into it, and what processes left there."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import snsnode
from snsnode import __version__
from snsnode.base import aside, trust
from snsnode.base.errors import ConfigError, SnsError
from snsnode.base.ids import VmName
from snsnode.control.findings import Finding, Patient, fail, ok, warn
from snsnode.control.local import SUPERVISORD_CONF
from snsnode.control.processes import describe
from snsnode.control.supervisords import supervisords_of
from snsnode.node import config as node_config
from snsnode.node import intent
from snsnode.node.config import RoleName
from snsnode.node.lock import SILENT_VERSION, Holder, is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.render import disk, plan, readback, template
from snsnode.supervisord.proxy import Supervisor

SPACE_FAIL_BYTES = 50 * 2**20
SPACE_WARN_BYTES = 2**30
HOLDERS: tuple[RoleName | str, ...] = ("router", "slave", "master", "spare")


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what was found."""
    yield _home(patient.home)
    yield _user()
    yield _sockets(patient)
    if not patient.local:
        return
    yield _generated(patient)
    for name in patient.local:
        vm_dir = VmDir(patient.home / name)
        if (vm_dir.path / SUPERVISORD_CONF).exists():
            yield from _logs(name, vm_dir)
            yield from _left_behind(name, vm_dir)


def existing(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that exists."""
    return path if path.exists() else existing(path.parent)


def _home(home: Path) -> Finding:
    place = existing(home)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return fail("home", f"{place} cannot be written", "give another --home, or change its owner or mode")
    free = shutil.disk_usage(place).free
    detail = f"{home}, {free / 2**30:.1f} GiB free"
    if free < SPACE_FAIL_BYTES:
        return fail("home", detail, "free space on its disk: posts are refused when it is full")
    if free < SPACE_WARN_BYTES:
        return warn("home", detail, "free space on its disk")
    return ok("home", detail)


def _user() -> Finding:
    if os.geteuid() == 0:
        fix = "give the cluster a user of its own, and that user the home: a fault in it is then not the machine's"
        return warn("user", "this is root, and all of the cluster runs as root", fix)
    return ok("user", "not root")


def _logs(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    try:
        trust.check_logs(vm_dir.path)
    except ConfigError as error:
        cause, _, fix = error.message.partition("; ")
        yield fail(f"{name} logs", cause, fix)


def _sockets(patient: Patient) -> Finding:
    try:
        disk.check_home(patient.home, patient.spec.vms)
    except ConfigError as error:
        cause, _, fix = error.message.rpartition("; ")
        return fail("socket paths", cause, fix)
    return ok("socket paths", f"within the {disk.SOCKET_BYTES_MAX} bytes that the system takes")


def _generated(patient: Patient) -> Finding:
    fix = "run 'snsctl generate', then 'snsctl start'"
    try:
        on_disk = disk.read(patient.home)
        changes = plan.plan(patient.spec, template.chosen(patient.template), on_disk, None)
        readback.check_changes(patient.spec, changes, on_disk, patient.home)
    except SnsError as error:
        return fail("generated files", error.message, fix)
    missing = [name for name in patient.local if not (patient.home / name / SUPERVISORD_CONF).exists()]
    if missing:
        return fail("generated files", f"there are none of {', '.join(missing)}", fix)
    if changes:
        differing = ", ".join(dict.fromkeys(change.vm for change in changes))
        return warn("generated files", f"{patient.spec_path} was edited since, which changes {differing}", fix)
    return ok("generated files", f"up to date with {patient.spec_path}")


def _left_behind(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    """Look for what a crash leaves, and for processes with settings of the past."""
    findings = [
        *_holders(name, vm_dir),
        *_supervisord(name, vm_dir),
        *_intents(name, vm_dir),
        *_damaged(name, vm_dir),
    ]
    yield from findings
    if not findings:
        yield ok(f"{name} processes", "no stale lock, pid file or socket")


def _holders(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    for role in HOLDERS:
        holder, live = read_holder(vm_dir, role), live_holder(vm_dir, role)
        if live is None and is_locked(vm_dir, role):
            detail = f"{vm_dir.lock(role)} is held, and no pid file says by whom"
            yield warn(f"{name} {role}", detail, "look again in a second; then find it with 'lslocks' and end it")
        elif holder is not None and live is None:
            detail = f"{vm_dir.pid(role)} names process {holder.identity.pid}, which is gone"
            yield warn(f"{name} {role}", detail, "harmless: the next start replaces it")
        elif live is not None and live.config and role in ("router", "slave", "master"):
            yield from _outdated(name, role, vm_dir, live.config)
        if live is not None and (finding := _old_code(name, role, live)) is not None:
            yield finding


def _old_code(name: VmName, role: str, live: Holder) -> Finding | None:
    """Tell of a process that began before snsnode was installed as it is now."""
    fix = f"run 'snsctl restart --vm {name}'"
    if live.version != __version__:
        return warn(f"{name} {role}", f"runs snsnode {live.version}, and {__version__} is installed", fix)
    began_s = time.time() - live.identity.uptime_s
    if began_s < _changed_s():
        return warn(f"{name} {role}", "runs snsnode as it was before its files were changed", fix)
    return None


@cache
def _changed_s() -> float:
    """Return when the newest of the package's modules was written: by an installation, or an edit."""
    return max(path.stat().st_mtime for path in Path(snsnode.__file__).parent.rglob("*.py"))


def _outdated(name: VmName, role: str, vm_dir: VmDir, digest: str) -> Iterator[Finding]:
    try:
        config = node_config.load(vm_dir.path)
    except ConfigError:
        return  # "generated files" tells
    known: dict[str, RoleName] = {"router": "router", "slave": "slave", "master": "master"}
    if config.digest(known[role]) != digest:
        yield warn(f"{name} {role}", "runs with settings from before the last 'generate'", "run 'snsctl start'")


def _supervisord(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    socket = vm_dir.supervisor_socket
    if not socket.exists() and (running := supervisords_of(vm_dir.path)):
        detail = f"{describe(running[0])} runs, and its {socket} is gone: nobody can ask it"
        yield warn(f"{name} supervisord", detail, "run 'snsctl start': a new one takes over what runs")
    if socket.exists() and not Supervisor(socket).is_running():
        anybody = any(live_holder(vm_dir, role) is not None for role in HOLDERS)
        fix = "run 'snsctl start': a new one takes over what runs" if anybody else "harmless: a start replaces it"
        yield warn(f"{name} supervisord", f"{socket} is there, and nobody answers", fix)
    with contextlib.suppress(SnsError):
        version = Supervisor(socket).plugin_version() or SILENT_VERSION
        if version != __version__:
            detail = f"runs snsnode {version}, and {__version__} is installed"
            yield warn(f"{name} supervisord", detail, f"run 'snsctl restart --vm {name}'")


def _intents(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    if intent.is_paused(vm_dir):
        yield warn(f"{name} pair", "restarting is paused", f"run 'snsctl resume {name}' when you are done")
    if intent.is_drained(vm_dir):
        yield warn(f"{name} server", "it is drained", f"run 'snsctl undrain {name}' when clients may come again")


def _damaged(name: VmName, vm_dir: VmDir) -> Iterator[Finding]:
    kept = [file for folder in vm_dir.folders for file in aside.damaged_files(folder)]
    if kept:
        shown = ", ".join(str(file.relative_to(vm_dir.path)) for file in kept[:5])
        more = f" and {len(kept) - 5} more" if len(kept) > 5 else ""
        detail = f"damaged files were set aside: {shown}{more}"
        yield warn(f"{name} files", detail, f"'snsctl why {name}' says when; look for the cause, then remove them")
