"""The one thread of a role that touches the disk where that may take long: the event loop never waits for it.

Neither a slow or hanging disk nor a silent resolver may delay a heartbeat. What is only written is handed over
(``post``), what must be known is awaited (``do``), with a bound where the caller can go on without. The thread is
the process's own: it ends with it, and ``flush`` gives what was handed over last a moment.

Small files that the watch reads ten times a second (marks, pid files) are not read here: they are in the kernel's
memory, and a death must not wait for a thread.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger(__name__)

JOBS_MAX = 1000  # that wait; while the disk hangs, further lines of the journal are lost
FLUSH_S = 1.0

Result = TypeVar("Result")

_jobs: "queue.Queue[Callable[[], object]]" = queue.Queue(JOBS_MAX)
_starting = threading.Lock()
_thread: threading.Thread | None = None


def post(job: Callable[[], object]) -> None:
    """Do ``job`` in the thread, after what was handed over before."""
    _start()
    with contextlib.suppress(queue.Full):
        _jobs.put_nowait(job)


async def do(job: Callable[[], Result], within_s: float | None = None) -> Result:
    """Do ``job`` in the thread and return what it returns; raises what it raises.

    Raises:
        TimeoutError: it was not done ``within_s``. If it has begun, it may still be done later.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        if done.cancelled():
            return
        try:
            result = job()
        except BaseException as error:  # noqa: BLE001 - the boundary of the thread: the waiter gets it
            _tell(loop, _fail, done, error)
        else:
            _tell(loop, _finish, done, result)

    _start()
    try:
        _jobs.put_nowait(run)
    except queue.Full:
        raise TimeoutError(f"the disk is not done with {JOBS_MAX} jobs") from None
    async with asyncio.timeout(within_s):
        return await done


def flush(within_s: float = FLUSH_S) -> None:
    """Wait until all that was handed over is done, blocking, ``within_s`` at most."""
    if _thread is None:
        return
    reached = threading.Event()
    with contextlib.suppress(queue.Full):
        _jobs.put(reached.set, timeout=within_s)
        reached.wait(within_s)


def _start() -> None:
    global _thread
    with _starting:
        if _thread is None:
            _thread = threading.Thread(target=_serve, name="disk", daemon=True)
            _thread.start()


def _serve() -> None:
    while True:
        job = _jobs.get()
        try:
            job()
        except Exception:
            log.exception("cannot finish a job of the disk")


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], *arguments: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(how, *arguments)


def _finish(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
