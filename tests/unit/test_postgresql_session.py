"""What a command's last error says of it, where an earlier try may have been stored."""

import time
from typing import Any

import asyncpg
import pytest

from snsnode.base.errors import Exhausted, Unavailable
from snsnode.store.postgresql_session import Session

LOST = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
FULL = asyncpg.DiskFullError("no room")
READ_ONLY = asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction")


class Line:
    """A connection that does nothing."""

    def add_log_listener(self, _: Any) -> None: ...

    def terminate(self) -> None: ...

    def is_closed(self) -> bool:
        return False


class Opened:
    connection = Line()


class Lines:
    """Opens lines, as ``Connector`` does."""

    async def connect(self) -> Any:
        return Opened()

    def is_stale(self, _: Any) -> bool:
        return False


async def outcome(*errors: Exception) -> Exception:
    """Return what a command raises whose tries end with ``errors``, the last one for good."""
    left = list(errors)

    async def ask(_: Any) -> None:
        raise left.pop(0) if len(left) > 1 else left[0]

    connector: Any = Lines()
    with pytest.raises(Exception) as caught:
        await Session(connector, "write to").run(ask, time.monotonic() + 0.5)
    return caught.value


async def test_full_disk_at_the_first_try_is_the_last_word() -> None:
    assert isinstance(await outcome(FULL), asyncpg.DiskFullError)


async def test_full_disk_after_a_lost_answer_is_not() -> None:
    """The first try may have been stored: who is told that nothing was would post again, under another id."""
    error = await outcome(LOST, FULL)
    assert isinstance(error, Unavailable)
    assert "no room" in error.message


async def test_read_only_is_the_last_word_however_often_it_is_said() -> None:
    assert isinstance(await outcome(READ_ONLY), Exhausted)
    assert isinstance(await outcome(LOST, READ_ONLY), Unavailable)
