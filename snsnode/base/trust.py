"""Whether a home, a store or a template may be used: only where nobody but us decides what is in it.

Called before anything in it is read: by every command, by each role as it begins, and by supervisord's plug-in.
Whoever owns a folder, or may write to it, decides what is run from it; with root that is the whole machine. A
folder above may be anybody's; but where others may write to it and no sticky bit keeps them from it, they could
put another home in the place of ours. A group counts as others only where it has another member: a user's private
group has none. Whoever an access control list names counts too.
"""

import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from snsnode.base.errors import ConfigError

FOLDERS = ("run", "state", "log", "local")  # of a VM
_ACL = "system.posix_acl_access"
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_MASK, _ACL_WRITE = 0x02, 0x04, 0x08, 0x10, 0x02  # linux/posix_acl.h
_ENTRIES_MAX = 10_000  # of one folder: more is nothing of ours, and the look must end

_Found = tuple[Path, os.stat_result]


def check_home(home: Path) -> None:
    """Refuse a home that is not ours alone, with all VMs in it; one that is not there yet is looked at from above.

    Raises:
        ConfigError: it is not, or it cannot be looked into.
    """
    what = f"cannot use the home {home}"
    for _ in _own_folders(home, what):
        for entry in _entries(home, what):
            if stat.S_ISDIR(entry[1].st_mode) or stat.S_ISLNK(entry[1].st_mode):
                _check_vm(entry[0], home, what)
            elif entry[0].name.startswith("."):  # what a command keeps for the next one
                _check_owner(*entry, what)


def check_vm(folder: Path) -> None:
    """Refuse a VM's folder, in its home, that is not ours alone.

    Raises:
        ConfigError: it is not.
    """
    what = f"cannot use {folder}"
    for _ in _own_folders(folder.parent, what):
        _check_vm(folder, folder.parent, what)


def check_logs(folder: Path) -> None:
    """Refuse a VM's folder with a log in it that we may not write.

    Raises:
        ConfigError: there is one; with its owner.
    """
    log = folder / "log"
    for path, status in _entries(log, f"cannot use {log}"):
        _check_owner(path, status, f"cannot write the log {path}")


def check_store(file: Path, side_files: Iterable[str]) -> None:
    """Refuse a SQLite file, what belongs to it, and its folder, where they are not ours alone.

    Raises:
        ConfigError: they are not, or something is no regular file.
    """
    what = f"cannot open the store {file}"
    for _ in _own_folders(file.parent, what):
        for suffix in side_files:
            path = file.with_name(file.name + suffix)
            found = _status(path, what)
            if found is None:
                continue
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{what}: {path} is no regular file; name another one")
            _check_owner(path, found, what)
            _check_mode(path, found, what)


def check_file(path: Path, what: str) -> None:
    """Refuse a file that decides what runs, and is neither ours nor root's alone; ``what`` begins the message.

    Raises:
        ConfigError: it is not.
    """
    _check_above(path, what)
    found = _status(path, what)
    if found is not None:
        if found.st_uid != 0:
            _check_owner(path, found, what)
        _check_mode(path, found, what)


def is_readable(home: Path) -> bool:
    """Tell whether we may look into ``home`` and the VMs in it, or it does not exist."""
    try:
        for entry in list(os.scandir(home)):
            if entry.is_dir():
                os.scandir(entry.path).close()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def owner(status: os.stat_result) -> str:
    """Return the name and number of a file's owner."""
    return _named(status.st_uid)


def _check_vm(folder: Path, home: Path, what: str) -> None:
    if not any(_status(folder / name, what) for name in ("node.json", "supervisord.conf", *FOLDERS)):
        return  # no VM: what else lies in a home is not used
    for place in (folder, *(folder / name for name in FOLDERS)):
        found = _status(place, what)
        if found is None:
            continue
        _check_owner(place, found, what)
        _check_mode(place, found, what)
        if place.name == "log":
            continue  # ours to write (``check_logs``); only ``why`` and people read what is in it
        for path, status in _entries(place, what):
            _check_owner(path, status, what)
            if not stat.S_ISDIR(status.st_mode) and _is_reachable(home, folder):
                _check_mode(path, status, what)


