"""How far tasks are, in the words of the asapi API."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from google.api import httpbody_pb2

from server.core import deliveries, errors
from server.core.deliveries import DeliveryState, Status
from server.core.errors import MAX_VALUE, Fault, FaultKind, InvalidFields
from server.core.tasks import Retrieval, TaskState
from server.rest.asapi_door import ID_LENGTH, IDS, form_of, ids_of, python2_text
from server.rest.exchange import headers_of
from server.rest.origins import origin_of
from server.rpc.door import Context, current_caller
from server.store.engine import Store
from taskhouse.rest.v1 import asapi_pb2 as pb

INLINE_IDS = 500  # More are read and answered in threads, as they would hold up everybody else.
UNKNOWN = '{"success":false,"error":"No task with this ID was found."}'
INVALID = "Invalid task_id value: {}"
_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_S, _D = TaskState, DeliveryState


class Text(NamedTuple):
    """One of the seven documented statuses."""

    text: str
    published: bool = False  # There is something to be had, or it was had.
    error: str = ""

    @property
    def success(self) -> bool:
        """Whether the documented `success` is true."""
        return self.published and not self.error


FAILURE = "Task did not complete successfully."
PENDING = Text("Pending")
IN_PROGRESS = Text("In progress")
WORK_COMPLETE = Text("Work complete")
PUBLISH_ONGOING = Text("Publish ongoing, with result available", published=True)
PUBLISH_COMPLETE = Text("Publish complete", published=True)
PUBLISH_FAILED = Text("Publish failed", published=True, error=FAILURE)
FAILED = Text(FAILURE, published=True, error=FAILURE)
ON_ITS_WAY = frozenset({_D.AVAILABLE, _D.CLAIMED})


def text_of(status: Status) -> Text:
    """Return what is told of a task and its delivery."""
    state = TaskState(status.state)
    delivery = DeliveryState(status.delivery or _D.AWAITED)
    if state in (_S.PENDING, _S.RUNNING):
        if delivery not in (_D.AWAITED, _D.ARRIVING):  # It stays published if its worker dies before it ends the task.
            return PUBLISH_ONGOING
        return PENDING if state is _S.PENDING else IN_PROGRESS if delivery is _D.AWAITED else WORK_COMPLETE
    if state is _S.SUCCEEDED:
        sending = status.retrieval == Retrieval.ASCHANNEL and delivery in ON_ITS_WAY
        return PUBLISH_ONGOING if sending else PUBLISH_COMPLETE
    return PUBLISH_FAILED if status.unstorable else FAILED


class Statuses:
    """Answers how far tasks are. `public_url` is as AsapiServicer has it."""

    def __init__(self, store: Store, public_url: str) -> None:
        self._store = store
        self._public_url = public_url

    async def answer(self, request: pb.GetTaskStatusesRequest, context: Context) -> httpbody_pb2.HttpBody:
        """Answer an entry for each id; or refuse, if none could be one."""
        ids = await ids_of(context, await form_of(context, request.http_body))
        if not ids:
            raise InvalidFields((Fault(IDS, "is required", FaultKind.MISSING),))
        few = len(ids) <= INLINE_IDS
        possible = [given.lower() for given in ids if len(given) == ID_LENGTH and given.isprintable()]
        found = await (self._store.read if few else self._store.scan)(
            deliveries.statuses, organization_id=current_caller().tenant, task_ids=possible
        )
        if not found and not any(map(_ID.fullmatch, ids)):
            return await _refused(context, [(INVALID.format(errors.cut(each, MAX_VALUE)), "invalid") for each in ids])
        fetch = f"{origin_of(headers_of(context), self._public_url)}/fetch/"
        if few:
            return _answer(_rendered(ids, found, fetch))
        return _answer(await asyncio.to_thread(_rendered, ids, found, fetch))


def _rendered(ids: Sequence[str], found: Sequence[Status], fetch: str) -> str:
    """Return the answer's JSON. Entries of tasks that are equally far differ in an address only: each is made once."""
    by_id = {status.task_id: status for status in found}
    alike: dict[tuple[Any, ...], tuple[str, str]] = {}
    entries = []
    for given in ids:
        task_id = given.lower()
        if status := by_id.get(task_id):
            kind = status[1:]
            if kind not in alike:
                alike[kind] = _entry(status, fetch)
            head, tail = alike[kind]
            entries.append(f'"{given}":{head}{task_id}{tail}' if tail else f'"{given}":{head}')
        elif _ID.fullmatch(given):
            entries.append(f'"{given}":{UNKNOWN}')
        elif given != "success":  # Which is the answer's own.
            shown = errors.cut(given, MAX_VALUE)
            entries.append(f"{_json(shown)}:{_json({'success': False, 'error': INVALID.format(shown)})}")
    return f'{{{",".join(entries)},"success":true}}'


def _entry(status: Status, fetch: str) -> tuple[str, str]:
    """Return an entry's JSON: whole, or what stands before and after the id in the address of its download."""
    told = text_of(status)
    entry: dict[str, object] = {"status": told.text}
    if told.published:
        entry["retrieval_protocol"] = status.retrieval
    entry |= {"result_retrieved": bool(status.retrieved), "success": told.success}
    if told.error:
        entry["error"] = told.error
    if not told.published or status.retrieval != Retrieval.ASSTORE:
        return _json(entry), ""
    head, _, tail = _json(entry | {"retrieval_endpoint": f"{fetch}\0/"}).partition("\\u0000")
    return head, tail


async def _refused(context: Context, told: Sequence[tuple[str, str]]) -> httpbody_pb2.HttpBody:
    """Answer 400 in a body of any length: refusals travel in headers."""
    await context.send_initial_metadata((("x-taskhouse-status", "400"),))
    errors_ = {IDS: [(python2_text(text), code) for text, code in told]}
    return _answer(_json({"errors": errors_, "success": False, "error": told[0][0]}))


def _answer(text: str) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=text.encode())


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
