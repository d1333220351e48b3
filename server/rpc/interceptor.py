"""What every call passes through: decoding, the path check, the caller, the permission, the refusal, one log line."""

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message

from server.core.caller import Caller
from server.core.errors import CredentialMissing, CredentialUnknown, NotPermitted, Refusal, TooLarge, UndecodableRequest
from server.identity.callers import Callers
from server.identity.permissions import PUBLIC, may_call
from server.rpc.door import Context, CredentialType, Door, Presented, set_caller
from server.rpc.paths import check_for
from server.store.engine import StoreUnavailable

log = logging.getLogger("taskhouse.calls")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
ORIGINAL_PATH = "x-envoy-original-path"
Handler = Any  # grpc.RpcMethodHandler, which is generic only in its type stubs.
_HANDLERS: Mapping[str, Callable[..., Handler]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps each method once, at its first call."""

    def __init__(
        self, *, doors: Mapping[str, Door], default: Door, callers: Callers, max_bytes: Mapping[str, int]
    ) -> None:
        """Take the doors of the documented APIs' services (by full name), the door of all others, and the methods whose
        messages are bounded otherwise than by MAX_MESSAGE_BYTES.
        """  # noqa: D205 - one sentence.
        self._doors = doors
        self._default = default
        self._callers = callers
        self._max_bytes = max_bytes
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the method's handler, wrapped."""
        if wrapped := self._wrapped.get(details.method):
            return wrapped
        handler = await continuation(details)
        if (
            handler is None
        ):  # Unknown methods are grpc's to refuse; remembering them would let strangers fill the table.
            return handler
        wrapped = self._wrapped[details.method] = self._wrap(details.method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        known = _Method(self, method, self._decoder(method, handler.request_deserializer))
        kind = next(kind for kind in _HANDLERS if getattr(handler, kind))
        wrap = self._unary if kind == "unary_unary" else self._stream
        serialise = handler.response_serializer if kind == "unary_unary" else _or_bytes(handler.response_serializer)
        return _HANDLERS[kind](wrap(known, getattr(handler, kind)), None, serialise)

    def _decoder(self, method: str, deserialise: Any) -> Callable[[bytes], Message]:
        most = self._max_bytes.get(method, MAX_MESSAGE_BYTES)

        def decode(raw: bytes) -> Message:
            if len(raw) > most:
                raise TooLarge(most)
            try:
                return deserialise(raw)  # type: ignore[no-any-return]
            except DecodeError as error:
                raise UndecodableRequest from error

        return decode

    def _unary(self, method: "_Method", behaviour: Any) -> Any:
        async def serve(raw: bytes, context: Context) -> Any:
            call = _Call(method, context)

            async def act() -> Any:
                return await behaviour(call.read(raw), context)

            return await call.run(act)

        return serve

    def _stream(self, method: "_Method", behaviour: Any) -> Any:
        """Serve a stream, of either side or of both, and end it when its credential is revoked."""

        async def serve(raw: Any, context: Context) -> Any:
            call = _Call(method, context)

            async def act() -> Any:
                if isinstance(raw, bytes):
                    request: Any = call.read(raw)
                else:
                    request = _decoded(raw, method.decode)
                    await context.send_initial_metadata(())  # The edge waits so long for a request, or for this.
                return await self._until_revoked(call, _answer(behaviour, request, context))

            return await call.run(act)

        return serve

    async def _until_revoked(self, call: "_Call", serving: Awaitable[Any]) -> Any:
        if call.presented is None:
            return await serving
        task = asyncio.ensure_future(serving)
        watch = asyncio.ensure_future(self._callers.until_revoked(call.credential_id, call.presented.digest))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise watch.result()
            return task.result()
        finally:
            watch.cancel()
            task.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)


def _or_bytes(serialise: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Let bytes through as they are: what is no message cuts a stream visibly; see rest/streams.py."""
    return lambda reply: reply if isinstance(reply, bytes) else serialise(reply)


async def _decoded(raw: AsyncIterator[bytes], decode: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    async for message in raw:
        yield decode(message)


async def _answer(behaviour: Any, request: Any, context: Context) -> Any:
    """Return the answer to a client's stream; answers that are streams are written."""
    answer = behaviour(request, context)
    if not inspect.isasyncgen(answer):
        return await answer
    async for reply in answer:
        await context.write(reply)
    return None


class _Method:
    """What is known of a method before any call of it."""

    __slots__ = ("callers", "check_path", "decode", "door", "name", "public")

    def __init__(self, interceptor: Interceptor, name: str, decode: Callable[[bytes], Message]) -> None:
        service = name.split("/")[1]
        self.name = name
        self.door = interceptor._doors.get(service, interceptor._default)  # noqa: SLF001 - one class in two parts.
        self.callers = interceptor._callers  # noqa: SLF001 - as above.
        self.decode = decode
        self.public = name in PUBLIC
        descriptor = Default().FindMethodByName(f"{service}.{name.split('/')[2]}")
        self.check_path = check_for(descriptor)
        if self.check_path and descriptor.client_streaming:
            raise TypeError(f"{name}: a path with fields is not checked for a client's stream")


class _Call:
    """One call on its way."""

    __slots__ = (
        *("caller", "context", "credential_id", "metadata", "method", "outcome", "presented", "request_id", "started"),
    )

    def __init__(self, method: _Method, context: Context) -> None:
        self.started = time.perf_counter()
        self.method = method
        self.context = context
        self.metadata = dict(context.invocation_metadata() or ())
        self.request_id = str(self.metadata.get("x-request-id") or uuid.uuid4())
        self.presented: Presented | None = None
        self.caller = "-"
        self.credential_id = ""
        self.outcome = "OK"

    async def admit(self) -> None:
        """Find the caller and let it pass. Before the request is decoded: strangers learn nothing of what it takes."""
        if self.method.public:
            return
        self.presented = self.method.door.presented(self.metadata)
        caller = await self._find()
        self.caller = f"{caller.role.value}:{caller.credential_id}"
        self.credential_id = caller.credential_id
        set_caller(caller)
        if not may_call(caller.role, self.method.name):
            raise NotPermitted(self.method.name)

    async def _find(self) -> Caller:
        stranger = self.method.door.stranger
        if self.presented is None:
            if stranger is None:
                raise CredentialMissing
            return stranger
        token = self.presented.type is CredentialType.TOKEN
        try:
            found = await self.method.callers.find(self.presented.digest, token=token, api=self.presented.api)
        except CredentialUnknown:
            if stranger is None:
                raise
            return stranger
        return found

    async def run(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """Admit the caller and act; whatever fails on the way becomes the door's refusal, and the call its one line."""
        try:
            await self.admit()
            return await act()
        except asyncio.CancelledError:
            self.outcome = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            self.outcome = "REFUSED"
            raise
        except Exception as error:  # noqa: BLE001 - the one place that turns any failure into an answer.
            await self.refuse(error)
        finally:
            self.log()

    def read(self, raw: bytes) -> Message:
        """Decode the request, and refuse one that was put together from more than its path."""
        request = self.method.decode(raw)
        if self.method.check_path and (original := self.metadata.get(ORIGINAL_PATH)):
            self.method.check_path(str(original), request)
        return request

    async def refuse(self, error: Exception) -> None:
        """Answer with the door's refusal. What nobody foresaw is logged whole, and told as little as possible."""
        self.outcome = type(error).__name__
        if not isinstance(error, Refusal | StoreUnavailable):
            log.error("call failed request_id=%s method=%s", self.request_id, self.method.name, exc_info=error)
        await self.method.door.refuse(self.context, error, request_id=self.request_id)

    def log(self) -> None:
        """Write the call's one line."""
        log.info(
            "call method=%s outcome=%s ms=%.1f caller=%s request_id=%s",
            self.method.name, self.outcome, (time.perf_counter() - self.started) * 1000, self.caller, self.request_id,
        )  # fmt: skip
