"""One connection that is replaced when it is lost, and commands on it with a limit and a repeat.

Called by the writer, the readers and the listener of the PostgreSQL engine; each owns its sessions and uses each
from one task at a time. A command is one statement outside a transaction: its server finishes it whatever happens
here, so a frozen process never holds a lock.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from snsnode.base.backoff import Backoff
from snsnode.base.errors import Exhausted, SnsError, Unavailable
from snsnode.store.postgresql_connect import Connected, Connector
from snsnode.store.postgresql_errors import DRIVER_ERRORS, Kind, final_error, kind

COMMAND_S = 2.0  # a server that says nothing for so long is as good as dead
PATIENCE_S = 8.0  # a command is repeated for so long; a client waits as long for one answer
_log = logging.getLogger(__name__)
_BACKOFF = Backoff(first_s=0.02, max_s=0.2)

_T = TypeVar("_T")
Ask = Callable[[Any], Awaitable[_T]]


class Session:
    """A connection to whichever server is the primary; opened when it is first needed."""

    def __init__(self, connector: Connector, verb: str) -> None:
        """``verb`` is what the session's commands do, for messages: "read" or "write to"."""
        self._connector = connector
        self._verb = verb
        self._connected: Connected | None = None
        self._warning = ""
        self._asked = False  # whether the last try reached a server
        self._closed = False

    def adopt(self, connected: Connected) -> None:
        """Take over an open connection."""
        connected.connection.add_log_listener(self._on_message)
        self._connected = connected

    async def run(self, ask: Ask[_T], give_up_at_s: float) -> _T:
        """Return what ``ask`` returns, repeated on another connection where its outcome is unknown.

        ``give_up_at_s`` is monotonic. ``ask`` must be safe to repeat.

        Raises:
            Unavailable, Exhausted: it did not succeed in time. ``Exhausted`` says that nothing was stored.
            Exception: the driver's, where a repeat cannot help.
        """
        failed = 0
        unknown = False  # whether an earlier try may have been stored: then no refusal is the last word on it
        failure: SnsError
        while True:
            try:
                return await self._once(ask)
            except SnsError as error:
                failure, unknown = Unavailable(error.message), unknown or self._asked
            except DRIVER_ERRORS as error:
                what = kind(error)
                failure = final_error(error, self._verb)
                if unknown and isinstance(failure, Exhausted):
                    failure = Unavailable(failure.message)
                elif what in (Kind.ROW, Kind.FINAL):
                    raise
                if what is Kind.LOST:
                    self.drop()
                    unknown = unknown or not isinstance(failure, Exhausted)  # "read-only" stored nothing
            pause_s = _BACKOFF.step_s(failed)
            failed += 1
            if self._closed or time.monotonic() + pause_s >= give_up_at_s:
                raise failure from None
            await asyncio.sleep(pause_s)

    async def open(self) -> Any:
        """Return the connection, opened where there is none.

        Raises:
            ConfigError, Unavailable: as ``Connector.connect``.
        """
        if self._closed:
            raise Unavailable(f"cannot {self._verb} the store: it is closed; ask another server")
        if self._connected is not None and self._connector.is_stale(self._connected):
            self.drop()  # A server that hung, and is back, would show what was there when it hung.
        if self._connected is None or self._connected.connection.is_closed():
            self.adopt(await self._connector.connect())
        assert self._connected is not None
        return self._connected.connection

    def drop(self) -> None:
        """Forget the connection, without a word to its server, which may be hung.

        Not even to cancel what runs there: that would end the wait for a synchronous standby, and show posts that
        only one machine has.
        """
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.connection.terminate()

    async def close(self) -> None:
        """Take leave of the server, for good; never raises because that fails."""
        self._closed = True
        connected, self._connected = self._connected, None
        if connected is None:
            return
        try:
            await connected.connection.close(timeout=COMMAND_S)
        except DRIVER_ERRORS:
            pass  # it is lost: there is nobody to take leave of
        except Exception:  # noqa: BLE001 - raised, it would keep the others from being closed
            _log.exception("cannot close the connection to the store in order; dropping it")
            connected.connection.terminate()

    async def _once(self, ask: Ask[_T]) -> _T:
        self._asked = False
        connection = await self.open()
        self._asked = True
        self._warning = ""
        running = asyncio.ensure_future(ask(connection))
        try:
            await asyncio.wait((running,), timeout=COMMAND_S)
        finally:
            if not running.done():
                running.add_done_callback(_retrieved)
                self.drop()
        if not running.done():
            raise Unavailable(
                f"cannot {self._verb} the store: its server said nothing for {COMMAND_S:g} s, perhaps because its "
                "standby is away; try again"
            )
        result = running.result()
        if self._warning:
            # Such as "canceling wait for synchronous replication": it succeeded here, and perhaps only here. The
            # message is in the server's language, and our functions warn of nothing.
            raise Unavailable(f"cannot tell whether the store has it: {self._warning}; try again")
        return result

    def _on_message(self, _connection: Any, message: Any) -> None:
        if getattr(message, "severity_en", None) == "WARNING":
            self._warning = " ".join(str(message).split())


def _retrieved(ended: "asyncio.Future[Any]") -> None:
    if not ended.cancelled():
        ended.exception()
