"""WorkService: the stream on which workers get tasks and report on them."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from server.core import reports, work
from server.core.arrivals import MAX_RESULT_BYTES, Bytes, Chunk
from server.core.deliveries import CHUNK_BYTES
from server.core.errors import (
    Fault,
    InvalidFields,
    LeaseEnded,
    ProtocolBroken,
    Refusal,
    ResultTooLarge,
    Stopping,
    invalid,
)
from server.core.reports import Answers, Ending, Failure, Heard, Publication, Report
from server.core.results import MAX_CONTENT_BYTES, Histogram
from server.core.tasks import is_slug
from server.core.work import Lease, LeaseName, Session
from server.rpc.door import Context, current_caller
from server.services.door import reason_of
from server.services.leasing import Leasing, Seat
from server.services.together import Together
from server.store.engine import Store, StoreUnavailable
from taskhouse.v1 import results_pb2, work_pb2_grpc
from taskhouse.v1 import work_pb2 as pb

log = logging.getLogger("taskhouse.work")

MAX_ACTIONS = 1000
MAX_CAPACITY = 10_000
MAX_REPORTS = 1000
MAX_WORKER_NAME = 200
MAX_UNREAD = 8  # Messages taken from a worker before those before them are answered.
MAX_HEARD = 8  # Streams whose reports are written together; each may report 4 MiB.
MAX_RENEWALS = 1000  # Written together.
MAX_FILENAME = 200
UNREAD_SECONDS = work.SESSION_PERIOD / work.SECOND  # A worker that reads nothing for so long is not there.
_CONTENT_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+[ -~]{0,100}", re.ASCII)
LEASES_BYTES = 256 * 1024  # of a message: on a slow line a worker that reads it renews its session after each.


class WorkServicer(work_pb2_grpc.WorkServiceServicer):
    """Serves workers. When `stopping` is set, their streams end with UNAVAILABLE, and they come back elsewhere."""

    def __init__(self, store: Store, stopping: asyncio.Event, *, max_result_bytes: int = MAX_RESULT_BYTES) -> None:
        self._max_result_bytes = max_result_bytes
        self._stopping = stopping
        self._leasing = Leasing(store, stopping)
        self._reports = Together(self._write_reports, most=MAX_HEARD)
        self._renewals = Together(self._write_renewals, most=MAX_RENEWALS)
        self._inboxes: set[_Inbox] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Serve one worker until its stream ends."""
        inbox = _Inbox(requests)
        self._inboxes.add(inbox)
        self._alarm = self._alarm or asyncio.ensure_future(self._wake_all_when_stopping())
        try:
            hello = await self._hello(inbox)
            greeting = await self._leasing.write_soon(
                work.greet, caller=current_caller(), worker=hello.worker, session_id=hello.session_id
            )
            actions = frozenset((action.service, action.action) for action in hello.actions)
            seat = Seat(greeting.session, actions, hello.capacity, inbox.wake)
            has_left = True
            try:
                await _tell(context, welcome=_welcome(greeting.session))
                seat.give(greeting.held)
                self._leasing.seat(seat)
                await self._converse(seat, inbox, context)
            except TimeoutError:
                log.warning("session=%s is left: its worker reads nothing", seat.session.id)
            except StoreUnavailable:
                has_left = False
                raise
            finally:
                self._leasing.unseat(seat)
                if has_left and not self._stopping.is_set():  # Else the house left: coming back takes longer.
                    self._leave(seat.session)
        finally:
            self._inboxes.discard(inbox)
            inbox.close()

    async def _hello(self, inbox: "_Inbox") -> pb.Hello:
        message = None
        while message is None and not inbox.ended:
            await self._woken(inbox)
            message = inbox.take()
        if message is None or message.WhichOneof("message") != "hello":
            raise ProtocolBroken("A worker says hello first.")
        return _checked(message.hello)

    async def _converse(self, seat: Seat, inbox: "_Inbox", context: Context) -> None:
        refused: dict[LeaseName, Refusal] = {}  # Leases that go on, but of which a publication was refused.
        while True:
            ended = inbox.ended and not inbox.messages
            said, renew = _heed(seat, inbox)
            answers = await self._settle(seat, said, refused, renew=renew)
            if answers:
                await _tell(context, acknowledgements=_acknowledgements(said, answers))
            if seat.lost:
                seat.revoke(list(seat.held))
            if seat.leases:
                await _tell(context, leases=_next_leases(seat))
            revoked, seat.revoked = seat.revoked, []
            if revoked:
                names = [pb.LeaseName(task_id=task_id, attempt=attempt) for task_id, attempt in revoked]
                await _tell(context, revocations=pb.Revocations(leases=names))
            if seat.lost or ended:
                return
            await self._woken(inbox)

    async def _settle(
        self, seat: Seat, said: Sequence[Report], refused: dict[LeaseName, Refusal], *, renew: bool
    ) -> Answers:
        """Write what the worker said, and return, after the commit, the answers to its reports."""
        if renew and not await self._renewals.ask(seat.session):
            seat.lose()
        if not said:
            return []
        answers = await self._reports.ask(Heard(seat.session, said, refused))
        for (lease, outcome), answer in zip(said, answers, strict=True):
            # A completion is refused because of a result that was, and the lease goes on; or its task ended by it.
            is_last_word = isinstance(outcome, Ending | Failure) and (answer is None or lease not in refused)
            if is_last_word or isinstance(answer, LeaseEnded):
                seat.held.discard(lease)
                refused.pop(lease, None)
            elif answer is not None and lease in seat.held:
                refused[lease] = answer
        self._leasing.poke()
        return answers

    async def _write_reports(self, heard: Sequence[Heard]) -> list[Answers]:
        return await self._leasing.write_guarded(reports.report, heard=heard, max_bytes=self._max_result_bytes)

    async def _write_renewals(self, sessions: Sequence[Session]) -> list[bool]:
        return await self._leasing.write_soon(work.renew, sessions=sessions)

    async def _woken(self, inbox: "_Inbox") -> None:
        """Wait until there is something to do. Raises Stopping, and what the reading of the stream met."""
        await inbox.wake.wait()
        inbox.wake.clear()
        if self._stopping.is_set():
            raise Stopping
        if inbox.ended and inbox.error:
            raise inbox.error

    async def _wake_all_when_stopping(self) -> None:
        await self._stopping.wait()
        for inbox in self._inboxes:
            inbox.wake.set()

    def _leave(self, session: Session) -> None:
        """Note that the stream is gone; in a task of its own, as the stream's may have been cancelled."""
        task = asyncio.ensure_future(self._write_leave(session))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _write_leave(self, session: Session) -> None:
        try:
            await self._leasing.write_soon(work.leave, session=session)
        except StoreUnavailable as error:
            log.warning("session=%s ends by its time: %s", session.id, error)
        self._leasing.poke()


