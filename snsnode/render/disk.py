"""The home on disk: what is there, and the writing of planned changes, all or none of each file.

Called by ``cli``; the only part of this room that writes.
"""

import errno
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from snsnode.base import aside, reading
from snsnode.base.errors import ConfigError, Exhausted, SnsError
from snsnode.base.ids import VmName, shown
from snsnode.node.durable import sync_folder
from snsnode.node.paths import VmDir
from snsnode.render.plan import FILENAMES, Change

FILE_BYTES_MAX = 1 << 22
# sun_path holds 108 bytes, the last a zero. supervisord binds FILE.PID first; a pid has up to 7 digits.
SOCKET_BYTES_MAX = 107 - len(".4194304")

_STAGED = re.compile(rf"\.(?:{'|'.join(map(re.escape, FILENAMES))})\.(\d+)\.\w+\.tmp")
_VM_FOLDER = re.compile(r"[a-z][a-z0-9-]{0,31}")


def read(home: Path) -> dict[str, str]:
    """Return what ``generate`` wrote to ``home`` earlier: texts by path relative to it; none for a new home.

    Bytes that are no UTF-8 come back as surrogates, so that they differ from everything that is planned.

    Raises:
        SnsError: something there cannot be read.
    """
    texts: dict[str, str] = {}
    try:
        folders = sorted(path for path in home.iterdir() if _VM_FOLDER.fullmatch(path.name) and path.is_dir())
    except FileNotFoundError:
        return texts
    except OSError as error:
        raise _cannot("read", home, error) from None
    for folder in folders:
        for name in FILENAMES:
            path = folder / name
            try:
                content = reading.read_bytes(path, FILE_BYTES_MAX)
                texts[f"{folder.name}/{name}"] = content.decode(errors="surrogateescape")
            except FileNotFoundError:
                continue
            except reading.Damaged as error:
                texts[f"{folder.name}/{name}"] = f"\udcff ({error})\n"  # differs from all that is planned
            except OSError as error:
                raise _cannot("read", path, error) from None
    return texts


def check_home(home: Path, names: Iterable[VmName]) -> None:
    """Check that supervisord can work in ``home``, wherever it is started from.

    Raises:
        ConfigError: the socket's path is longer than the system takes, or holds what supervisord cannot.
    """
    absolute = Path(os.path.abspath(home))  # noqa: PTH100 - as supervisord does, which leaves links alone
    if "%" in str(absolute) or not str(absolute).isprintable():
        raise ConfigError(
            f"cannot use the home {shown(str(absolute))}: supervisord takes no '%' and no control "
            "characters in paths; give another --home"
        )
    for name in names:
        socket = VmDir(absolute / name).supervisor_socket
        size = len(os.fsencode(socket))
        if size > SOCKET_BYTES_MAX:
            raise ConfigError(
                f"cannot use the home {absolute}: {name}'s socket path in it has {size} bytes, the limit is "
                f"{SOCKET_BYTES_MAX}; give a --home that is at least {size - SOCKET_BYTES_MAX} bytes shorter"
            )


def write(home: Path, changes: Collection[Change], names: Iterable[VmName]) -> None:
    """Bring ``changes`` to disk, and make the folders of the VMs ``names``.

    Every new text is on the disk in full before the first file is replaced: a full disk leaves all as it was.

    Raises:
        SnsError: something cannot be written.
    """
    _remove_stale(home)
    made: list[Path] = []
    staged: list[tuple[Path, Path]] = []
    done = False
    try:
        _make_folders(home, names, made)
        for change in changes:
            if change.after is not None:
                _stage(home / change.path, change.after, staged)
        _commit(home, changes, staged, made)
        done = True
    except OSError as error:
        raise _cannot("write", home, error) from None
    finally:
        if not done:
            _undo(staged, made)


def _remove_stale(home: Path) -> None:
    """Remove what a run left that was killed between writing its files and naming them."""
    with suppress(OSError):
        for path in home.glob("*/.*.tmp"):
            match = _STAGED.fullmatch(path.name)
            if match and not Path("/proc", match[1]).exists():
                with suppress(OSError):
                    path.unlink()


def _make_folders(home: Path, names: Iterable[VmName], made: list[Path]) -> None:
    folders = [home]
    for name in names:
        vm_dir = VmDir(home / name)
        folders += [vm_dir.path, vm_dir.run, vm_dir.state, vm_dir.log("slave").parent, vm_dir.local]
    for folder in folders:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
            made.append(folder)


def _stage(target: Path, text: str, staged: list[tuple[Path, Path]]) -> None:
    prefix = f".{target.name}.{os.getpid()}."  # by the pid the next run sees whether we are still at work
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=target.parent)
    staged.append((Path(temporary), target))
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _commit(
    home: Path, changes: Collection[Change], staged: Iterable[tuple[Path, Path]], made: Collection[Path]
) -> None:
    for temporary, target in staged:
        aside.clear_way(target)
        temporary.replace(target)
    for change in changes:
        if change.after is None:
            aside.clear_way(home / change.path)
            (home / change.path).unlink(missing_ok=True)
    touched = {(home / change.path).parent for change in changes} | {folder.parent for folder in made}
    for folder in sorted(touched):
        sync_folder(folder)


def _undo(staged: Iterable[tuple[Path, Path]], made: Sequence[Path]) -> None:
    for temporary, _ in staged:
        with suppress(OSError):
            temporary.unlink()
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _cannot(verb: str, path: Path, error: OSError) -> SnsError:
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
    kind = Exhausted if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else SnsError
    return kind(f"cannot {verb} {named}: {error.strerror}")
