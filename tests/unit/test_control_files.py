"""Which files a command that writes one replaces: regular ones, and nothing else that has a name."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snsnode.base.errors import UsageError
from snsnode.control.backup import check_place
from snsnode.control.files import why_not_writable
from snsnode.control.store_copy import move
from snsnode.store.engines import SIDE_FILES

KINDS = {
    "folder": "a folder",
    "pipe": "a named pipe",
    "socket": "a socket",
    "device": "a device",
    "lost": "a link",
}


@contextmanager
def special(kind: str, path: Path) -> Iterator[None]:
    """Make what is no regular file at ``path``; a device behind a link, which any user can make."""
    with socket.socket(socket.AF_UNIX) as bound:
        match kind:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "socket":
                bound.bind(os.path.relpath(path))
            case "device":
                path.symlink_to("/dev/null")
            case "lost":
                path.symlink_to("nowhere")
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", SIDE_FILES)
def test_backup_replaces_no_special_file_even_by_force(kind: str, suffix: str, tmp_path: Path) -> None:
    source, file = tmp_path / "sns.db", tmp_path / "copy.db"
    source.touch()
    with special(kind, tmp_path / f"copy.db{suffix}"):
        for force in (True, False):
            with pytest.raises(UsageError, match=f"is {KINDS[kind]}"):
                check_place(source, file, force=force)


@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_link_it_is_the_same(kind: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target")
    with special(kind, tmp_path / "target"):
        assert why_not_writable(link).startswith(KINDS[kind])


def test_a_regular_file_and_a_free_name_are_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert [why_not_writable(tmp_path / name) for name in ("file", "link", "free")] == ["", "", ""]


@pytest.mark.parametrize("suffix", SIDE_FILES)
def test_backup_replaces_no_link_even_by_force(suffix: str, tmp_path: Path) -> None:
    """/dev/stdout is one; where it leads to a regular file, the machine would lose the link."""
    (tmp_path / "sns.db").touch()
    (tmp_path / "target").touch()
    (tmp_path / f"copy.db{suffix}").symlink_to("target")
    for force in (True, False):
        with pytest.raises(UsageError, match=f"is a link to '?{tmp_path / 'target'}"):
            check_place(tmp_path / "sns.db", tmp_path / "copy.db", force=force)


async def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sns.db").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="is a link that leads nowhere"):
        check_place(tmp_path / "sns.db", tmp_path / "loop", force=True)
    with pytest.raises(UsageError, match="is a link that leads nowhere"):
        await move("sqlite:///sns.db", "sqlite:///loop", tmp_path, lambda _: None)


@pytest.mark.parametrize("kind", KINDS)
async def test_store_copy_writes_into_no_special_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "sns.db").touch()
    with special(kind, tmp_path / "new.db"), pytest.raises(UsageError, match=f"is {KINDS[kind]}"):
        await move("sqlite:///sns.db", "sqlite:///new.db", tmp_path, lambda _: None)
