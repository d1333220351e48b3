"""A worker's session: its connections, one after the other, and the attempts that it makes."""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from server.worker.houses import House, HouseAway, WorkerRefused
from server.worker.kit import Action, BadResult, Bytes, LeaseLost, NonRetryable, Result, Worker
from server.worker.ledger import Held, Ledger, ProtocolBroken
from server.worker.threads import Threads
from taskhouse.v1 import datasets_pb2, datasets_pb2_grpc, work_pb2_grpc
from taskhouse.v1 import work_pb2 as pb

log = logging.getLogger("taskhouse.worker")

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.05, 5.0
CALL_SECONDS = 30.0  # How long an action waits for the house's answer to one call, lost connections included.
COUNT_SECONDS = 600.0  # How long for a count: one that takes longer than a call goes on, and who asks again finds it.
MAX_WAIT_SECONDS = 1.0  # How long, at least, a task waits here for a thread before others may have it.
PARTING_SECONDS = 3.0  # How long a stopping worker waits for its last acknowledgements.
MAX_ERROR = 2000

_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_TEMPORARY = _AWAY | {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
}
_REASONS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAUTHENTICATED: "its credential is unknown, revoked or expired; an operator makes another",
    grpc.StatusCode.PERMISSION_DENIED: "its credential is not one of the house for workers",
    grpc.StatusCode.UNIMPLEMENTED: "what answers there is not a house, or one of another version",
}