def _is_reachable(*folders: Path) -> bool:
    """Tell whether others may go through all of ``folders``: else the mode of what is in them says nothing."""
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in folders)


def _own_folders(folder: Path, what: str) -> Iterator[None]:
    """Check ``folder`` and what is above it; yield once where it is there to be looked into."""
    _check_above(folder, what)
    found = _status(folder, what)
    if found is not None:
        _check_owner(folder, found, what)
        _check_mode(folder, found, what)
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{what}: {folder} is no folder; move it away")
        yield


def _check_above(path: Path, what: str) -> None:
    """Check that nobody can put something else in the place of ``path``, as it is named and as it really is."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay
    for named in dict.fromkeys((*absolute.parents, *Path(os.path.realpath(path)).parents)):
        try:
            found = named.stat()
        except OSError:
            continue  # it does not exist yet, or we cannot look at it, nor then at what is in it
        if not found.st_mode & stat.S_ISVTX:
            _check_mode(named, found, what)
    for link in (absolute, *absolute.parents):
        if link.is_symlink() and (found := link.lstat()).st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"{what}: the link {link} belongs to {owner(found)}, who may turn it; use its target"
            )


def _entries(folder: Path, what: str) -> list[_Found]:
    found: list[_Found] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # a role has just removed it
                if len(found) > _ENTRIES_MAX:
                    raise ConfigError(f"{what}: {folder} has more than {_ENTRIES_MAX} entries, which are not ours")
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ConfigError(f"{what}: {folder} is no folder; move it away") from None
    except OSError as error:
        raise ConfigError(f"{what}: {folder} cannot be read: {error.strerror}") from None
    return found


def _status(path: Path, what: str) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        who = _named(os.geteuid())
        raise ConfigError(
            f"{what}: {path} cannot be looked at by {who}: {error.strerror}; run this as its owner"
        ) from None


def _check_owner(path: Path, status: os.stat_result, what: str) -> None:
    if status.st_uid != os.geteuid():
        who, us = owner(status), _named(os.geteuid())
        raise ConfigError(
            f"{what}: {path} belongs to {who}, and this is run by {us}; run it as {who.partition(' (')[0]}, or, "
            f"after a look at it, 'chown {os.geteuid()} {path}'"
        )


def _check_mode(path: Path, status: os.stat_result, what: str) -> None:
    """Refuse what others may write to; the sticky bit of a folder is the caller's business."""
    by_group = status.st_mode & stat.S_IWGRP and _others_by_group(path, status.st_gid)
    if stat.S_ISLNK(status.st_mode) or not (by_group or status.st_mode & stat.S_IWOTH):
        return
    raise ConfigError(
        f"{what}: others may write to {path} (mode {stat.S_IMODE(status.st_mode):04o}), and so decide what runs; "
        f"after a look at it, 'chmod go-w {path}'"
    )


def _others_by_group(path: Path, gid: int) -> bool:
    """Tell whether a file's group bits let others write; with an access control list they are only its mask."""
    try:
        content = os.getxattr(path, _ACL)
    except OSError:  # it has none, or its filesystem knows none
        return _is_shared(gid)
    entries = list(struct.iter_unpack("<HHI", content[4:]))  # after the version; acl(5): tag, permissions, id
    mask = next((may for tag, may, _ in entries if tag == _ACL_MASK), _ACL_WRITE)
    writers = [(tag, number) for tag, may, number in entries if may & mask & _ACL_WRITE]
    return (
        any(tag == _ACL_USER and uid not in (0, os.geteuid()) for tag, uid in writers)
        or any(tag == _ACL_GROUP and _is_shared(named) for tag, named in writers)
        or (any(tag == _ACL_GROUP_OBJ for tag, _ in writers) and _is_shared(gid))
    )


def _is_shared(gid: int) -> bool:
    """Tell whether a group has a member other than us and root; one without a name has none if we are in it."""
    try:
        members = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(gid).gr_mem if _is_known(name)}
    except KeyError:
        return gid not in (os.getegid(), *os.getgroups())
    members |= {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    return bool(members - {0, os.geteuid()})


def _is_known(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _named(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
