"""The embedded engine: one SQLite file in WAL mode, through ``apsw`` (which brings a current SQLite).

Opened by ``engines``; shared by all processes of one machine that serve the same cluster. One thread writes,
with group commit; two read, each by a connection of its own. What is acknowledged survives the death of a
process and of the machine's power, not of its disk. Never open the file with another SQLite library in the same
process: closing its descriptor drops the locks of this one.

Beside this module ``sqlite_file`` opens, ``sqlite_writer`` and ``sqlite_batch`` commit, ``sqlite_reader``
reads; ``sqlite_writes`` and ``sqlite_reads`` hold the operations, ``sqlite_errors`` what an error means.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import apsw

from snsnode.base.ids import Epoch, PostId, RequestId, UserName, VmName
from snsnode.store import sqlite_reads as reads
from snsnode.store import sqlite_writes as writes
from snsnode.store.clock import Clock, machine_clock
from snsnode.store.protocol import TIMELINE_POSTS, History, Login, Page, Post, Posted
from snsnode.store.sqlite_errors import open_error
from snsnode.store.sqlite_file import open_reader, open_writer
from snsnode.store.sqlite_reader import Readers
from snsnode.store.sqlite_watch import CommitWatch
from snsnode.store.sqlite_writer import BATCH_MAX, Writer

READERS = 2  # enough to answer a short read while a long one runs; reads share the interpreter's lock anyway


class SqliteStore:
    """``Store`` over one file. Its methods are documented there."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        """Use ``open``."""
        self._writer = writer
        self._readers = readers
        self._clock = clock

    @classmethod
    async def open(cls, path: Path, *, clock: Clock | None = None, batch_max: int = BATCH_MAX) -> Self:
        """Open the file, made where there is none; nothing else is written before the first write.

        Raises:
            ConfigError: the folder is missing, or the file is not ours, from a newer version or not writable.
            Unavailable, StoreFailed: it is locked, or damaged.
            Exhausted: no room. The first process to open a file needs 32 KiB even to read.
        """
        # Opening waits for whoever migrates the file at the same time.
        writer, commits, readers = await asyncio.to_thread(_connect, path)
        return cls(Writer(writer, commits, batch_max), Readers(readers), clock or machine_clock())

    async def claim_epoch(self, vm: VmName, at_least: Epoch) -> Epoch:
        """As ``Store.claim_epoch``."""
        return await self._writer.write(lambda db: writes.claim_epoch(db, vm, at_least), claims=vm)

    async def login(self, login: Login, lease_s: float) -> bool:
        """As ``Store.login``."""
        return await self._writer.write(lambda db: writes.login(db, self._clock, login, lease_s))

    async def renew(self, logins: Sequence[Login], lease_s: float) -> frozenset[Login]:
        """As ``Store.renew``."""
        if not logins:
            return frozenset()
        return await self._writer.write(lambda db: writes.renew(db, self._clock, logins, lease_s))

    async def logout(self, login: Login) -> None:
        """As ``Store.logout``."""
        await self._writer.write(lambda db: writes.logout(db, login))

    async def follow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """As ``Store.follow``."""
        await self._writer.write(lambda db: writes.follow(db, self._clock, username, followee, request_id))

    async def unfollow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """As ``Store.unfollow``."""
        await self._writer.write(lambda db: writes.unfollow(db, self._clock, username, followee, request_id))

    async def post(self, username: UserName, request_id: RequestId, text: str) -> Posted:
        """As ``Store.post``."""
        return await self._writer.write(lambda db: writes.post(db, self._clock, username, request_id, text))

    async def users(self, after: str, limit: int) -> Page:
        """As ``Store.users``."""
        return await self._readers.read(lambda db: reads.users(db, after, limit))

    async def followers(self, username: UserName, after: str, limit: int) -> Page:
        """As ``Store.followers``."""
        return await self._readers.read(lambda db: reads.followers(db, username, after, limit))

    async def pages(
        self, username: UserName, users_after: str, followers_after: str, limit: int
    ) -> tuple[Page, Page]:
        """As ``Store.pages``: one way to a reader's thread and back."""
        return await self._readers.read(
            lambda db: (reads.users(db, users_after, limit), reads.followers(db, username, followers_after, limit))
        )

    async def history(self, username: UserName, limit: int = TIMELINE_POSTS) -> History:
        """As ``Store.history``."""
        return await self._readers.read(lambda db: reads.history(db, username, limit))

    async def timeline_after(self, username: UserName, after: PostId, limit: int) -> Sequence[Post]:
        """As ``Store.timeline_after``."""
        return await self._readers.read(lambda db: reads.timeline_after(db, username, after, limit))

    async def posts_after(self, after: PostId, limit: int) -> Sequence[Post]:
        """As ``Store.posts_after``."""
        return await self._readers.read(lambda db: reads.posts_after(db, after, limit))

    async def last_post_id(self) -> PostId:
        """As ``Store.last_post_id``."""
        return await self._readers.read(reads.last_post_id)

    async def audience(self, post: Post, among: Sequence[UserName]) -> frozenset[UserName]:
        """As ``Store.audience``."""
        if not among:
            return frozenset()
        return await self._readers.read(lambda db: reads.audience(db, post, among))

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        """As ``Store.watch``."""
        return self._writer.watch(on_posts)

    async def close(self) -> None:
        """As ``Store.close``. The writer goes last: the last connection moves the log into the file."""
        try:
            await self._readers.close()
        finally:
            await self._writer.close()


def _connect(path: Path) -> tuple[apsw.Connection, CommitWatch, list[apsw.Connection]]:
    writer, readers = open_writer(path), []
    try:
        for _ in range(READERS):
            readers.append(open_reader(path))
        return writer, CommitWatch(writer), readers
    except BaseException as error:
        for db in (writer, *readers):
            db.close(force=True)
        if isinstance(error, apsw.Error):  # the first read of a table finds damage that its schema does not show
            raise open_error(error, path) from error
        raise