class _Inbox:
    """What a worker says, read ahead of its handling, so that the stream can be told something meanwhile."""

    def __init__(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        self.messages: deque[pb.WorkRequest] = deque()
        self.wake = asyncio.Event()
        self.ended = False
        self.error: Refusal | None = None
        self._room = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read(requests))

    def take(self) -> pb.WorkRequest | None:
        """Return the next message, if there is one."""
        self._room.set()
        return self.messages.popleft() if self.messages else None

    def close(self) -> None:
        """Read no more."""
        self._reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        try:
            async for request in requests:
                self.messages.append(request)
                self.wake.set()
                while len(self.messages) >= MAX_UNREAD:
                    self._room.clear()
                    await self._room.wait()
        except Refusal as error:  # An undecodable message.
            self.error = error
        finally:
            self.ended = True
            self.wake.set()


async def _tell(context: Context, **message: Any) -> None:
    """Send a message. Raises TimeoutError if the worker has read so little for so long that there is no room for it."""
    async with asyncio.timeout(UNREAD_SECONDS):
        await context.write(pb.WorkResponse(**message))


def _heed(seat: Seat, inbox: _Inbox) -> tuple[list[Report], bool]:
    """Take what the worker said; return what it reported, and whether it renewed its session."""
    said: list[Report] = []
    renew = False
    while len(said) < MAX_REPORTS and (message := inbox.take()):
        kind = message.WhichOneof("message")
        if kind == "reports":
            if len(message.reports.reports) > MAX_REPORTS:
                raise invalid("reports.reports", f"must be at most {MAX_REPORTS}")
            said += map(_report, message.reports.reports)
        elif kind == "renewal":
            renew = True
        elif kind == "drain":
            seat.draining = True
        else:
            raise ProtocolBroken("A worker says hello once, and then only what the contract has.")
    if inbox.messages or inbox.ended:
        inbox.wake.set()
    return said, renew


