"""Small files: old or new, never half-written."""

import errno
import os
from pathlib import Path

import pytest

from snsnode.base import aside
from snsnode.node.durable import RECORD_BYTES, write_record, write_text
from tests.full_disk import small_disk


def test_text_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("one", "twö", ""):
        write_text(path, text, fsync=True)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_not_write_to_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_text(tmp_path / "file", "text", fsync=False)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_reader_of_the_old_file_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old", fsync=False)
    with path.open() as reader:
        write_text(path, "new", fsync=False)
        assert reader.read() == "old"


def test_a_full_disk_leaves_the_old_text_and_no_other_file() -> None:
    with small_disk() as disk:
        path = disk.folder / "file"
        write_text(path, "old", fsync=False)
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "new", fsync=True)
        assert path.read_text() == "old"
        assert sorted(file.name for file in disk.folder.iterdir()) == ["ballast", "file"]


@pytest.mark.parametrize("fsync", [True, False])
def test_a_record_is_replaced_on_a_full_disk(fsync: bool) -> None:
    with small_disk() as disk:
        path = disk.folder / "record"
        write_record(path, "a long record of long ago\n", fsync=fsync)
        disk.fill()
        write_record(path, "new\n", fsync=fsync)
        assert path.read_text().strip() == "new"
        assert path.stat().st_size == RECORD_BYTES
        assert sorted(file.name for file in disk.folder.iterdir()) == ["ballast", "record"]


def test_a_new_record_needs_room() -> None:
    with small_disk() as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            write_record(disk.folder / "record", "new\n", fsync=False)


def test_other_failures_are_told(tmp_path: Path) -> None:
    with pytest.raises(OSError) as failed:
        write_record(tmp_path / "missing" / "record", "x", fsync=False)
    assert failed.value.errno == errno.ENOENT


def test_a_folder_in_the_files_place_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    write_text(tmp_path / "file", "x", fsync=False)
    assert (tmp_path / "file").read_text() == "x"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "file.damaged-1"]


def test_on_a_full_disk_a_record_takes_the_block_of_a_damaged_one() -> None:
    with small_disk() as disk:
        record = disk.folder / "record"
        write_record(record, "damaged", fsync=False)
        disk.fill()
        aside.set_aside(record, "it is no number")
        write_record(record, "new", fsync=False)
        assert record.read_text().strip() == "new"
        assert list(disk.folder.glob("record*")) == [record]
