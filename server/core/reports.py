"""What workers report of their leases."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

import uuid_utils

from server.core.arrivals import MAX_RESULT_BYTES, Arrivals, Bytes, Chunk, as_bytes
from server.core.errors import LeaseEnded, Refusal, invalid
from server.core.tasks import Retrieval, TaskState, is_id
from server.core.work import LeaseName, Session, back_off, failed, tell_failures
from server.store import deliveries, results
from server.store import work as store
from server.store.engine import Tx
from server.store.results import Number
from server.store.work import Reported

MAX_ERROR = 2000


class Ending(Enum):
    """How a lease ends by its worker's word."""

    COMPLETED = auto()
    RETURNED = auto()


class Publication(NamedTuple):
    """One result, numbered by its worker."""

    number: int
    content: str | Bytes  # a histogram as it is kept, or what follows the chunks of the result


class Failure(NamedTuple):
    """Why an attempt failed."""

    error: str
    non_retryable: bool = False  # Trying again would be in vain.


Outcome = Publication | Chunk | Failure | Ending


class Report(NamedTuple):
    """What became of one leased task. A Refusal as outcome: it cannot be accepted, and that is to be the answer."""

    lease: LeaseName
    outcome: Outcome | Refusal


class Heard(NamedTuple):
    """Reports of one session, and its leases that go on but of which a publication was refused before."""

    session: Session
    reports: Sequence[Report]
    refused: Mapping[LeaseName, Refusal]


Answers = list[Refusal | None]
"""To each report in its order: None if it is accepted."""


async def report(tx: Tx, *, heard: Sequence[Heard], max_bytes: int = MAX_RESULT_BYTES) -> list[Answers]:
    """Apply the reports of several sessions, each one's in their order, and return the answers to each.

    `max_bytes` is how large the result of a task may be whose results are no pages.

    The reports of a session that has ended change nothing. A lease of which a publication was refused, by these reports
    or by those before, can only fail or be handed back: completed, it would seem whole. A verb for Store.write_guarded.
    """
    live = set(await store.keep_sessions(tx, [one.session for one in heard]))
    said = [report for one in heard for report in one.reports]
    ids = dict.fromkeys(lease.task_id for lease, _ in said if is_id(lease.task_id))
    numbers = {
        Number(lease.task_id, outcome.number): None
        for lease, outcome in said
        if isinstance(outcome, Publication) and lease.task_id in ids
    }
    before = {task.id: task for task in await store.reported(tx, list(ids))}
    parcels = [task.id for task in before.values() if task.retrieval != Retrieval.PAGES]
    arrivals = Arrivals(tx.now, await deliveries.kept(tx, parcels) if parcels else (), max_bytes)
    desk = _Desk(tx.now, before, set(await results.published(tx, list(numbers)) if numbers else ()), arrivals)
    answers = [desk.answer(one, live=one.session in live) for one in heard]
    changed = [task for task in desk.tasks.values() if task is not before[task.id]]
    if changed:
        await store.settle(tx, changed)
    if desk.new:
        await results.publish(tx, desk.new)
    if parcels:
        await arrivals.close(tx)
        await tell_failures(tx, changed)
    return answers


class _Desk:
    """The tasks that are reported on, as they are after each report."""

    def __init__(self, now: int, tasks: Mapping[str, Reported], published: set[Number], arrivals: Arrivals) -> None:
        self.now = now
        self._arrivals = arrivals
        self.tasks = dict(tasks)
        self.new: list[results.New] = []
        self._published = published

    def answer(self, heard: Heard, *, live: bool) -> Answers:
        """Return the answers to one session's reports."""
        answers: Answers = []
        refused = dict(heard.refused)
        for lease, outcome in heard.reports:
            answer: Refusal | None = None
            task = self._held(heard.session.id, lease) if live else None
            if isinstance(outcome, Refusal):
                answer = outcome
            elif task and lease in refused and not (isinstance(outcome, Failure) or outcome is Ending.RETURNED):
                answer = refused[lease]
            elif task:
                answer = self._apply(task, outcome)
            elif not self._is_known(lease, outcome):
                answer = LeaseEnded(*lease)
            if answer is not None:
                refused[lease] = answer
            answers.append(answer)
        return answers

    def _held(self, session_id: str, lease: LeaseName) -> Reported | None:
        """Return the task, if this is its lease."""
        task = self.tasks.get(lease.task_id)
        # A task has a session if and only if it is RUNNING.
        if task is None or task.session_id != session_id or task.attempt != lease.attempt:
            return None
        return task

    def _apply(self, task: Reported, outcome: Outcome) -> Refusal | None:
        """Change the task. A result that no attempt could publish ends it, and is refused."""
        refusal: Refusal | None = None
        if task.retrieval != Retrieval.PAGES and not isinstance(outcome, Failure):
            refusal = self._arrive(task, outcome)
        elif isinstance(outcome, Chunk) or (isinstance(outcome, Publication) and isinstance(outcome.content, Bytes)):
            refusal = invalid("publication.bytes", "the results of this task are pages, which are histograms")
        if refusal:
            task = failed(task, str(refusal), now=self.now, delay=None)
        elif isinstance(outcome, Publication):
            task = self._publish(task, outcome)
        elif outcome is Ending.COMPLETED:
            task = task._replace(state=TaskState.SUCCEEDED, session_id=None, error=None, end_time=self.now)
        elif outcome is Ending.RETURNED:
            task = task._replace(state=TaskState.PENDING, session_id=None)
        elif isinstance(outcome, Failure):
            error = outcome.error.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_ERROR]
            delay = None if outcome.non_retryable else back_off(task.id, task.failures + 1)
            task = failed(task, error, now=self.now, delay=delay)
        self.tasks[task.id] = task
        return refusal

    def _arrive(self, task: Reported, outcome: Publication | Chunk | Ending) -> Refusal | None:
        """Take in the one result of a task, or some of it; return why that cannot be."""
        if isinstance(outcome, Chunk):
            return self._arrivals.add(task.id, task.attempt, outcome)
        if isinstance(outcome, Publication):
            content = outcome.content if isinstance(outcome.content, Bytes) else as_bytes(outcome.content)
            return self._arrivals.publish(task.id, task.attempt, outcome.number, content)
        if outcome is Ending.COMPLETED and not self._arrivals.has_result(task.id):
            return invalid("completion", "this task publishes a result")
        return None

    def _publish(self, task: Reported, publication: Publication) -> Reported:
        """Add a result, unless there is one under its number."""
        if task.retrieval != Retrieval.PAGES:
            return task._replace(result_count=1)
        number = Number(task.id, publication.number)
        if number in self._published:
            return task
        self._published.add(number)
        content = str(publication.content)
        new = results.New(
            str(uuid_utils.uuid7()), task.organization_id, *number, publish_time=self.now, content=content
        )
        self.new.append(new)
        return task._replace(result_count=task.result_count + 1)

    def _is_known(self, lease: LeaseName, outcome: Outcome) -> bool:
        """Say whether this was accepted before, and only its acknowledgement got lost."""
        task = self.tasks.get(lease.task_id)
        if task is None or task.attempt != lease.attempt or task.state != TaskState.SUCCEEDED:
            return False
        if isinstance(outcome, Publication) and task.retrieval == Retrieval.PAGES:
            return Number(task.id, outcome.number) in self._published
        return not isinstance(outcome, Failure) and outcome is not Ending.RETURNED