def _checked(hello: pb.Hello) -> pb.Hello:
    faults = []
    if len(hello.worker) > MAX_WORKER_NAME:
        faults.append(Fault("hello.worker", f"must have at most {MAX_WORKER_NAME} characters"))
    if not 1 <= len(hello.actions) <= MAX_ACTIONS:
        faults.append(Fault("hello.actions", f"must be 1 to {MAX_ACTIONS}"))
    for number, action in enumerate(hello.actions[:MAX_ACTIONS]):
        for field, slug in (("service", action.service), ("action", action.action)):
            if not is_slug(slug):
                faults.append(Fault(f"hello.actions[{number}].{field}", "must be a slug"))
    if not 1 <= hello.capacity <= MAX_CAPACITY:
        faults.append(Fault("hello.capacity", f"must be 1 to {MAX_CAPACITY}"))
    if faults:
        raise InvalidFields(tuple(faults))
    return hello


def _welcome(session: Session) -> pb.Welcome:
    return pb.Welcome(
        session_id=session.id,
        renew_period=_duration(work.RENEW_PERIOD),
        session_period=_duration(work.SESSION_PERIOD),
    )


def _duration(micros: int) -> Duration:
    return Duration(seconds=micros // work.SECOND, nanos=micros % work.SECOND * 1000)


def _lease_to_proto(lease: Lease) -> pb.Lease:
    return pb.Lease(
        task_id=lease.name.task_id,
        attempt=lease.name.attempt,
        service=lease.service,
        action=lease.action,
        parameters=lease.parameters,
    )


def _next_leases(seat: Seat) -> pb.Leases:
    """Take a message of the leases that are to be sent; the rest follows in the stream's next turn."""
    message = pb.Leases()
    size = 0
    while seat.leases and size < LEASES_BYTES:
        lease = _lease_to_proto(seat.leases.popleft())
        message.leases.append(lease)
        size += lease.ByteSize()
    if seat.leases:
        seat.wake.set()
    return message


def _report(report: pb.Report) -> Report:
    lease = LeaseName(report.lease.task_id, report.lease.attempt)
    kind = report.WhichOneof("outcome")
    if kind == "publication":
        return Report(lease, _publication(report.publication))
    if kind == "chunk":
        return Report(lease, Chunk(report.chunk.number, report.chunk.data))
    if kind == "completion":
        return Report(lease, Ending.COMPLETED)
    if kind == "failure":
        return Report(lease, Failure(report.failure.error, report.failure.non_retryable))
    if kind == "return":
        return Report(lease, Ending.RETURNED)
    return Report(lease, invalid("outcome", "is required"))


def _publication(publication: pb.Publication) -> Publication | Refusal:
    if publication.number < 1:
        return invalid("publication.number", "must be at least 1")
    kind = publication.WhichOneof("content")
    if kind is None:
        return invalid("publication.content", "is required")
    if kind == "bytes":
        return _bytes(publication)
    histogram = _histogram(publication.histogram)
    if fault := histogram.fault():
        return invalid("publication.histogram", fault)
    content = histogram.to_json()
    if len(content.encode()) > MAX_CONTENT_BYTES:
        return ResultTooLarge(MAX_CONTENT_BYTES)
    return Publication(publication.number, content)


def _bytes(publication: pb.Publication) -> Publication | Refusal:
    data, content_type, filename = publication.bytes.data, publication.bytes.content_type, publication.bytes.filename
    if len(data) > CHUNK_BYTES:
        return invalid("publication.bytes.data", f"must have at most {CHUNK_BYTES} bytes")
    if not _CONTENT_TYPE.fullmatch(content_type):
        return invalid("publication.bytes.content_type", "must be a media type of at most 200 characters")
    if len(filename) > MAX_FILENAME or not filename.isprintable():
        return invalid("publication.bytes.filename", f"must have at most {MAX_FILENAME} printable characters")
    content = Bytes(data, publication.bytes.chunk_count, content_type, filename or None)
    return Publication(publication.number, content)


def _histogram(histogram: results_pb2.Histogram) -> Histogram:
    return Histogram(
        [(one.label, one.value if one.HasField("value") else None, one.count) for one in histogram.buckets],
        [(one.error, one.count) for one in histogram.exceptions],
    )


def _acknowledgements(said: Sequence[Report], answers: Answers) -> pb.Acknowledgements:
    return pb.Acknowledgements(
        acknowledgements=[
            pb.Acknowledgement(
                lease=pb.LeaseName(task_id=lease.task_id, attempt=lease.attempt),
                refusal="" if answer is None else reason_of(answer),
            )
            for (lease, _), answer in zip(said, answers, strict=True)
        ]
    )
