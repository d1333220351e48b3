"""Work: sessions of workers, their leases, and what they report.

A lease is a task and an attempt. The attempt grows with each lease of a task and never returns, so it is the fence:
whatever is reported under an older one is refused.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

import orjson
import uuid_utils

from server.core.caller import Caller
from server.core.errors import LeaseEnded, Refusal
from server.core.results import Histogram
from server.core.tasks import TaskState
from server.store import results
from server.store import work as store
from server.store.engine import Tx

SECOND = 1_000_000  # microseconds
RENEW_PERIOD = 3 * SECOND
SESSION_PERIOD = 10 * SECOND
RETURN_PERIOD = 1 * SECOND  # How long a worker whose stream closed has to come back.
MAX_FAILURES = 5
FIRST_BACK_OFF = 1 * SECOND  # Doubled with each further failure.
MAX_ERROR = 2000
MAX_GRANTS = 1000  # In one transaction; what is left follows in the next.
DIED = "The worker was lost."

Action = tuple[str, str]
"""Service and action, by their slugs."""


class LeaseName(NamedTuple):
    """A task and the number of its lease."""

    task_id: str
    attempt: int


class Lease(NamedTuple):
    """One worker's right to do one task."""

    name: LeaseName
    service: str
    action: str
    parameters: dict[str, str]


class Session(NamedTuple):
    """A worker's session, as one stream has it."""

    id: str
    stream: int


class Greeting(NamedTuple):
    """What a worker gets for its hello."""

    session: Session
    held: list[Lease]  # of the session's earlier stream, the oldest task first


class Look(NamedTuple):
    """What there is to do for the workers of one process."""

    ready: bool  # Some task could be leased.
    revoked: bool  # Some worker is to be told that its lease ended.
    expired: bool  # Some session has ended.
    next_time: int | None  # When, if nothing is committed before, there will be something; microseconds.


class Wish(NamedTuple):
    """How many leases a session wants, and of what."""

    session: Session
    actions: frozenset[Action]
    free: int


class Granted(NamedTuple):
    """What was leased, by session, the oldest task first; and the sessions that ended or moved to another stream."""

    leases: dict[Session, list[Lease]]
    lost: list[Session]


class Ending(Enum):
    """How a lease ends by its worker's word."""

    COMPLETED = auto()
    RETURNED = auto()


class Publication(NamedTuple):
    """One result, numbered by its worker."""

    number: int
    histogram: Histogram


class Failure(NamedTuple):
    """Why an attempt failed."""

    error: str


class Report(NamedTuple):
    """What became of one leased task. A Refusal as outcome: it cannot be accepted, and that is to be the answer."""

    lease: LeaseName
    outcome: Publication | Failure | Ending | Refusal


def back_off(failures: int) -> int:
    """Return how long a task waits after this many failures, in microseconds."""
    return FIRST_BACK_OFF << (failures - 1) if failures > 0 else 0


# Sessions


async def greet(tx: Tx, *, caller: Caller, worker: str, session_id: str) -> Greeting:
    """Resume the caller's session with its leases, or open a new one if it has none that lives under this id."""
    until = tx.now + SESSION_PERIOD
    worker = worker.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if session_id:
        stream = await store.resume_session(
            tx, session_id=session_id, credential_id=caller.credential_id, worker=worker, expire_time=until
        )
        if stream is not None:
            held = await store.held_by(tx, session_id)
            return Greeting(Session(session_id, stream), [_lease(one) for one in held])
    session = Session(str(uuid_utils.uuid4()), 1)
    await store.open_session(
        tx, session_id=session.id, credential_id=caller.credential_id, worker=worker, expire_time=until
    )
    return Greeting(session, [])


async def renew(tx: Tx, *, session: Session) -> bool:
    """Keep the session; False if it has ended, or another stream has it."""
    until = tx.now + SESSION_PERIOD
    return await store.renew_session(tx, session_id=session.id, stream=session.stream, expire_time=until)


