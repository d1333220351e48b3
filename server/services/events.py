"""EventService."""

import asyncio
from collections.abc import Sequence

import orjson

from server.core import event_log, events
from server.core.errors import invalid
from server.core.event_log import Filters
from server.core.events import Event
from server.rpc.door import Context, current_caller
from server.services.times import micros_of, timestamp
from server.services.watching import Watching
from server.store.engine import Store
from taskhouse.v1 import events_pb2 as pb
from taskhouse.v1 import events_pb2_grpc

SENT_AT_ONCE = 100  # events of a stream that are read together


class EventServicer(events_pb2_grpc.EventServiceServicer):
    """Serves event logs. When `stopping` is set, the streams that watch them end."""

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store = store
        self._watching = Watching(store, stopping, self._look)

    async def _look(self, logs: Sequence[int | None]) -> dict[int | None, int]:
        return await self._store.read(event_log.progress, logs=logs)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of events."""
        caller = current_caller()
        page = await self._store.scan(
            event_log.listed,
            caller=caller,
            organization=request.organization,
            filters=Filters(
                start_time=micros_of(request.start_time, "start_time") if request.HasField("start_time") else None,
                end_time=micros_of(request.end_time, "end_time") if request.HasField("end_time") else None,
                actor=request.actor,
                action=request.action,
                object_kind=request.object_kind,
                object_id=request.object_id,
            ),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        owner = request.organization or caller.organization
        return pb.ListEventsResponse(
            events=(event_to_proto(event, owner) for event in page.items), next_page_token=page.next_page_token
        )

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Send events, and each new one."""
        if request.after < 0:
            raise invalid("after", "must not be negative")
        caller, sent = current_caller(), request.after
        owner = request.organization or caller.organization
        log = await self._store.read(event_log.log_of, caller=caller, organization=request.organization)
        await context.send_initial_metadata(())  # The first event may be long in coming.
        with self._watching.watched(log) as watched:
            while True:
                found = await self._store.scan(events.page, organization_id=log, after=sent, most=SENT_AT_ONCE)
                for event in found:
                    await context.write(event_to_proto(event, owner))
                    sent = event.sequence
                if not found:
                    await watched.changed()


def event_to_proto(event: Event, organization: str) -> pb.Event:
    """Render an event of an organization's log ("": the house's)."""
    return pb.Event(
        sequence=event.sequence,
        organization=organization,
        event_time=timestamp(event.event_time),
        actor_id=event.actor_id,
        actor_name=event.actor_name,
        action=event.action,
        object_kind=event.object.kind,
        object_id=event.object.id,
        before=None if event.before is None else orjson.dumps(event.before).decode(),
        after=None if event.after is None else orjson.dumps(event.after).decode(),
        reason=event.reason,
        host=event.host,
        digest=event.digest,
    )
