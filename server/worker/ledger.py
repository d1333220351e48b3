"""What a worker holds and what it has to say: leases, and reports until they are acknowledged."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from server.worker.kit import LeaseLost, Task
from taskhouse.v1 import datasets_pb2
from taskhouse.v1 import work_pb2 as pb

log = logging.getLogger("taskhouse.worker")

MAX_REPORTS = 1000  # A message has at most this many, and about this size at most: the house takes 4 MiB.
MAX_REPORTS_BYTES = 2 * 1024 * 1024
MAX_WAITING = 2000  # Reports that wait for their acknowledgement; with more, actions wait.
MAX_WAITING_BYTES = 8 * 1024 * 1024  # As above: of results.
LEASE_ENDED = "LEASE_ENDED"
RESULTS = ("publication", "chunk")  # After these the lease goes on.

Name = tuple[str, int]
"""A lease: task id and attempt."""
CountUsers = Callable[["Held", datasets_pb2.CountUsersRequest], datasets_pb2.CountUsersResponse]


class ProtocolBroken(Exception):
    """The house said what it should not."""


class Held:
    """A lease, and the attempt that is made under it."""

    def __init__(self, lease: pb.Lease, count_users: CountUsers) -> None:
        self.name: Name = (lease.task_id, lease.attempt)
        self.task = Task(lease.task_id, lease.attempt, lease.service, lease.action, dict(lease.parameters), self)
        self.lost = False
        self.begun = False
        self.over = False  # Its last report is made.
        self._count_users = count_users
        self._started = time.monotonic()

    @property
    def lease(self) -> pb.LeaseName:
        """The lease's name, as messages have it."""
        return pb.LeaseName(task_id=self.name[0], attempt=self.name[1])

    @property
    def milliseconds(self) -> float:
        """How long it is held."""
        return (time.monotonic() - self._started) * 1000

    def count_users(self, request: datasets_pb2.CountUsersRequest) -> datasets_pb2.CountUsersResponse:
        """Ask the house, in the name of the lease."""
        request.lease.CopyFrom(self.lease)
        return self._count_users(self, request)


class Ledger:
    """Kept by the session's thread, the sending thread and those of the actions. `changed` guards it, and tells of it.

    Every method is called with `changed` held, but `report` and `begin`, which take it.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.session_id = ""
        self.held: dict[Name, Held] = {}
        self._unsent: deque[pb.Report] = deque()
        self._unacknowledged: deque[pb.Report] = deque()  # sent on this connection, in their order
        self._waiting_bytes = 0  # of results, in both

    def report(self, held: Held, *reports: pb.Report) -> None:
        """Say something about a lease. Raises LeaseLost."""
        with self.changed:
            self.changed.wait_for(lambda: held.lost or self._has_room())
            if held.lost or held.over:
                raise LeaseLost
            self.say(held, *reports)

    def say(self, held: Held, *reports: pb.Report) -> None:
        """Say something about a lease, without waiting for room."""
        for report in reports:
            report.lease.CopyFrom(held.lease)
            held.over = held.over or report.WhichOneof("outcome") not in RESULTS
            self._waiting_bytes += _bytes_of(report)
        self._unsent.extend(reports)
        self.changed.notify_all()

    def next_reports(self) -> Sequence[pb.Report]:
        """Take what is to be sent next."""
        taken: list[pb.Report] = []
        size = 0
        while self._unsent and len(taken) < MAX_REPORTS and size < MAX_REPORTS_BYTES:
            taken.append(self._unsent.popleft())
            size += taken[-1].ByteSize()
        self._unacknowledged.extend(taken)
        return taken

    def disconnected(self) -> None:
        """Plan to say again what was not acknowledged."""
        self._unsent.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()
        self.changed.notify_all()

    def welcomed(self, session_id: str) -> None:
        """Go on with the session; if it is another than before, everything that was held is lost."""
        if session_id != self.session_id:
            self.lose(list(self.held))
            self._drop(self._unsent)
            self._unsent = deque()
            self.session_id = session_id
        self.changed.notify_all()

    def add(self, leases: Iterable[pb.Lease], count_users: CountUsers) -> list[Held]:
        """Hold these leases and return the new ones: after a lost connection the house says all of them again."""
        new = [Held(lease, count_users) for lease in leases if (lease.task_id, lease.attempt) not in self.held]
        self.held.update((held.name, held) for held in new)
        return new

    def lose(self, names: Iterable[Name]) -> None:
        """Let go of leases that have ended by the house's word. Their actions learn of it."""
        lost = {name for name in names if name in self.held}
        for name in lost:
            self.held.pop(name).lost = True
        if lost:
            self._drop(report for report in self._unsent if _name(report.lease) in lost)
            self._unsent = deque(report for report in self._unsent if _name(report.lease) not in lost)
        self.changed.notify_all()

    def begin(self, held: Held) -> bool:
        """Say whether an attempt is to be made, now that a thread is free for it."""
        with self.changed:
            held.begun = True
            return not held.lost

    def hand_back(self, held: Held) -> None:
        """Give up a lease undone."""
        if not held.over:
            held.lost = True  # Its action, if it runs, is to stop.
            report = pb.Report()
            getattr(report, "return").SetInParent()  # A word that Python keeps for itself.
            self.say(held, report)

    def acknowledged(self, acknowledgements: Iterable[pb.Acknowledgement]) -> None:
        """Strike out what the house has committed or refused. Raises ProtocolBroken."""
        for acknowledgement in acknowledgements:
            name = _name(acknowledgement.lease)
            if not self._unacknowledged or _name(self._unacknowledged[0].lease) != name:
                raise ProtocolBroken("an acknowledgement of what was not reported")
            report = self._unacknowledged.popleft()
            self._drop([report])
            if held := self.held.get(name):
                self._settle(held, report, acknowledgement.refusal)
        self.changed.notify_all()

    def _settle(self, held: Held, report: pb.Report, refusal: str) -> None:
        outcome = report.WhichOneof("outcome")
        if refusal == LEASE_ENDED:
            log.info("lease ended task=%s attempt=%d outcome=%s", *held.name, outcome)
            self.lose([held.name])
        elif not refusal and outcome not in RESULTS:
            log.info("task=%s attempt=%d outcome=%s ms=%.0f", *held.name, outcome, held.milliseconds)
            del self.held[held.name]
        elif refusal and outcome in RESULTS and not held.lost:
            log.warning("result refused task=%s attempt=%d reason=%s", *held.name, refusal)
            # A completion that follows is refused as well. It may be on its way, so this cannot take its place.
            held.lost = True
            self.say(held, pb.Report(failure=pb.Failure(error=f"The house refused a result: {refusal}.")))
        elif refusal and outcome == "completion" and not held.lost:  # What should have come before it did not.
            log.warning("completion refused task=%s attempt=%d reason=%s", *held.name, refusal)
            self.lose([held.name])

    def _has_room(self) -> bool:
        reports = len(self._unsent) + len(self._unacknowledged)
        return reports < MAX_WAITING and self._waiting_bytes < MAX_WAITING_BYTES

    def _drop(self, reports: Iterable[pb.Report]) -> None:
        self._waiting_bytes -= sum(map(_bytes_of, reports))


def _bytes_of(report: pb.Report) -> int:
    if report.HasField("publication") and report.publication.HasField("histogram"):
        return report.publication.histogram.ByteSize()
    return len(report.chunk.data) + len(report.publication.bytes.data)


def _name(lease: pb.LeaseName) -> Name:
    return lease.task_id, lease.attempt
