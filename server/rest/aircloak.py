"""The aircloak API: task results for analysts, uploads for data owners."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import grpc
import orjson
from google.api import httpbody_pb2

from server.core import credentials, errors, results
from server.core.credentials import Credential
from server.core.results import Item, NumberedPage, Tally
from server.rest.aircloak_uploads import Uploads
from server.rest.exchange import answer_other, headers_of
from server.rpc.door import Context, CredentialType, Metadata, Presented, current_caller
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.rpc.refusals import refuse
from server.rpc.xfcc import certificate_digest
from server.store.engine import Store, StoreUnavailable
from taskhouse.rest.v1 import aircloak_pb2 as pb
from taskhouse.rest.v1 import aircloak_pb2_grpc

DEFAULT_PAGE = 10
MAX_PAGE = 10_000
QUICK_ROWS = 500  # A page whose last row is further on may take over 5 ms.
MAX_KEPT_PAGES, MAX_KEPT_BYTES = 200, 16 * 1024  # So about 3 MiB of messages at most, and as much again around them.
MAX_ERROR = 300  # characters; a refusal has 4 KiB, and each may take twelve bytes.
PATHS = (
    (re.compile("/api/task_results/[^/]+/?"), "GET, HEAD, OPTIONS"),
    (re.compile("/keys/?"), "GET, HEAD, OPTIONS"),
    (re.compile("/(bulk_)?insert/?"), "POST, OPTIONS"),
)
_Code = grpc.StatusCode

Page = tuple[str, int, int, Tally]
"""Task id, page, per_page, and how many results there are and were."""


class Told(NamedTuple):
    """How a refusal is told."""

    status: int  # HTTP
    code: grpc.StatusCode  # native gRPC
    error: str | None  # None: the refusal's own text


NOT_AUTHENTICATED = "Not authenticated."
STATUSES: Mapping[type[Exception], Told] = {
    errors.CredentialMissing: Told(401, _Code.UNAUTHENTICATED, "Missing authentication key."),
    errors.CredentialUnknown: Told(401, _Code.UNAUTHENTICATED, NOT_AUTHENTICATED),
    errors.NotPermitted: Told(401, _Code.PERMISSION_DENIED, NOT_AUTHENTICATED),
    errors.TaskNotFound: Told(422, _Code.NOT_FOUND, "Task not found."),
    errors.InvalidFields: Told(422, _Code.INVALID_ARGUMENT, None),
    errors.PathFieldOverridden: Told(422, _Code.INVALID_ARGUMENT, None),
    errors.UndecodableRequest: Told(422, _Code.INVALID_ARGUMENT, "The request cannot be read."),
    errors.TooLarge: Told(413, _Code.RESOURCE_EXHAUSTED, None),
    errors.NotServed: Told(404, _Code.UNIMPLEMENTED, "Not found."),
    NotImplementedError: Told(404, _Code.UNIMPLEMENTED, "Not found."),
    StoreUnavailable: Told(503, _Code.UNAVAILABLE, "Down for maintenance"),
}
_FAULT = Told(500, _Code.INTERNAL, "Internal error.")


class AircloakDoor:
    """The manners of the aircloak API: only a client certificate counts, whatever else a call carries."""

    stranger = None

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the certificate."""
        certificate = certificate_digest(metadata)
        return Presented(CredentialType.CERTIFICATE, certificate) if certificate else None

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """Answer `{"success": false, "error": …}` with the documented status."""
        del request_id
        status, code, error = STATUSES.get(type(refusal), _FAULT)
        await refuse(context, code, status, {"success": False, "error": (error or str(refusal))[:MAX_ERROR]})


