"""``snsctl doctor``: this machine's Python, packages, kernel, clocks and limits."""

import contextlib
import os
import re
import resource
import struct
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import snsnode
from snsnode.control.findings import Finding, fail, ok, warn
from snsnode.node.process import boot_id

PYTHON_MIN = (3, 11)
KERNEL_FIX = "run it on Linux 5.3 or later, with /proc mounted"
OPEN_FILES_MIN = 4096
YEAR_MIN = 2024  # a clock that is behind this was never set

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<bounds>[^;]*)(?P<marker>;.*)?")
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")


def examine() -> Iterator[Finding]:
    """Yield what was found."""
    yield _python()
    yield from _packages(metadata.requires("snsnode") or [])
    yield _compiled(Path(snsnode.__file__).parent)
    yield _kernel()
    yield _locks(Path("/proc/locks"))
    yield _clock(time.time())
    yield _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_MIN:
        return fail("python", version, "use Python 3.11 or later")
    return ok("python", f"{version}, {sys.executable}")


def _packages(requirements: list[str]) -> Iterator[Finding]:
    good: list[str] = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match["marker"]:
            continue  # of an extra
        try:
            version = metadata.version(match["name"])
        except metadata.PackageNotFoundError:
            yield fail("packages", f"{match['name']} is not installed", "install snsnode again: pip install -e .")
            continue
        if not _is_within(version, match["bounds"]):
            yield fail(
                "packages",
                f"{match['name']} {version} is not {match['bounds'].strip()}",
                "install snsnode again: pip install -e .",
            )
            continue
        good.append(f"{match['name']} {version}")
    if good:
        yield ok("packages", ", ".join(good))


def _is_within(version: str, bounds: str) -> bool:
    """Tell whether ``version`` keeps the ``>=`` and ``<`` in ``bounds``; other operators are pip's business."""
    return all(
        (_numbers(version) >= _numbers(bound)) == (operator == ">=") for operator, bound in _BOUND.findall(bounds)
    )


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _compiled(package: Path) -> Finding:
    """Look for modules that each process compiles anew: pip compiles what it installs, but nobody a checkout."""
    sources = [path for path in package.rglob("*.py") if not _is_compiled(path)]
    if sources and (sys.dont_write_bytecode or not os.access(package, os.W_OK)):
        return warn(
            "compiled modules",
            f"{len(sources)} of snsnode's are missing or out of date, and Python may not store them: each process "
            "that starts, so each recovery without a spare, takes some 0.1 s longer",
            f"{sys.executable} -P -m compileall -q {package}, as a user who may write there",
        )
    return ok("compiled modules", "none is compiled twice")


def _is_compiled(source: Path) -> bool:
    """Compare the source with what its compiled module was made from (PEP 552); one with a hash is believed."""
    try:
        stat = source.stat()
        header = Path(cache_from_source(str(source))).read_bytes()[:16]
        magic, flags, mtime, size = struct.unpack("<4sIII", header)
    except (OSError, struct.error):
        return False
    made_from_it = (mtime, size) == (int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    return bool(magic == MAGIC_NUMBER and (flags or made_from_it))


def _kernel() -> Finding:
    release = os.uname().release
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return fail("kernel", f"{release} has no pidfd, by which a partner's death is noticed", KERNEL_FIX)
    return ok("kernel", f"{release}, with pidfd")


def _locks(table: Path) -> Finding:
    try:
        table.read_text()
    except OSError as error:
        return fail("locks", f"{table} cannot be read: {error.strerror}", KERNEL_FIX)
    return ok("locks", f"{table} tells who holds which")


def _clock(now_s: float) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if time.gmtime(now_s).tm_year < YEAR_MIN:
        return warn("clock", shown, "set it: posts and logs carry its time")
    uptime_s: float | None = None
    with contextlib.suppress(OSError):
        boot_id()
        uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    if uptime_s is None:
        return fail("clock", "the boot id or the boot clock cannot be read", KERNEL_FIX)
    return ok("clock", f"{shown}, {uptime_s / 3600:.1f} h since boot")


def _open_files(hard: int) -> Finding:
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        return warn(
            "open files",
            f"the hard limit is {hard}, and each client takes one or two",
            f"raise it to {OPEN_FILES_MIN} or more: 'ulimit -Hn', or LimitNOFILE= in a systemd unit",
        )
    return ok("open files", f"up to {'any number' if hard == resource.RLIM_INFINITY else hard}")
