"""The writer thread outlives whatever an operation does."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import Exhausted, StoreFailed
from snsnode.store.sqlite_file import open_writer
from snsnode.store.sqlite_watch import CommitWatch
from snsnode.store.sqlite_writer import Writer

ADD = "INSERT INTO servers VALUES (?, 1)"


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[Writer]:
    db = open_writer(path)
    writer = Writer(db, CommitWatch(db), batch_max=256)
    yield writer
    await writer.close()


async def add(writer: Writer, name: str) -> None:
    await writer.write(lambda db: db.execute(ADD, (name,)).fetchall())


async def names(writer: Writer) -> list[object]:
    return await writer.write(lambda db: [row[0] for row in db.execute("SELECT vm FROM servers").fetchall()])


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("code", "expected"), [(apsw.SQLITE_IOERR_READ, StoreFailed), (apsw.SQLITE_FULL, Exhausted)]
)
async def test_failing_engine_fails_the_batch_as_a_whole_and_the_next_one_works(
    writer: Writer, caplog: pytest.LogCaptureFixture, code: int, expected: type[Exception]
) -> None:
    with caplog.at_level(logging.WARNING):
        answers = await asyncio.gather(
            add(writer, "before"),
            writer.write(lambda _db: fail(apsw.exception_for(code))),
            add(writer, "after"),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {expected}
        await add(writer, "later")
    assert await names(writer) == ["later"]
    refused, accepted = caplog.messages
    assert "refuses writes: cannot write to the store: " in refused
    assert accepted.endswith("takes writes again")


async def test_fault_in_one_operation_is_its_callers_alone(writer: Writer) -> None:
    answers = await asyncio.gather(
        add(writer, "before"),
        writer.write(lambda _db: fail(ZeroDivisionError("a bug"))),
        add(writer, "after"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), StoreFailed, type(None)]
    assert await names(writer) == ["after", "before"]
