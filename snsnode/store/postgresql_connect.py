"""Connections to the one database server, of several, that takes writes.

Called by the sessions of the PostgreSQL engine. Each host is asked in parallel, with a limit of its own (the
driver's own list of hosts has one limit over all of them, so that a hung host hides the one behind it);
``postgresql_choice`` decides. Never holds a password: the driver reads it from its file at every connection.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from snsnode.base import trust
from snsnode.base.errors import ConfigError, SnsError, Unavailable
from snsnode.store.postgresql_choice import GRACE_S, Answer, choose, none_found
from snsnode.store.postgresql_errors import DRIVER_ERRORS, connect_error
from snsnode.store.postgresql_url import Host, Target
from snsnode.store.statements import statements

CONNECT_S = 1.0  # of one host: the network, the login and the first question
VERSION_MIN = 14_00_00  # the oldest that is still maintained, and the first that notices a client that is gone

_SQL = statements("postgresql")
# Every statement seeks in an index: a plan that was made while the tables were small must not scan later.
_PLANS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
CUT_S = 1.0  # a COPY that waits for room to send does not hear that its connection was cut
_SETTINGS = {
    **_PLANS,
    # A statement that waited for a lock must see what was committed meanwhile.
    "default_transaction_isolation": "read committed",
    # A time-out of the server's would end the wait for a standby, and acknowledge what only one machine has.
    "statement_timeout": "0",
}
# Set after connecting: a pooler such as PgBouncer refuses a session that brings them along. Its name it may bring.
_SET = "; ".join(f"SET {name} = '{value}'" for name, value in _SETTINGS.items())
_NAMED = {"application_name": "snsnode"}


@dataclass(frozen=True, slots=True)
class Connected:
    """An open connection, and what its server said of itself."""

    connection: Any
    host: Host
    timeline: int
    version: int
    fsync: bool


@contextmanager
def limited(connection: Any, within_s: float, overdue: SnsError) -> Iterator[None]:
    """Cut ``connection`` where the block, which uses it in this task, takes longer, and raise ``overdue``.

    Not asyncio.timeout: a cancelled transaction first waits for a word of the server, which may never come.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    cut = cancelled = False
    timers: list[asyncio.TimerHandle] = []

    def cut_it() -> None:
        nonlocal cut
        cut = True
        connection.terminate()
        timers.append(loop.call_later(CUT_S, cancel))

    def cancel() -> None:
        nonlocal cancelled
        cancelled = task.cancel()

    timers.append(loop.call_later(within_s, cut_it))
    try:
        yield
    except BaseException:
        if cancelled:
            task.uncancel()
        if cut:
            raise overdue from None
        raise
    finally:
        for timer in timers:
            timer.cancel()


class Connector:
    """Opens connections to the primary, and remembers the newest timeline."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._timeline = 0

    def is_stale(self, connected: Connected) -> bool:
        """Tell whether its server was replaced, as another connection found out since."""
        return connected.timeline < self._timeline

    async def connect(self) -> Connected:
        """Open a connection to the primary.

        Raises:
            ConfigError: no host lets this user in, or what it has there cannot be used.
            Unavailable: no host takes writes now.
        """
        _check_passfile(self.target)
        opened: dict[Host, Connected] = {}
        tasks = [asyncio.create_task(self._ask(host, opened), name=f"ask-{host}") for host in self.target.hosts]
        chosen: Connected | None = None
        try:
            answers = await self._answers(tasks)
            answer = choose(answers, self._timeline)
            if answer is None:
                raise none_found(self.target, answers, self._timeline)
            self._timeline = max(self._timeline, answer.timeline)
            chosen = opened[answer.host]
            return chosen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _close(each for each in opened.values() if each is not chosen)

    async def _answers(self, tasks: Sequence[asyncio.Task[Answer]]) -> list[Answer]:
        """Return the answers that came in time: all of them, where none is a primary."""
        pending: set[asyncio.Task[Answer]] = set(tasks)
        answers: list[Answer] = []
        timeout_s: float | None = None
        while pending:
            done, pending = await asyncio.wait(pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            answers += [task.result() for task in done]
            if not done:
                break
            if choose(answers, self._timeline) is not None:
                timeout_s = GRACE_S
        return answers

    async def _ask(self, host: Host, opened: dict[Host, Connected]) -> Answer:
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await self._open(host)
                try:
                    await connection.execute(_SET)
                    row = await connection.fetchrow(_SQL["introduce"])
                    _check_server(row)
                except BaseException:
                    connection.terminate()
                    raise
        except SnsError as error:
            return Answer(host, failure=error)
        except (*DRIVER_ERRORS, ValueError) as error:
            by_network = bool(host.address) and not host.address.startswith("/")
            return Answer(host, failure=connect_error(error, CONNECT_S, by_network=by_network))
        opened[host] = Connected(connection, host, row["timeline"], row["version"], row["fsync"] == "on")
        return Answer(host, 0 if row["standby"] else row["timeline"])

    async def _open(self, host: Host) -> Any:
        target = self.target
        return await asyncpg.connect(
            f"postgresql:///?{target.tls}" if target.tls else None,
            host=host.address or None,
            port=host.port,
            user=target.user,
            database=target.database,
            passfile=str(target.passfile) if target.passfile else None,
            server_settings=_NAMED,
            timeout=CONNECT_S,
            max_cached_statement_lifetime=0,
        )


async def is_shared(connector: Connector, first: Connected) -> bool:
    """Tell whether a pooler gives one server process to several clients: to ``first`` and to another one.

    Raises:
        ConfigError, Unavailable: as ``Connector.connect``.
    """
    second = await connector.connect()
    try:
        if second.host != first.host:
            return False
        overdue = Unavailable(
            f"cannot use the store {connector.target}: {first.host} said nothing for {CONNECT_S:g} s"
        )
        processes = set()
        for each in (first, second):
            with limited(each.connection, CONNECT_S, overdue):
                processes.add(await each.connection.fetchval(_SQL["process"]))
        return len(processes) == 1
    finally:
        second.connection.terminate()


def _check_server(row: Any) -> None:
    if row["version"] < VERSION_MIN:
        raise ConfigError(
            f"is PostgreSQL {row['version'] // 10_000}; at least {VERSION_MIN // 10_000} is needed: upgrade it"
        )
    if row["encoding"] != "UTF8":
        raise ConfigError(f"has a database with the encoding {row['encoding']}; create it with ENCODING 'UTF8'")


def _check_passfile(target: Target) -> None:
    """The driver takes a password file that is missing, or open to others, for none at all."""
    if target.passfile is None:
        return
    fix = f"make it with mode 600, and the line HOST:PORT:{target.database}:{target.user or 'USER'}:PASSWORD"
    try:
        found = target.passfile.stat()
    except OSError as error:
        raise ConfigError(f"cannot read the password file {target.passfile}: {error.strerror}; {fix}") from None
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"cannot use the password file {target.passfile}: it belongs to {trust.owner(found)}; make your own"
        )
    if found.st_mode & 0o077:
        raise ConfigError(f"cannot use the password file {target.passfile}: others may read it; chmod 600 it")


async def _close(connections: "Sequence[Connected] | Any") -> None:
    for each in connections:
        with suppress(*DRIVER_ERRORS):
            await each.connection.close(timeout=GRACE_S)
