"""The thread behind the sync facade: one event loop for all its clients, from the first login to the last logout.

Called by ``sync``. One thread for all, because grpc.aio has one completion queue for a process, and event loops
that share it wake each other up. In a forked child the thread does not exist: nothing here is touched there.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from snsnode.base.errors import Exhausted, NotAllowed, Unavailable
from snsnode.transport.forked import use

Result = TypeVar("Result")


class Ended(NotAllowed):
    """The background has ended: the last client has logged out."""


class Call(Generic[Result]):
    """A coroutine that runs in the background; any thread may wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> None:
        self._loop = loop
        self._work = work
        self._outcome: Future[Result] = Future()
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def wait(self) -> None:
        """Wait until it has ended, however; what interrupts the wait does not end the call."""
        self._ended.wait()

    def result(self) -> Result:
        """Return what it gave, or raise what it raised, once it has ended."""
        return self._outcome.result()

    def cancel(self) -> None:
        """End it soon; safe to repeat."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    # --- in the loop ------------------------------------------------------------------------------------------

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Run it as a task of ``group``; where that takes no more, it has ended."""
        running = self._run()
        try:
            self._task = group.create_task(running, name="sns-sync")
        except RuntimeError:  # the group is ending
            running.close()
            self._work.close()
            self._settle()
        else:
            self._task.add_done_callback(lambda _: self._settle())

    async def _run(self) -> None:
        try:
            self._outcome.set_result(await self._work)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of the task: its waiter gets it
            self._outcome.set_exception(error)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(Unavailable("cannot finish the call: this client was closed"))
        self._work.close()  # where the task was cancelled before it began
        self._ended.set()


class Background:
    """An event loop in a thread of its own. Made by ``acquire``; ``release`` ends it with its last user.

    Raises:
        Exhausted: the machine gives no thread, or no descriptors for the loop.
    """

    def __init__(self) -> None:
        self.users = 0
        self._guard = threading.Lock()
        self._ending = False
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._group: asyncio.TaskGroup
        self._stop: asyncio.Event
        # A daemon: a program that never leaves its 'with' can still end.
        self._thread = threading.Thread(target=self._run, name="sns-client", daemon=True)
        try:
            self._thread.start()
            self._started.result()
        except (OSError, RuntimeError, MemoryError) as error:
            raise Exhausted(
                f"cannot start the client's thread: {error}; let the process have more threads and open files "
                "(ulimit -u, ulimit -n)"
            ) from error
        except BaseException:  # an interrupt: nobody will use the thread
            self._started.add_done_callback(lambda started: None if started.exception() else self._end_soon())
            raise

    def start(self, work: Coroutine[Any, Any, Result]) -> Call[Result]:
        """Start ``work``.

        Raises:
            Ended: nobody is logged in any more.
            NotAllowed: the caller runs in the loop, and would wait for itself; or in a forked child.
        """
        try:
            use("call as this user")
            self.check_thread()
            with self._guard:  # what is started before the end begins is sure to be settled by it
                if self._ending:
                    raise Ended("cannot call: this client has logged out; use it inside 'with'")
                call = Call(self._loop, work)
                self._loop.call_soon_threadsafe(call.begin, self._group)
                return call
        except NotAllowed:
            work.close()
            raise

    def check_thread(self) -> None:
        """Check that the caller may wait.

        Raises:
            NotAllowed: it runs in the loop, and would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise NotAllowed("cannot call from on_event: it runs in the client's own thread; hand over to another")

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run ``work`` and return its result. Where the wait is interrupted, ``work`` is cancelled and waited for.

        Raises:
            SnsError: what ``work`` raised; ``NotAllowed`` as ``start``.
        """
        call = self.start(work)
        try:
            call.wait()
        except BaseException:
            call.cancel()
            call.wait()  # it may have to clean up, as a login does; a second interrupt leaves it alone
            raise
        return call.result()

    def let_go(self, thing: object) -> None:
        """Drop a reference to ``thing`` in the loop's thread, where what its end does is safe."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(id, thing)

    def end(self) -> None:
        """End the loop and the thread; what still runs is cancelled."""
        with self._guard:
            self._ending = True
            self._end_soon()
        self._thread.join()

    @property
    def has_ended(self) -> bool:
        """Whether its thread is gone."""
        return not self._thread.is_alive()

    def wait_ended(self) -> None:
        """Wait until the last user has ended it.

        Raises:
            NotAllowed: the caller runs in the loop, and would wait for itself.
        """
        self.check_thread()
        self._thread.join()

    def _end_soon(self) -> None:
        with suppress(RuntimeError):  # the loop may have ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)

    # --- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # what may fail, before the coroutine is made
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)  # the waiter for the start must not wait for ever

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._started.set_result(None)
                await self._stop.wait()
                raise _Stopped
        except* _Stopped:
            pass
        finally:
            with self._guard:
                self._ending = True


class _Stopped(Exception):
    """Ends the group with everything in it."""


_guard = threading.Lock()
_shared: Background | None = None
_leaving: Background | None = None  # the one before, which may still be ending


def acquire() -> Background:
    """Return the process's background, which is started for its first user, once the one before has ended."""
    global _shared
    while True:
        with _guard:
            if _shared is not None and _shared.has_ended:  # a callback ended the thread, as sys.exit() does
                _shared = None
            before = _leaving
            if _shared is None and (before is None or before.has_ended):
                _shared = Background()
            if _shared is not None:
                _shared.users += 1
                return _shared
        assert before is not None
        before.wait_ended()


def release(background: Background) -> None:
    """Give it back; the last user waits until its thread has ended."""
    global _shared, _leaving
    with _guard:
        background.users -= 1
        if background.users or _shared is not background:
            return
        _shared, _leaving = None, background
    background.end()
