"""`/fetch/`: a stored result is downloaded once."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import grpc
from google.api import httpbody_pb2

from server.core import deliveries
from server.core.deliveries import Description, Parcel
from server.core.errors import Refusal, ResultClaimed, ResultNotFound
from server.rest.asapi_door import ALL, Entry, body_of_entries
from server.rest.exchange import headers_of
from server.rest.streams import Answer, whole_or_cut
from server.rpc.door import Context, current_caller
from server.rpc.refusals import refuse
from server.store.engine import Store, StoreUnavailable
from taskhouse.rest.v1 import asapi_results_pb2 as pb

ORIGINAL_METHOD = "x-envoy-original-method"
RENEW_SECONDS = 10.0  # while bytes move; a claim is for 30
RETRY_SECONDS = 1
REST_SECONDS = 0.02  # between two slices of what is removed
NOT_FOUND = {
    "message": "No results were found for this task id.",
    "success": False,
    "error": "task-result-not-found",
}
_Code = grpc.StatusCode


class Downloads:
    """Sends stored results, and removes what is delivered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._afterwards: set[asyncio.Task[None]] = set()
        self._removing = asyncio.Lock()

    async def fetch(self, request: pb.FetchResultRequest, context: Context) -> None:
        """Send the result, or tell of it if the call is a HEAD."""
        headers = headers_of(context)
        caller, task_id = current_caller(), request.task_id
        if headers.get(ORIGINAL_METHOD) == "HEAD":
            try:
                what = await self._store.read(deliveries.describe, caller=caller, task_id=task_id)
            except ResultNotFound:
                await refuse(context, _Code.NOT_FOUND, 404, NOT_FOUND)
            await context.send_initial_metadata(_headers(what))
            await context.write(httpbody_pb2.HttpBody(content_type=what.content_type))
            return
        if "range" in headers:
            text = "A result is sent once and as a whole: there are no ranges."
            body = body_of_entries([Entry(ALL, text, "invalid")], text)
            await refuse(context, _Code.OUT_OF_RANGE, 416, body, accept_ranges="none")
        claiming = asyncio.ensure_future(self._store.write_guarded(deliveries.claim, caller=caller, task_id=task_id))
        try:
            parcel = await asyncio.shield(claiming)
        except ResultNotFound:
            await refuse(context, _Code.NOT_FOUND, 404, NOT_FOUND)
        except ResultClaimed as busy:
            body = body_of_entries([Entry(ALL, str(busy), "unavailable")], str(busy))
            await refuse(context, _Code.UNAVAILABLE, 503, body, retry_after=str(RETRY_SECONDS))
        except asyncio.CancelledError:
            self._afterwards_do(self._give_back(claiming))
            raise
        try:
            async with whole_or_cut(context) as answer:
                await answer.begin(parcel.what.content_type, *_headers(parcel.what))
                await self._send(parcel, answer)
        except BaseException:
            self._afterwards_do(self._give_back(claiming))  # In a task of its own, as this one may be cancelled.
            raise
        if parcel.chunks:
            self._afterwards_do(self._remove())

    async def _send(self, parcel: Parcel, answer: Answer) -> None:
        """Send all parts. Whoever has the last byte is to find the result delivered, so it is held back till then."""
        renewed = time.monotonic()
        last = b""
        for number in range(1, parcel.parts + 1):
            data = await self._store.read(deliveries.part, parcel=parcel, number=number)
            if number == parcel.parts:
                data, last = data[:-1], data[-1:]
            if data:
                await answer.write(data)
            if time.monotonic() - renewed > RENEW_SECONDS:
                renewed = time.monotonic()
                kept = await self._store.write_guarded(deliveries.renew, task_id=parcel.task_id, claim=parcel.claim)
                if not kept:
                    raise ResultClaimed(parcel.task_id)
        name = (parcel.task_id, parcel.claim)
        [delivered] = await asyncio.shield(self._store.write_guarded(deliveries.deliver, claims=[name], retrieved=True))
        if not delivered:
            raise ResultClaimed(parcel.task_id)
        await answer.write(last)

    async def _give_back(self, claiming: "asyncio.Future[Parcel]") -> None:
        """End a claim undone, unless it ended well."""
        with suppress(Refusal, StoreUnavailable):  # There was none; or it ends by its time.
            parcel = await claiming
            await self._store.write_guarded(deliveries.give_back, task_id=parcel.task_id, claim=parcel.claim)

    async def _remove(self) -> None:
        """Remove what nobody needs any more; what is left over because of a failure is swept later."""
        async with self._removing:
            with suppress(StoreUnavailable):
                more = True
                while more:
                    more = await self._store.write_guarded(deliveries.remove_chunks)
                    await asyncio.sleep(REST_SECONDS)

    def _afterwards_do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)


def _headers(what: Description) -> list[tuple[str, str]]:
    headers = [("x-taskhouse-length", str(what.size)), ("accept-ranges", "none"), ("cache-control", "no-store")]
    if what.filename:
        headers.append(("content-disposition", f"attachment; filename*=UTF-8''{quote(what.filename, safe='')}"))
    return headers