class _Connection:
    """One stream, and how far it has come."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.call: grpc.Call | None = None
        self.welcomed = False
        self.drained = False  # The house was told that the worker stops.
        self.over = False
        self.renew_seconds = 0.0
        self.renew_time = 0.0

    def end_within(self, seconds: float) -> None:
        """Leave it to the house to end the stream, but not for ever."""
        if self.call is not None:
            timer = threading.Timer(seconds, self.call.cancel)
            timer.daemon = True
            timer.start()


class Session:
    """Does tasks of these workers' actions, each in a thread of its own, until `stop`."""

    def __init__(
        self,
        workers: Sequence[Worker],
        house: House,
        *,
        capacity: int,
        name: str = "",
        on_welcome: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what can be done, and how many tasks at a time. `on_welcome` is called at each welcome."""
        self._actions = _joined(workers)
        self._house = house
        self._capacity = capacity
        self._name = name or f"{socket.gethostname()}/{os.getpid()}"
        self._on_welcome = on_welcome
        self._threads = Threads(capacity)
        self._ledger = Ledger()
        self._changed = self._ledger.changed  # Guards what follows, too.
        self._connection: _Connection | None = None  # that is welcomed and not over
        self._stop_time: float | None = None  # When what is not done is handed back.
        self._failures = 0  # to connect, one after the other
        self._away = ""  # why the house is away, as it was told last

    # For the program

    def run(self) -> None:
        """Work until `stop`, through lost connections. Raises WorkerRefused."""
        while True:
            try:
                channel = self._house.open()
            except HouseAway as error:
                self._tell_away(str(error))
            else:
                self._converse(_Connection(channel))
            with self._changed:
                delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10))
                delay *= random.uniform(0.5, 1)  # noqa: S311 - so that workers do not all come back at once.
                self._failures += 1
                if self._changed.wait_for(self._is_done, delay):
                    return

    def stop(self, grace_seconds: float) -> None:
        """Take no more tasks, and hand back what is not done within the grace; then `run` returns."""
        with self._changed:
            self._stop_time = time.monotonic() + grace_seconds
            self._changed.notify_all()

    def _is_done(self) -> bool:
        if self._stop_time is None:
            return False
        return not self._ledger.held or time.monotonic() >= self._stop_time + PARTING_SECONDS

    # Connections

    def _converse(self, connection: _Connection) -> None:
        stub = work_pb2_grpc.WorkServiceStub(connection.channel)
        call = connection.call = stub.Work(self._messages(connection), metadata=self._house.metadata)
        try:
            for response in call:
                self._hear(connection, response)
        except grpc.RpcError as error:
            self._judge(error, welcomed=connection.welcomed)
        except ProtocolBroken as error:
            self._tell_away(str(error))
        finally:
            with self._changed:
                connection.over = True
                self._connection = None
                self._ledger.disconnected()
            call.cancel()
            connection.channel.close()

    def _messages(self, connection: _Connection) -> Iterator[pb.WorkRequest]:
        """Yield what is to be said, when it is to be said; gRPC asks for it in a thread of its own."""
        yield pb.WorkRequest(hello=self._hello())
        while True:
            with self._changed:
                while (message := self._next_message(connection)) is None:
                    if connection.over:
                        return
                    if connection.drained and self._is_done():
                        connection.end_within(PARTING_SECONDS)
                        return
                    self._changed.wait(self._seconds_until_due(connection))
            yield message

    def _hello(self) -> pb.Hello:
        with self._changed:
            return pb.Hello(
                worker=self._name[:200],
                session_id=self._ledger.session_id,
                actions=[pb.ActionName(service=service, action=action) for service, action in self._actions],
                capacity=self._capacity,
            )

    def _next_message(self, connection: _Connection) -> pb.WorkRequest | None:
        if connection.over or not connection.welcomed:
            return None
        now = time.monotonic()
        if self._stop_time is not None:
            if not connection.drained:
                connection.drained = True
                return pb.WorkRequest(drain=pb.Drain())
            if now >= self._stop_time:
                for held in list(self._ledger.held.values()):
                    self._ledger.hand_back(held)
        if now >= connection.renew_time:
            connection.renew_time = now + connection.renew_seconds
            self._hand_back_what_waits()
            return pb.WorkRequest(renewal=pb.Renewal())
        reports = self._ledger.next_reports()
        return pb.WorkRequest(reports=pb.Reports(reports=reports)) if reports else None

    def _hand_back_what_waits(self) -> None:
        """Give leases up for which there is no thread: actions that go on after their lease was lost occupy them."""
        for held in list(self._ledger.held.values()):
            if not held.begun and held.milliseconds > MAX_WAIT_SECONDS * 1000:
                self._ledger.hand_back(held)

    def _seconds_until_due(self, connection: _Connection) -> float | None:
        if not connection.welcomed:
            return None
        due = connection.renew_time
        if self._stop_time is not None:
            later = self._stop_time + PARTING_SECONDS
            due = min(due, later if time.monotonic() >= self._stop_time else self._stop_time)
        return max(0.0, due - time.monotonic())

    def _hear(self, connection: _Connection, response: pb.WorkResponse) -> None:
        kind = response.WhichOneof("message")
        with self._changed:
            if kind == "welcome":
                self._heed_welcome(connection, response.welcome)
            elif kind == "leases":
                for held in self._ledger.add(response.leases.leases, self._count_users):
                    self._begin(held)
            elif kind == "acknowledgements":
                self._ledger.acknowledged(response.acknowledgements.acknowledgements)
            elif kind == "revocations":
                self._ledger.lose((lease.task_id, lease.attempt) for lease in response.revocations.leases)
        if kind == "welcome":
            self._on_welcome()

    def _heed_welcome(self, connection: _Connection, welcome: pb.Welcome) -> None:
        self._ledger.welcomed(welcome.session_id)
        connection.welcomed = True
        connection.renew_seconds = welcome.renew_period.ToTimedelta().total_seconds()
        connection.renew_time = time.monotonic() + connection.renew_seconds
        self._connection = connection
        self._failures = 0
        if self._away:
            log.warning("the house is back")
            self._away = ""

    def _judge(self, error: grpc.RpcError, *, welcomed: bool) -> None:
        """Take a lost connection as it is meant. Raises WorkerRefused if another one would end like it."""
        code, details = error.code(), error.details() or ""
        if code not in _TEMPORARY:
            raise WorkerRefused(f"the house refuses this worker: {_REASONS.get(code, details)}") from error
        if code in _AWAY and not welcomed:
            details = self._house.explain()
        if self._stop_time is None or code is not grpc.StatusCode.CANCELLED:  # Else it was us.
            self._tell_away(details or code.name)

    def _tell_away(self, why: str) -> None:
        if why != self._away:
            log.warning("the house is away (%s); trying again", why)
            self._away = why

    # Attempts

    def _begin(self, held: Held) -> None:
        if self._stop_time is not None:
            self._ledger.hand_back(held)
        else:
            self._threads.start(lambda: self._attempt(held))

    def _attempt(self, held: Held) -> None:
        """Make one attempt; in a thread of its own."""
        if not self._ledger.begin(held):
            return
        try:
            outcome = self._actions[held.task.service, held.task.action](held.task)
            try:
                self._publish(held, outcome)
            finally:
                if isinstance(outcome, Generator):
                    outcome.close()
        except LeaseLost:
            log.info("lease lost task=%s attempt=%d", *held.name)
        except BaseException as error:  # noqa: BLE001 - even sys.exit() in an action fails its attempt and nothing else.
            self._fail(held, error)

    def _publish(self, held: Held, outcome: object) -> None:
        completion = pb.Report(completion=pb.Completion())
        if isinstance(outcome, Result):
            self._ledger.report(held, self._last_of(held, outcome, 1), completion)
        elif isinstance(outcome, Iterator):
            for number, result in enumerate(outcome, start=1):
                self._ledger.report(held, self._last_of(held, result, number))
            self._ledger.report(held, completion)
        else:
            raise BadResult(f"the action returned {type(outcome).__name__}, not a Result")

    def _last_of(self, held: Held, result: object, number: int) -> pb.Report:
        """Send the chunks of a result, if it is so large, and return what publishes it."""
        if not isinstance(result, Result):
            raise BadResult(f"the action yielded {type(result).__name__}, not a Result")
        if not isinstance(result.content, Bytes):
            return pb.Report(publication=pb.Publication(number=number, histogram=result.content))
        chunks = result.content.chunks()
        count, last = 0, next(chunks)
        for chunk in chunks:
            count += 1
            self._ledger.report(held, pb.Report(chunk=pb.Chunk(number=count, data=last)))
            last = chunk
        content = pb.Bytes(
            data=last, chunk_count=count, content_type=result.content.content_type, filename=result.content.filename
        )
        return pb.Report(publication=pb.Publication(number=number, bytes=content))

    def _fail(self, held: Held, error: BaseException) -> None:
        log.warning("attempt failed task=%s attempt=%d", *held.name, exc_info=error)
        try:
            failure = pb.Failure(error=_text(error), non_retryable=isinstance(error, NonRetryable))
            self._ledger.report(held, pb.Report(failure=failure))
        except LeaseLost:
            log.info("lease lost task=%s attempt=%d", *held.name)

    def _count_users(self, held: Held, request: datasets_pb2.CountUsersRequest) -> datasets_pb2.CountUsersResponse:
        """Ask the house; again, if there is no answer meanwhile.

        Raises LeaseLost, HouseAway, NonRetryable, grpc.RpcError.
        """
        until = time.monotonic() + CALL_SECONDS
        last = time.monotonic() + COUNT_SECONDS
        while True:
            channel = self._channel_for(held, until)
            seconds = max(0.0, until - time.monotonic())
            try:
                stub = datasets_pb2_grpc.DatasetServiceStub(channel)
                return stub.CountUsers(request, timeout=seconds, metadata=self._house.metadata)
            except grpc.RpcError as error:
                now = time.monotonic()
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and now < last:
                    until = now + CALL_SECONDS
                elif _is_final(error):
                    raise NonRetryable(_text(error)) from error
                elif error.code() not in _AWAY or not seconds:
                    raise
            except ValueError:  # The channel was closed since we took it.
                log.debug("asking again on another connection task=%s", held.name[0])
            with self._changed:
                self._changed.wait_for(lambda: held.lost, FIRST_RETRY_SECONDS)

    def _channel_for(self, held: Held, until: float) -> grpc.Channel:
        with self._changed:
            self._changed.wait_for(lambda: held.lost or self._connection, max(0.0, until - time.monotonic()))
            if held.lost:
                raise LeaseLost
            if self._connection is None or time.monotonic() >= until:
                raise HouseAway("the house was away for too long")
            return self._connection.channel


def _joined(workers: Sequence[Worker]) -> dict[tuple[str, str], Action]:
    actions: dict[tuple[str, str], Action] = {}
    for worker in workers:
        if not worker.actions:
            raise WorkerRefused(f"the Worker of {worker.service} has no actions: give it some with @worker.action(…)")
        for slug, action in worker.actions.items():
            if (worker.service, slug) in actions:
                raise WorkerRefused(f"there are two actions {worker.service}/{slug}")
            actions[worker.service, slug] = action
    return actions


def _is_final(error: grpc.RpcError) -> bool:
    """Say whether a count would be refused again, whenever it is asked for."""
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    info = ErrorInfo()
    if status and any(each.Unpack(info) and info.reason == "BUDGET_EXHAUSTED" for each in status.details):
        return True
    return error.code() is grpc.StatusCode.INVALID_ARGUMENT


def _text(error: BaseException) -> str:
    """Return what is told of an attempt's failure: text that a message can hold, whatever the exception is."""
    name = type(error).__name__
    try:
        if isinstance(error, NonRetryable):
            text = str(error)
        elif isinstance(error, grpc.RpcError):
            text = f"{error.code().name}: {error.details()}"
        else:
            text = f"{name}: {error}"
    except BaseException:  # noqa: BLE001 - that is the action's code, too.
        text = name
    return text.encode(errors="backslashreplace").decode()[:MAX_ERROR]