async def leave(tx: Tx, *, session: Session) -> None:
    """Note that the session's stream is gone: its worker has a second to come back, if it has leases."""
    until = tx.now + RETURN_PERIOD
    mine = await store.leave_session(tx, session_id=session.id, stream=session.stream, expire_time=until)
    if mine and not await store.held_by(tx, session.id):
        await store.forget_session(tx, session.id)


async def sweep(tx: Tx) -> list[str]:
    """End the sessions whose time is over, give their tasks to others, and return their ids.

    A death counts as a failure. The first one brings no delay: it is rather the machine's fault than the task's.
    """
    expired = await store.expired_sessions(tx)
    for session_id in expired:
        for alike in await store.endings(tx, session_id):
            failed = _failed(alike.failures + 1, DIED, now=tx.now, delay=back_off(alike.failures))
            await store.fail_alike(tx, session_id=session_id, from_failures=alike.failures, failed=failed)
        await store.forget_session(tx, session_id)
    return expired


# Leases


async def look(tx: Tx, *, actions: Iterable[Action], sessions: Collection[str]) -> Look:
    """Say what there is to do for these sessions and for tasks of these actions. Cheap: a few index look-ups."""
    soonest = [
        time
        for service, action in actions
        if (time := await store.soonest(tx, service=service, action=action)) is not None
    ]
    expiry = await store.next_expiry(tx)
    revoked = any(one.session_id in sessions for one in await store.revoked(tx))
    times = [*(time for time in soonest if time > tx.now), *([expiry] if expiry else [])]
    return Look(
        ready=any(time <= tx.now for time in soonest),
        revoked=revoked,
        expired=expiry is not None and expiry <= tx.now,
        next_time=min(times, default=None),
    )


async def grant(tx: Tx, *, wishes: Sequence[Wish]) -> Granted:
    """Lease ready tasks to the sessions that want them, the longest ready first, dealt out in turn."""
    granted: dict[Session, list[Lease]] = {}
    lost: list[Session] = []
    takers: dict[Action, deque[Session]] = {}
    free: dict[Session, int] = {}
    for session, actions, wanted in wishes:
        if not await store.is_live(tx, session_id=session.id, stream=session.stream):
            lost.append(session)
            continue
        free[session] = wanted
        for action in actions:
            takers.setdefault(action, deque()).append(session)
    most = min(sum(free.values()), MAX_GRANTS)
    found = [
        (*one, (service, action))
        for service, action in takers
        for one in await store.waiting(tx, service=service, action=action, most=most)
    ]
    for _, task_id, action in sorted(found)[:MAX_GRANTS]:
        taker = _next_taker(takers[action], free)
        if taker is None:
            continue
        held = await store.grant(tx, task_id=task_id, session_id=taker.id)
        if held:
            free[taker] -= 1
            granted.setdefault(taker, []).append(_lease(held))
    return Granted({session: sorted(leases) for session, leases in granted.items()}, lost)


async def take_revoked(tx: Tx, *, sessions: Sequence[str]) -> Mapping[str, list[LeaseName]]:
    """Return, once only, the leases of these sessions that ended by somebody else's word."""
    taken: dict[str, list[LeaseName]] = {}
    for one in await store.take_revoked(tx, sessions):
        taken.setdefault(one.session_id, []).append(LeaseName(one.task_id, one.attempt))
    return taken


async def lease_holder(tx: Tx, *, caller: Caller, task_id: str, attempt: int) -> int:
    """Return the id of the task's organization, if a live session of the caller holds this lease. Raises LeaseEnded."""
    organization_id = await store.organization_of_lease(
        tx, credential_id=caller.credential_id, task_id=task_id, attempt=attempt
    )
    if organization_id is None:
        raise LeaseEnded(task_id, attempt)
    return organization_id


# Reports


