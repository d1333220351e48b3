"""StatService."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any, ParamSpec, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from server.core import stats
from server.core.errors import StreamIdle, invalid
from server.core.pages import read_page, token_of
from server.core.stats import Asked
from server.core.stats_content import Values
from server.core.stats_filters import Condition, Operator
from server.core.stats_searching import Searching
from server.rpc.door import Context, current_caller
from server.services.stats_messages import (
    changes_of,
    conditions_of,
    contents_of,
    key_of,
    order_of,
    place_of,
    stat_to_proto,
)
from server.services.times import micros_of
from server.store.engine import Store
from taskhouse.v1 import stats_pb2 as pb
from taskhouse.v1 import stats_pb2_grpc

IDLE_SECONDS = 60
INLINE_BYTES = 64 * 1024  # Larger messages are read in a thread.

P = ParamSpec("P")
T = TypeVar("T")


class StatServicer(stats_pb2_grpc.StatServiceServicer):
    """Serves stats to their organization, and to all if it shares them."""

    def __init__(self, store: Store, searching: Searching) -> None:
        self._store = store
        self._searching = searching

    async def Write(self, request_iterator: AsyncIterator[pb.WriteRequest], context: Context) -> pb.WriteResponse:  # noqa: ARG002, N802 - as generated.
        """Store the stats of a stream; while those of one message are committed, the next one is read."""
        caller = current_caller()
        answer = pb.WriteResponse()

        async def commit(contents: list[Values]) -> None:
            written = await self._store.write_guarded(stats.add, caller=caller, contents=contents)
            answer.written += written
            answer.existing += len(contents) - written

        committing: asyncio.Task[None] | None = None
        try:
            for number in count():
                request = await _next(request_iterator)
                if request is None:
                    break
                beside = _beside(request)
                contents = await beside(contents_of, request.stats, f"messages[{number}].")
                if committing:
                    await committing
                committing = asyncio.create_task(commit(contents))
            if committing:
                await committing
        finally:
            if committing:  # What was begun ends as it ends: the client knows only that the stream broke.
                await asyncio.gather(committing, return_exceptions=True)
        return answer

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of stats."""
        paging = read_page(request.page_size, request.page_token)
        order = order_of(request.order_by)
        after = place_of(paging.after, order) if paging.after else None
        asked = Asked(conditions_of(request.filters), order, after, 0, paging.size, cut=True)
        page = await self._searching.page(caller=current_caller(), asked=asked)
        token = token_of(key_of(page.last)) if page.has_more and page.last else ""
        return pb.QueryResponse(stats=map(stat_to_proto, page.stats), next_page_token=token)

    async def GetStat(self, request: pb.GetStatRequest, context: Context) -> pb.Stat:  # noqa: ARG002, N802 - as generated.
        """Return one stat."""
        return stat_to_proto(await self._store.read(stats.get, caller=current_caller(), stat_id=request.stat_id))

    async def UpdateStat(self, request: pb.UpdateStatRequest, context: Context) -> pb.Stat:  # noqa: ARG002, N802 - as generated.
        """Change what the mask names."""
        values = await _beside(request)(changes_of, request.stat, list(request.update_mask.paths))
        stat = await self._store.write(stats.update, caller=current_caller(), stat_id=request.stat.id, values=values)
        return stat_to_proto(stat)

    async def DeleteStat(self, request: pb.DeleteStatRequest, context: Context) -> Empty:  # noqa: ARG002, N802 - as generated.
        """Delete one stat."""
        await self._store.write(stats.delete, caller=current_caller(), stat_id=request.stat_id)
        return Empty()

    async def PurgeStats(self, request: pb.PurgeStatsRequest, context: Context) -> pb.PurgeStatsResponse:  # noqa: ARG002, N802 - as generated.
        """Delete old stats, slice by slice."""
        if not request.HasField("before_time"):
            raise invalid("before_time", "must be given")
        before = micros_of(request.before_time, "before_time")
        age = Condition("created_at", (), Operator.LT, negated=False, values=(before,))
        conditions = (age, *conditions_of(request.filters))
        purged = await self._searching.purge(caller=current_caller(), conditions=conditions)
        return pb.PurgeStatsResponse(deleted=purged.deleted, has_more=purged.has_more)


async def _next(requests: AsyncIterator[pb.WriteRequest]) -> pb.WriteRequest | None:
    """Return the next message; None after the last. Raises StreamIdle."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await anext(requests, None)
    except TimeoutError as error:
        raise StreamIdle(IDLE_SECONDS) from error


def _beside(request: Message) -> Any:
    """Return how a message is read: at once, or beside the event loop."""
    return _at_once if request.ByteSize() <= INLINE_BYTES else asyncio.to_thread


async def _at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return work(*args, **kwargs)
