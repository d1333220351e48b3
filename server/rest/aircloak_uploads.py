"""`POST /bulk_insert` and `POST /insert`: how uploads come in over HTTP, and what is answered."""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

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
INLINE_BODY = 64 * 1024  # bytes; reading more holds up everybody else, and is done in a thread

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
        headers = headers_of(context)
        mode = headers.get("validation_mode", "strict").strip().lower()
        if mode not in ("strict", "permissive"):
            await _unprocessable(context, "unsupported validation_mode header value")
        if not _is_json(sent.content_type):
            await _unprocessable(context, "unknown content type")
        try:
            text = body_of(sent, headers, max_bytes=MAX_BODY)
        except EncodingUnknown:
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, 415, "unsupported content encoding")
        except TooLarge as refusal:
            too_large = f"payload too large: more than {refusal.max_bytes} bytes"
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, 413, too_large)
        except BodyBroken:
            await _unprocessable(context, "malformed gzip")
        permissive = mode == "permissive"
        if len(text) <= INLINE_BODY:
            return await self._store_all(context, text, user_id=user_id, permissive=permissive)
        with _large_uploads.one():
            return await self._store_all(context, text, user_id=user_id, permissive=permissive)

    async def _store_all(
        self, context: Context, text: bytes, *, user_id: str | None, permissive: bool
    ) -> httpbody_pb2.HttpBody:
        checked = await self._checked(context, text, user_id=user_id, permissive=permissive)
        if checked.faults and not (permissive and checked.rows):
            await _unprocessable(context, checked.faults.by_user(max_bytes=MAX_BODY_BYTES))
        if checked.rows:
            try:
                await self._store.write(uploads.put, caller=current_caller(), checked=checked)
            except DatasetNotFound as gone:  # It was there a moment ago.
                await _unprocessable(context, f"{gone.dataset}: table does not exist")
        if not checked.faults:
            return _answer({"success": True})
        await context.send_initial_metadata([("x-taskhouse-status", "202")])
        return _answer({"success": False, "errors": checked.faults.by_user(max_bytes=MAX_FAULTS_OF_A_SUCCESS)})

    async def _checked(
        self, context: Context, text: bytes, *, user_id: str | None, permissive: bool
    ) -> uploads.Checked:
        beside = _at_once if len(text) <= INLINE_BODY else asyncio.to_thread
        try:
            given = orjson.loads(text)
        except orjson.JSONDecodeError:
            await _unprocessable(context, "malformed json")
        if type(given) is not dict:
            await _unprocessable(context, f"not an object of {'users' if user_id is None else 'tables'}")
        by_user = given if user_id is None else {user_id: given}
        names = uploads.names_in(by_user.values())
        tables = await self._store.read(uploads.tables, caller=current_caller(), names=names)
        whole = user_id is None or not permissive
        checked = await beside(uploads.check, by_user, tables, whole=whole)
        colons = checked.colons + (len(given) + "".join(given).count(":") if user_id is None else 0)
        if checked.rows and (key := await beside(uploads.repeated_key, text, colons=colons)) is not None:
            await _unprocessable(context, f'the key "{key}" stands twice in one object')
        return checked


def _is_json(content_type: str) -> bool:
    kind = media_type(content_type)
    charset = kind.parameters.get("charset", "utf-8").lower()
    return kind.name in ("", "application/json") and charset in ("utf-8", "utf8")


def _answer(body: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(body))


async def _unprocessable(context: Context, errors: object) -> NoReturn:
    await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, 422, errors)


async def _refuse(context: Context, code: grpc.StatusCode, status: int, errors: object) -> NoReturn:
    await refuse(context, code, status, {"success": False, "errors": errors})


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
    def one(self) -> Iterator[None]:
        """Note a large upload, from before it is read until it is answered."""
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
