"""What stands around each method of a server: bounds, messages that do not parse, errors.

Made by ``servers``, once for each method as it is registered: an interceptor, which gRPC asks anew for each call,
would be 5 % of it. Every method is served as one that takes a stream, which is the same on the wire and costs the
same: so a call is counted before its message comes, a message that never comes is waited for no longer than
``MESSAGE_S``, and one that does not parse is ours to refuse.
"""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from snsnode.base.errors import DeadlineExceeded, Exhausted, InvalidInput, SnsError
from snsnode.transport.admission import LOGIN, Admission, Admitted
from snsnode.transport.status import ERROR_KEY, status_of

log = logging.getLogger(__name__)

MESSAGE_S = 5.0  # from a call's start to its message
# The largest is a post of 4 KiB. Small messages nested in a larger one take fifty times its size once parsed.
REQUEST_MAX_BYTES = 64 * 1024
_LARGE = "/sns.v1.Router/Exchange"  # a router's table: bounded by its server alone

Parse = Callable[[bytes], Any]


class Handlers:
    """Wraps the methods of one server."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def wrapped(self, handler: Any, method: str) -> Any:
        """Return ``handler`` as the server shall have it."""
        parse = parser(handler.request_deserializer, method)
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            body = self._streaming(inner, method, parse, one=not handler.request_streaming)
            return grpc.stream_stream_rpc_method_handler(body, None, handler.response_serializer)
        if handler.request_streaming:
            raise NotImplementedError(f"{method} takes a stream and gives one reply: nothing bounds its time")
        body = self._single(handler.unary_unary, method, parse)
        return grpc.stream_unary_rpc_method_handler(body, None, handler.response_serializer)

    def _single(self, inner: Callable[[Any, Any], Any], method: str, parse: Parse) -> Any:
        is_login = method == LOGIN

        async def handle(messages: AsyncIterator[bytes], context: Any) -> Any:
            try:
                admitted = self._enter(method, context, lasts=False)
                message = await _first(messages, method)
                self._admission.heard(admitted)
                reply = await inner(parse(message), context)
            except Exception as error:  # noqa: BLE001 - the boundary of a call: log, answer, go on
                await _abort(context, error, method)
            else:
                if is_login:
                    self._admission.logged_in(context.peer())
                return reply

        return handle

    def _streaming(
        self, inner: Callable[[Any, Any], AsyncIterator[Any]], method: str, parse: Parse, *, one: bool
    ) -> Any:
        async def handle(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
            try:
                admitted = self._enter(method, context, lasts=True)
                if one:
                    request = parse(await _first(messages, method))
                    self._admission.heard(admitted)
                else:
                    request = _Parsed(messages, parse, lambda: self._admission.heard(admitted))
                async for reply in inner(request, context):
                    yield reply
            except Exception as error:  # noqa: BLE001 - the boundary of a call: log, answer, go on
                await _abort(context, error, method)

        return handle

    def _enter(self, method: str, context: Any, *, lasts: bool) -> Admitted:
        """Count the call until its task is done: then the reply has been sent, too."""
        task = asyncio.current_task()
        assert task is not None
        now_s = asyncio.get_running_loop().time()
        admitted: Admitted = self._admission.enter(method, context.peer(), now_s, task.cancel, lasts=lasts)
        task.add_done_callback(lambda _: self._admission.leave(admitted))
        return admitted


class _Parsed:
    """A client's messages, parsed; ``on_message`` is called for each."""

    def __init__(self, messages: AsyncIterator[bytes], parse: Parse, on_message: Callable[[], object]) -> None:
        self._messages = messages
        self._parse = parse
        self._on_message = on_message

    def __aiter__(self) -> "_Parsed":
        return self

    async def __anext__(self) -> Any:
        message = await anext(self._messages)
        self._on_message()
        return self._parse(message)


def parser(deserialize: Parse | None, method: str) -> Parse:
    """Return what parses a request of ``method``; it raises ``InvalidInput`` for one that is none."""

    def parse(message: bytes) -> Any:
        if len(message) > REQUEST_MAX_BYTES and method != _LARGE:
            raise Exhausted(
                f"cannot read this message to {method}: it has {len(message)} bytes, at most {REQUEST_MAX_BYTES} "
                "are taken"
            )
        if deserialize is None:
            return message
        try:
            return deserialize(message)
        except Exception:  # noqa: BLE001 - protobuf has several, and all mean the same
            log.warning("refused a message to %s: it does not parse", method, extra={"cause": f"parse {method}"})
            raise InvalidInput(f"cannot read this message to {method}: it is no request of that kind") from None

    return parse


async def _first(messages: AsyncIterator[bytes], method: str) -> bytes:
    try:
        async with asyncio.timeout(MESSAGE_S):
            return await anext(messages)
    except StopAsyncIteration:
        raise InvalidInput(f"cannot answer {method}: the call has no message") from None
    except TimeoutError:
        raise DeadlineExceeded(f"cannot answer {method}: no message came within {MESSAGE_S:.0f} s") from None


async def _abort(context: Any, error: Exception, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, SnsError):
        await context.abort(status_of(error), error.message, ((ERROR_KEY, error.code),))
    tell_unexpected(error, method)
    await context.abort(grpc.StatusCode.INTERNAL, internal(method))


def internal(method: str) -> str:
    """Return what a caller hears of a defect of ours."""
    return f"cannot answer {method}: internal error, see the server's log"


def tell_unexpected(error: Exception, method: str) -> None:
    """Log a defect of ours in one line: what was raised, and where; as often as a stranger likes to provoke it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-4:]))
    kind = type(error).__name__
    log.error("call of %s failed: %s: %s (at %s)", method, kind, error, where, extra={"cause": f"{method} {kind}"})