async def report(
    tx: Tx, *, session: Session, reports: Sequence[Report], refused: Mapping[LeaseName, Refusal]
) -> list[Refusal | None]:
    """Apply the reports in their order and return the answer to each: None if it is accepted.

    The reports of a session that has ended change nothing. A lease of which a publication was refused, by these reports
    or by those before (`refused`), can only fail or be handed back: completed, it would seem whole.
    """
    live = await store.is_live(tx, session_id=session.id, stream=session.stream)
    answers: list[Refusal | None] = []
    refused = dict(refused)
    for lease, outcome in reports:
        answer: Refusal | None
        if isinstance(outcome, Refusal):
            answer = outcome
        elif lease in refused and (isinstance(outcome, Publication) or outcome is Ending.COMPLETED):
            answer = refused[lease]
        elif live:
            answer = None if await _apply(tx, session.id, lease, outcome) else LeaseEnded(*lease)
        else:
            answer = None if await _is_known(tx, lease, outcome) else LeaseEnded(*lease)
        if answer is not None:
            refused[lease] = answer
        answers.append(answer)
    return answers


async def _apply(tx: Tx, session_id: str, lease: LeaseName, outcome: Publication | Failure | Ending) -> bool:
    task_id, attempt = lease
    if isinstance(outcome, Publication):
        return await _publish(tx, session_id, lease, outcome) or await _is_known(tx, lease, outcome)
    if outcome is Ending.COMPLETED:
        done = await store.complete(tx, session_id=session_id, task_id=task_id, attempt=attempt)
        return done or await _is_known(tx, lease, outcome)
    if outcome is Ending.RETURNED:
        return await store.hand_back(tx, session_id=session_id, task_id=task_id, attempt=attempt)
    leased = await store.leased(tx, session_id=session_id, task_id=task_id, attempt=attempt)
    if leased is None:
        return False
    error = outcome.error.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_ERROR]
    failures = leased.failures + 1
    failed = _failed(failures, error, now=tx.now, delay=back_off(failures))
    return await store.fail(tx, session_id=session_id, task_id=task_id, attempt=attempt, failed=failed)


async def _publish(tx: Tx, session_id: str, lease: LeaseName, publication: Publication) -> bool:
    organization_id = await store.count_result(tx, session_id=session_id, task_id=lease.task_id, attempt=lease.attempt)
    if organization_id is None:
        return False
    new = await results.publish(
        tx,
        result_id=str(uuid_utils.uuid7()),
        organization_id=organization_id,
        task_id=lease.task_id,
        number=publication.number,
        content=publication.histogram.to_json(),
    )
    if not new:
        await store.uncount_result(tx, lease.task_id)
    return True


async def _is_known(tx: Tx, lease: LeaseName, outcome: Publication | Failure | Ending) -> bool:
    """Say whether this was accepted before, and only its acknowledgement got lost."""
    if await store.state_at(tx, task_id=lease.task_id, attempt=lease.attempt) != TaskState.SUCCEEDED:
        return False
    if isinstance(outcome, Publication):
        return await results.is_published(tx, task_id=lease.task_id, number=outcome.number)
    return outcome is Ending.COMPLETED


def _next_taker(takers: deque[Session], free: Mapping[Session, int]) -> Session | None:
    """Return whose turn it is. Those who have enough leave the queue."""
    while takers:
        if free[takers[0]]:
            takers.rotate(-1)
            return takers[-1]
        takers.popleft()
    return None


def _failed(failures: int, error: str, *, now: int, delay: int) -> store.Failed:
    if failures >= MAX_FAILURES:
        return store.Failed(TaskState.FAILED, failures, error, now, now)
    return store.Failed(TaskState.PENDING, failures, error, now + delay, None)


def _lease(held: store.Held) -> Lease:
    return Lease(LeaseName(held.task_id, held.attempt), held.service, held.action, orjson.loads(held.parameters))
