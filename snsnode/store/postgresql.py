"""The engine for several machines: PostgreSQL, through ``asyncpg`` (the extra ``snsnode[postgresql]``).

Opened by ``engines``; shared by all processes of all machines that serve the same cluster. What is acknowledged
survives the death of a process and of the machine's power, and with a synchronous standby that of the database's
machine.

Beside this module ``postgresql_url`` reads the URL, ``postgresql_connect`` finds the primary among the hosts
(decided in ``postgresql_choice``), ``postgresql_session`` replaces lost connections, ``postgresql_writer``
commits, ``postgresql_reads`` reads, ``postgresql_listen`` hears of posts; ``postgresql_writes`` holds what is
written, ``postgresql_schema`` the migrations, ``postgresql_errors`` what an error means. The functions that the
writer calls are in ``sql/postgresql``.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

from snsnode.base.errors import ConfigError, Exhausted, SnsError, Unavailable
from snsnode.base.ids import Epoch, PostId, RequestId, UserName, VmName
from snsnode.store import postgresql_reads as reads
from snsnode.store import postgresql_writes as writes
from snsnode.store.postgresql_connect import Connected, Connector, is_shared, limited
from snsnode.store.postgresql_errors import DRIVER_ERRORS, POOLED, final_error
from snsnode.store.postgresql_listen import Listener
from snsnode.store.postgresql_schema import awaits_additions, migrate_in_time, refuse_newer, version
from snsnode.store.postgresql_session import COMMAND_S, PATIENCE_S, Session
from snsnode.store.postgresql_url import parse_url
from snsnode.store.postgresql_writer import BATCH_MAX, Incarnation, Lane
from snsnode.store.protocol import TIMELINE_POSTS, History, Login, Page, Post, Posted
from snsnode.store.statements import migrations, statements

_SQL = statements("postgresql")
_log = logging.getLogger(__name__)


class PostgresqlStore:
    """``Store`` over a database. Its methods are documented there."""

    def __init__(self, connector: Connector, first: Connected, batch_max: int) -> None:
        """Use ``open``."""
        self._connector = connector
        session = Session(connector, "write to")
        session.adopt(first)
        self._posts = Lane(session, _send_posts, batch_max)
        self._others = Lane(Session(connector, "write to"), _send_others, batch_max)
        self._readers = reads.Readers(connector)
        self._listener = Listener(connector)

    @classmethod
    async def open(cls, url: str, home: Path, *, batch_max: int = BATCH_MAX) -> Self:
        """Connect, and bring the schema to this version.

        Raises:
            ConfigError: the URL, the server, the database or its schema cannot be used before somebody acts.
            Unavailable, StoreFailed: no host takes writes now, or the server fails.
        """
        connector = Connector(parse_url(url, home))
        first = await connector.connect()
        try:
            await migrate_in_time(first.connection, f"the store {connector.target}")
        except BaseException:
            first.connection.terminate()
            raise
        if not first.fsync:
            _log.warning("the store at %s runs with fsync off: a loss of power may lose posts", first.host)
        return cls(connector, first, batch_max)

    async def claim_epoch(self, vm: VmName, at_least: Epoch) -> Epoch:
        """As ``Store.claim_epoch``."""
        # Both lanes rest: what they send next is of the new incarnation, and nothing of the old one is under way.
        async with self._posts.gate, self._others.gate:
            self._posts.settled = self._others.settled = False
            self._posts.unsettled = self._others.unsettled = Unavailable
            session = self._others.session
            try:
                claimed = await session.run(
                    lambda db: db.fetchval(_SQL["claim"], vm, at_least), time.monotonic() + PATIENCE_S
                )
            except (SnsError, *DRIVER_ERRORS) as error:
                failure = error if isinstance(error, SnsError) else final_error(error, "write to")
                full = isinstance(failure, Exhausted)
                self._posts.unsettled = self._others.unsettled = Exhausted if full else Unavailable
                raise failure from error
            epoch = Epoch(claimed)
            self._posts.incarnation = self._others.incarnation = Incarnation(vm, epoch)
            self._posts.settled = self._others.settled = True
            return epoch

    async def login(self, login: Login, lease_s: float) -> bool:
        """As ``Store.login``."""
        writes.checked(*login)
        return cast(bool, await self._others.write(writes.login(login, lease_s)))

    async def renew(self, logins: Sequence[Login], lease_s: float) -> frozenset[Login]:
        """As ``Store.renew``."""
        if not logins:
            return frozenset()
        writes.checked(*(text for login in logins for text in login))
        return cast("frozenset[Login]", await self._others.write(writes.renew(tuple(logins), lease_s)))

    async def logout(self, login: Login) -> None:
        """As ``Store.logout``."""
        writes.checked(*login)
        await self._others.write(writes.logout(login))

    async def follow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """As ``Store.follow``."""
        writes.checked(username, followee, request_id)
        await self._others.write(writes.follow(username, followee, request_id))

    async def unfollow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        """As ``Store.unfollow``."""
        writes.checked(username, followee, request_id)
        await self._others.write(writes.unfollow(username, followee, request_id))

    async def post(self, username: UserName, request_id: RequestId, text: str) -> Posted:
        """As ``Store.post``."""
        writes.checked(username, request_id, text)
        posted = cast(Posted, await self._posts.write(writes.PostRow(username, request_id, text)))
        self._listener.hint()
        return posted

    async def users(self, after: str, limit: int) -> Page:
        """As ``Store.users``."""
        return reads.page(await self._readers.fetch("users", after, limit + 1), limit)

    async def followers(self, username: UserName, after: str, limit: int) -> Page:
        """As ``Store.followers``."""
        return reads.page(await self._readers.fetch("followers", username, after, limit + 1), limit)

    async def pages(
        self, username: UserName, users_after: str, followers_after: str, limit: int
    ) -> tuple[Page, Page]:
        """As ``Store.pages``."""
        return await self.users(users_after, limit), await self.followers(username, followers_after, limit)

    async def history(self, username: UserName, limit: int = TIMELINE_POSTS) -> History:
        """As ``Store.history``."""
        return reads.history(await self._readers.fetch("history", username, limit))

    async def timeline_after(self, username: UserName, after: PostId, limit: int) -> Sequence[Post]:
        """As ``Store.timeline_after``."""
        return reads.posts(await self._readers.fetch("timeline_after", username, after, limit))

    async def posts_after(self, after: PostId, limit: int) -> Sequence[Post]:
        """As ``Store.posts_after``."""
        return reads.posts(await self._readers.fetch("posts_after", after, limit))

    async def last_post_id(self) -> PostId:
        """As ``Store.last_post_id``."""
        ((newest,),) = await self._readers.fetch("last_post_id")
        return PostId(newest)

    async def audience(self, post: Post, among: Sequence[UserName]) -> frozenset[UserName]:
        """As ``Store.audience``."""
        if not among:
            return frozenset()
        rows = await self._readers.fetch("audience", list(among), post.username, post.post_id)
        return frozenset(UserName(row[0]) for row in rows)

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        """As ``Store.watch``."""
        return self._listener.watch(on_posts)

    async def close(self) -> None:
        """As ``Store.close``: at most for the patience of what is queued."""
        try:
            await self._listener.close()
        finally:
            async with asyncio.TaskGroup() as group:
                for part in (self._posts, self._others, self._readers):
                    group.create_task(part.close(), name="store-close")


async def probe(url: str, home: Path) -> str:
    """Return what ``snsctl doctor`` says of a store that works; nothing is changed.

    Raises:
        ConfigError, Unavailable, StoreFailed: as ``PostgresqlStore.open``.
    """
    connector = Connector(parse_url(url, home))
    what, latest = f"the store {connector.target}", migrations("postgresql")[-1].number
    first = await connector.connect()
    overdue = Unavailable(f"cannot read {what}: its server said nothing for {COMMAND_S:g} s; try again")
    try:
        if await is_shared(connector, first):
            raise ConfigError(f"cannot use {what}: {first.host} {POOLED}")
        with limited(first.connection, COMMAND_S, overdue):
            found = await version(first.connection)
            refuse_newer(found, what)
            adds = found == latest and await awaits_additions(first.connection, what)
    except DRIVER_ERRORS as error:
        raise final_error(error, "read") from error
    finally:
        first.connection.terminate()
    server = f"{first.host} takes writes, PostgreSQL {first.version // 10_000}.{first.version % 10_000}"
    if found < latest:
        return f"{server}, schema {found}: brought to {latest} at the next start"
    if adds:
        return f"{server}, schema {found}: this version's additions are made at the next start"
    return f"{server}, schema {found}{'' if first.fsync else ', with fsync off: a loss of power may lose posts'}"


async def _send_posts(db: Any, by: Incarnation, rows: Sequence[writes.PostRow]) -> Sequence[object]:
    authors, request_ids, texts = (list(column) for column in zip(*rows, strict=True))
    found = await db.fetch(_SQL["post"], by.vm, by.epoch, authors, request_ids, texts)
    return [_answer(writes.posted, row, *record) for row, record in zip(rows, found, strict=True)]


async def _send_others(db: Any, by: Incarnation, requests: Sequence[writes.Request]) -> Sequence[object]:
    asked = json.dumps([request.row for request in requests])
    answers = json.loads(await db.fetchval(_SQL["write"], by.vm, by.epoch, asked))
    return [_answer(request.read, answer) for request, answer in zip(requests, answers, strict=True)]


def _answer(read: Callable[..., object], *arguments: Any) -> object:
    """Return what ``read`` returns, or the refusal that it raises."""
    try:
        return read(*arguments)
    except SnsError as refusal:
        return refusal
