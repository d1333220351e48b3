"""`POST /bulk_insert` and `POST /insert`: how uploads come in over HTTP, and what is answered."""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import grpc
import orjson
from google.api import httpbody_pb2

from server.core import uploads
from server.core.errors import DatasetNotFound, TooLarge
from server.rest.exchange import BodyBroken, EncodingUnknown, body_of, headers_of, media_type
from server.rpc.door import Context, current_caller
from server.rpc.refusals import MAX_BODY_BYTES, refuse
from server.store.engine import Store
from taskhouse.rest.v1 import aircloak_pb2

MAX_BODY = 10 * 1024 * 1024  # bytes, as sent and as inflated
MAX_FAULTS_OF_A_SUCCESS = 1024 * 1024  # bytes; a refusal's must fit into a header
IDLE_SECONDS = 1.0  # after a large upload, until its memory goes back to the system
INLINE_BODY = 64 * 1024  # bytes; checking more would hold up everybody else, and is done in a thread

P = ParamSpec("P")
T = TypeVar("T")


class Uploads:
    """Takes uploads into datasets of the caller's organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def bulk_insert(self, request: aircloak_pb2.BulkInsertRequest, context: Context) -> httpbody_pb2.HttpBody:
        """Store `{user: {table: [row, …]}}`, each user's rows together or not at all."""
        return await self._take(request.http_body, context, user_id=None)

    async def insert(self, request: aircloak_pb2.InsertRequest, context: Context) -> httpbody_pb2.HttpBody:
        """Store `{table: [row, …]}` of the user whom the certificate names; when permissive, every good row of it."""
        return await self._take(request.http_body, context, user_id=current_caller().user_id)

    async def _take(
        self, sent: httpbody_pb2.HttpBody, context: Context, *, user_id: str | None
    ) -> httpbody_pb2.HttpBody:
        with _large_uploads.one(len(sent.data)):
            headers = headers_of(context)
            mode = headers.get("validation_mode", "strict").strip().lower()
            if mode not in ("strict", "permissive"):
                await _unprocessable(context, "unsupported validation_mode header value")
            if not _is_json(sent.content_type):
                await _unprocessable(context, "unknown content type")
            text = await _text(context, sent, headers)
            with _large_uploads.one(len(text)):
                return await self._store_all(context, text, user_id=user_id, permissive=mode == "permissive")

    async def _store_all(
        self, context: Context, text: bytes, *, user_id: str | None, permissive: bool
    ) -> httpbody_pb2.HttpBody:
        beside = _at_once if len(text) <= INLINE_BODY else asyncio.to_thread
        checked = await self._checked(context, text, user_id=user_id, permissive=permissive)
        if checked.faults and not (permissive and checked.rows):
            listing = await beside(checked.faults.listing, max_bytes=MAX_BODY_BYTES)
            await _unprocessable(context, listing.by_user, more=listing.more)
        if checked.rows:
            try:
                await self._store.write(uploads.put, caller=current_caller(), checked=checked)
            except DatasetNotFound as gone:  # It was there a moment ago.
                await _unprocessable(context, f"{gone.dataset}: table does not exist")
        if not checked.faults:
            return _answer({"success": True})
        await context.send_initial_metadata([("x-taskhouse-status", "202")])
        listing = await beside(checked.faults.listing, max_bytes=MAX_FAULTS_OF_A_SUCCESS)
        return _answer(_failure(listing.by_user, more=listing.more))

    async def _checked(
        self, context: Context, text: bytes, *, user_id: str | None, permissive: bool
    ) -> uploads.Checked:
        beside = _at_once if len(text) <= INLINE_BODY else asyncio.to_thread
        try:
            given = orjson.loads(
                text
            )  # Here in any case: it lets nobody run meanwhile, and costs a thread more memory.
        except orjson.JSONDecodeError:
            await _unprocessable(context, "malformed json")
        if type(given) is not dict:
            await _unprocessable(context, f"not an object of {'users' if user_id is None else 'tables'}")
        by_user = given if user_id is None else {user_id: given}
        names = await beside(uploads.names_in, by_user.values())
        tables = await self._store.read(uploads.tables, caller=current_caller(), names=names)
        whole = user_id is None or not permissive
        try:
            checked, key = await beside(_check, text, by_user, tables, whole=whole, users=user_id is None)
        except uploads.NestedTooDeep:
            await _unprocessable(context, "malformed json")
        if key is not None:
            await _unprocessable(context, f'the key "{key}" stands twice in one object')
        return checked


def _check(
    text: bytes, by_user: dict[str, Any], tables: Mapping[str, uploads.Table], *, whole: bool, users: bool
) -> tuple[uploads.Checked, str | None]:
    """Return what an upload comes to, and a key that an object of its text has twice. `users`: the text names them."""
    checked = uploads.check(by_user, tables, whole=whole)
    if not checked.rows:
        return checked, None
    colons = checked.colons + (len(by_user) + "".join(by_user).count(":") if users else 0)
    return checked, uploads.repeated_key(text, colons=colons)


async def _text(context: Context, sent: httpbody_pb2.HttpBody, headers: Mapping[str, str]) -> bytes:
    beside = asyncio.to_thread if "content-encoding" in headers else _at_once  # Little can inflate to much.
    try:
        return await beside(body_of, sent, headers, max_bytes=MAX_BODY)
    except EncodingUnknown:
        await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, 415, "unsupported content encoding")
    except TooLarge as refusal:
        with _large_uploads.one(refusal.max_bytes):
            too_large = f"payload too large: more than {refusal.max_bytes} bytes"
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, 413, too_large)
    except BodyBroken:
        await _unprocessable(context, "malformed gzip")


def _is_json(content_type: str) -> bool:
    kind = media_type(content_type)
    charset = kind.parameters.get("charset", "utf-8").lower()
    return kind.name in ("", "application/json") and charset in ("utf-8", "utf8")


def _answer(body: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(body))


async def _unprocessable(context: Context, errors: object, *, more: str = "") -> NoReturn:
    await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, 422, errors, more=more)


async def _refuse(context: Context, code: grpc.StatusCode, status: int, errors: object, *, more: str = "") -> NoReturn:
    await refuse(context, code, status, _failure(errors, more=more))


def _failure(errors: object, *, more: str) -> dict[str, object]:
    return {"success": False, "errors": errors} | ({"more": more} if more else {})


async def _at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return work(*args, **kwargs)


class _LargeUploads:
    """Keeps the garbage collector from looking, again and again, at the million objects of a large upload.

    It would find nothing and take half as long as all the rest. Uploads overlap, so those under way are counted. After
    the last of them the memory goes back to the system: the allocator would keep more than all the rest of the process.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._libc = ctypes.CDLL(None)

    @contextmanager
    def one(self, size: int) -> Iterator[None]:
        """Note an upload of so many bytes, from before it is read until it is answered. A small one does not matter."""
        if size <= INLINE_BODY:
            yield
            return
        gc.disable()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                gc.enable()
                asyncio.get_running_loop().call_later(IDLE_SECONDS, self._give_back)

    def _give_back(self) -> None:
        if not self._under_way:
            self._libc.malloc_trim(0)


_large_uploads = _LargeUploads()