class AircloakServicer(aircloak_pb2_grpc.AircloakServiceServicer):
    """Serves the documented paths."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._uploads = Uploads(store)
        self._pages = Pages()

    async def GetTaskResults(self, request: pb.GetTaskResultsRequest, context: Context) -> pb.GetTaskResultsResponse:  # noqa: N802 - as generated.
        """Answer a page; or 304, if the caller has it."""
        page = request.page if request.HasField("page") else 1
        per_page = request.per_page if request.HasField("per_page") else DEFAULT_PAGE
        _check(page, per_page)
        tally, answer = await self._page(request.task_id.removesuffix(".json"), page, per_page)
        metadata = dict(context.invocation_metadata() or ())
        if ORIGINAL_PATH in metadata:
            tag = f'W/"{tally.published}-{tally.removed}-{page}-{per_page}"'
            if _has(str(metadata.get("if-none-match", "")), tag):
                await context.send_initial_metadata((("etag", tag), ("x-taskhouse-status", "304")))
                return pb.GetTaskResultsResponse()
            context.set_details(f"etag={tag}")  # Which the edge makes a header: as metadata it would cost a tenth more.
        return answer

    async def _page(self, task_id: str, page: int, per_page: int) -> tuple[Tally, pb.GetTaskResultsResponse]:
        caller = current_caller()
        tally = await self._store.read(results.tally, caller=caller, task_id=task_id)
        if kept := self._pages.get((task_id, page, per_page, tally)):
            return tally, kept
        read = self._store.read if page * per_page <= QUICK_ROWS else self._store.scan
        found = await read(results.numbered_page, caller=caller, task_id=task_id, number=page, size=per_page)
        if per_page <= DEFAULT_PAGE:
            answer = _answer(found, page, per_page)
        else:
            answer = await asyncio.to_thread(_answer, found, page, per_page)
        self._pages.keep((task_id, page, per_page, found.tally), answer)
        return found.tally, answer

    async def BulkInsert(self, request: pb.BulkInsertRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Store rows of many users."""
        return await self._uploads.bulk_insert(request, context)

    async def Insert(self, request: pb.InsertRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Store rows of the caller's one user."""
        return await self._uploads.insert(request, context)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:  # noqa: ARG002, N802 - as generated.
        """List the organization's keys."""
        keys = await self._store.scan(credentials.keys_of, organization_id=current_caller().tenant)
        return pb.ListKeysResponse(success=True, keys=map(_key, keys))

    async def AnswerOther(self, request: pb.AnswerOtherRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer what no path answers: 404, 405, or OPTIONS."""
        path = path_of(headers_of(context)[ORIGINAL_PATH])
        allow = next((allowed for pattern, allowed in PATHS if pattern.fullmatch(path)), "")
        return await answer_other(context, allow, {"success": False, "error": "Method not allowed."})


class Pages:
    """Pages that were asked for lately, as messages: reading and making one costs more than all else of a call.

    A task's page with the same tally is the same. The tally is read from the store, for the task's owner, before a page
    is looked for here.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Page, pb.GetTaskResultsResponse] = OrderedDict()

    def get(self, page: Page) -> pb.GetTaskResultsResponse | None:
        """Return the page if it is kept. It is not to be changed."""
        found = self._kept.get(page)
        if found is not None:
            self._kept.move_to_end(page)
        return found

    def keep(self, page: Page, message: pb.GetTaskResultsResponse) -> None:
        """Keep the page for a while, unless it is large."""
        if message.ByteSize() <= MAX_KEPT_BYTES:
            self._kept[page] = message
            if len(self._kept) > MAX_KEPT_PAGES:
                self._kept.popitem(last=False)


def _check(page: int, per_page: int) -> None:
    faults = []
    if page < 1:
        faults.append(errors.Fault("page", "must be at least 1"))
    if not 1 <= per_page <= MAX_PAGE:
        faults.append(errors.Fault("per_page", f"must be from 1 to {MAX_PAGE}"))
    if faults:
        raise errors.InvalidFields(tuple(faults))


def _has(if_none_match: str, tag: str) -> bool:
    """Say whether a client's If-None-Match names this weak tag."""
    opaque = tag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") in (opaque, "*") for one in if_none_match.split(","))


def _answer(found: NumberedPage, page: int, per_page: int) -> pb.GetTaskResultsResponse:
    items: Any = map(_item, found.items)  # What the stubs do not know: protobuf takes fields for a message.
    return pb.GetTaskResultsResponse(success=True, count=found.tally.kept, page=page, per_page=per_page, items=items)


def _item(item: Item) -> dict[str, object]:
    """Return a TaskResult's fields. As plain values: messages that are then copied cost four times as much."""
    content = orjson.loads(item.content)
    return {
        "published_at": item.publish_time // 1000,
        "buckets": [
            {"name": f"{label}: {value}" if value and value.strip() else label, "value": count}
            for label, value, count in content["buckets"]
        ],
        "exceptions": [{"error": error, "count": count} for error, count in content["exceptions"]],
    }


def _key(key: Credential) -> pb.AircloakKey:
    return pb.AircloakKey(
        id=key.id,
        kind=key.kind.value,
        description=key.display_name,
        user=key.user_id,
        created_at=key.create_time // 1000,
        expires_at=None if key.expire_time is None else key.expire_time // 1000,
        revoked_at=None if key.revoke_time is None else key.revoke_time // 1000,
    )
