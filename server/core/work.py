"""Work: sessions of workers, and their leases. What they report is in `reports.py`.

A lease is a task and an attempt. The attempt grows with each lease of a task and never returns, so it is the fence:
whatever is reported under an older one is refused. The verbs are for Store.write_guarded.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import orjson
import uuid_utils

from server.core.caller import Caller
from server.core.errors import LeaseEnded
from server.core.tasks import Retrieval, TaskState, is_id
from server.store import deliveries
from server.store import work as store
from server.store.engine import Tx
from server.store.work import Reported

SECOND = 1_000_000  # microseconds
RENEW_PERIOD = 3 * SECOND
SESSION_PERIOD = 10 * SECOND
RETURN_PERIOD = 1 * SECOND  # How long a worker whose stream closed has to come back.
MAX_FAILURES = 5
FIRST_BACK_OFF = 1 * SECOND  # Doubled with each further failure.
MAX_GRANTS = 1000  # In one transaction; what is left follows in the next.
MAX_DEATHS = 20  # As above. A session may hold 10,000 leases.
MAX_AHEAD = 60 * SECOND  # No time that is waited for is further ahead, or the clock was set back since.
DIED = "The worker was lost."

_NO_ACTION = ("", "")  # So that the store is asked about one at least.

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


Session = store.SessionName
"""A worker's session, as one stream has it."""


class Greeting(NamedTuple):
    """What a worker gets for its hello."""

    session: Session
    held: list[Lease]  # of the session's earlier stream, the oldest task first


class Look(NamedTuple):
    """What there is to do for the workers of one process. Times are microseconds since 1970 in UTC."""

    now: int
    ready: frozenset[Action]  # Tasks of these could be leased.
    revoked: bool  # Some worker is to be told that its lease ended.
    expired: bool  # Some session has ended.
    astray: bool  # A task or a session waits for a time that is too far ahead.
    next_time: int | None  # When, if nothing is committed before, there will be something.


class Wish(NamedTuple):
    """How many leases a session wants, and of what."""

    session: Session
    actions: frozenset[Action]
    free: int


class Granted(NamedTuple):
    """What was leased, by session, the oldest task first; and the sessions that ended or moved to another stream."""

    leases: dict[Session, list[Lease]]
    lost: list[Session]


# Sessions


async def greet(tx: Tx, *, caller: Caller, worker: str, session_id: str) -> Greeting:
    """Resume the caller's session with its leases, or open a new one if it has none under this id."""
    until = tx.now + SESSION_PERIOD
    worker = worker.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if is_id(session_id):
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


async def renew(tx: Tx, *, sessions: Sequence[Session]) -> list[bool]:
    """Keep the sessions; False for one that has ended, or that another stream has."""
    renewed = await store.renew_sessions(tx, sessions=sessions, expire_time=tx.now + SESSION_PERIOD)
    return [session in renewed for session in sessions]


async def leave(tx: Tx, *, session: Session) -> None:
    """Note that the session's stream is gone: its worker has a second to come back, if it has leases."""
    until = tx.now + RETURN_PERIOD
    mine = await store.leave_session(tx, session_id=session.id, stream=session.stream, expire_time=until)
    if mine and not await store.held_by(tx, session.id):
        await store.forget_sessions(tx, [session.id])


async def spare(tx: Tx) -> None:
    """After the house was away: let sessions last as if their workers had just renewed them.

    Those that were left less than a second ago end in time: their workers are gone for another reason.
    """
    await store.lengthen_sessions(tx, earliest=tx.now + SESSION_PERIOD)


async def sweep(tx: Tx, *, seen: int) -> list[str]:
    """End some sessions whose time is over, give their tasks to others, and return the sessions' ids.

    `seen` is when it was decided to do so: by as much as this comes late, renewals may have had to wait, too. Until it
    is swept, a session is as good as any other. A death counts as a failure. The first one brings no delay: it is
    rather the machine's fault than the task's.
    """
    late = max(0, tx.now - seen)
    expired = await store.expired_sessions(tx, until=seen - late, most=MAX_DEATHS)
    if expired:
        left = [
            failed(task, DIED, now=tx.now, delay=back_off(task.id, task.failures))
            for task in await store.held_by_sessions(tx, expired)
        ]
        if left:
            await store.settle(tx, left)
            await tell_failures(tx, left)
        await store.forget_sessions(tx, expired)
    return expired


# Leases


async def look(tx: Tx, *, actions: Iterable[Action], sessions: Sequence[str]) -> Look:
    """Say what there is to do for these sessions and for tasks of these actions. Cheap: a few index look-ups."""
    seen = await store.look(tx, actions=[*actions, _NO_ACTION], session_ids=sessions)
    expiry, last_expiry, revoked = seen[0][4:]
    soonest = {(one.service, one.action): one.ready_time for one in seen if one.ready_time is not None}
    times = [*(time for time in soonest.values() if time > tx.now), *([expiry] if expiry else [])]
    latest = [last_expiry or 0, *(one.last_ready_time or 0 for one in seen)]
    return Look(
        now=tx.now,
        ready=frozenset(action for action, time in soonest.items() if time <= tx.now),
        revoked=revoked > 0,
        expired=expiry is not None and expiry <= tx.now,
        astray=max(latest) > tx.now + MAX_AHEAD,
        next_time=min(times, default=None),
    )


async def set_right(tx: Tx, *, actions: Iterable[Action]) -> None:
    """After the clock was set back: have nothing wait until it is again what it was."""
    for service, action in actions:
        await store.hurry(tx, service=service, action=action, latest=tx.now + MAX_AHEAD)
    await store.shorten_sessions(tx, latest=tx.now + SESSION_PERIOD)


async def grant(tx: Tx, *, wishes: Sequence[Wish], ready: Collection[Action]) -> Granted:
    """Lease tasks of ready actions to the sessions that want them, the longest ready first, dealt out in turn."""
    kept = set(await store.keep_sessions(tx, [wish.session for wish in wishes]))
    takers: dict[Action, deque[Session]] = {}
    free: dict[Session, int] = {}
    for session, actions, wanted in wishes:
        if session in kept:
            free[session] = wanted
            for action in actions.intersection(ready):
                takers.setdefault(action, deque()).append(session)
    most = min(sum(free.values()), MAX_GRANTS)
    found = [
        (*one, (service, action))
        for service, action in takers
        for one in await store.waiting(tx, service=service, action=action, most=most)
    ]
    dealt = [
        store.Grant(task_id, taker.id)
        for _, task_id, action in sorted(found)[:most]
        if (taker := _next_taker(takers[action], free))
    ]
    of_id = {session.id: session for session in free}
    leases: dict[Session, list[Lease]] = {}
    for held in await store.grant(tx, dealt) if dealt else ():
        leases.setdefault(of_id[held.session_id], []).append(_lease(held))
    lost = [wish.session for wish in wishes if wish.session not in kept]
    return Granted({session: sorted(mine) for session, mine in leases.items()}, lost)


async def hold(tx: Tx, *, sessions: Sequence[Session]) -> Granted:
    """Renew the sessions and return all that they hold, as if it were granted now.

    For when nobody knows what became of a grant: it has the sessions locked until it is committed or not, and renewing
    them waits for that.
    """
    kept = await store.renew_sessions(tx, sessions=sessions, expire_time=tx.now + SESSION_PERIOD)
    leases = {session: [_lease(held) for held in await store.held_by(tx, session.id)] for session in kept}
    return Granted(leases, [session for session in sessions if session not in leases])


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


def back_off(task_id: str, failures: int) -> int:
    """Return how long a task waits after this many failures, in microseconds.

    A quarter of it depends on the task, so that those that failed together do not all come back at once.
    """
    if not failures:
        return 0
    longest = FIRST_BACK_OFF << (failures - 1)
    return longest - longest * (crc32(task_id.encode()) % 256) // 1024


def failed(task: Reported, error: str, *, now: int, delay: int | None) -> Reported:
    """Return what one more failure makes of a task; without a delay it is the last."""
    failures = task.failures + 1
    task = task._replace(session_id=None, failures=failures, error=error)
    if failures >= MAX_FAILURES or delay is None:
        return task._replace(state=TaskState.FAILED, end_time=now)
    return task._replace(state=TaskState.PENDING, ready_time=now + delay)


async def tell_failures(tx: Tx, tasks: Iterable[Reported]) -> None:
    """Let those who wait for results learn which of these tasks ended badly."""
    ended = [task.id for task in tasks if task.retrieval != Retrieval.PAGES and task.state == TaskState.FAILED]
    if ended:
        await deliveries.fail(tx, ended)


def _next_taker(takers: deque[Session], free: dict[Session, int]) -> Session | None:
    """Return whose turn it is, and count it. Those who have enough leave the queue."""
    while takers:
        if free[takers[0]]:
            takers.rotate(-1)
            free[takers[-1]] -= 1
            return takers[-1]
        takers.popleft()
    return None


def _lease(held: store.Held) -> Lease:
    return Lease(LeaseName(held.task_id, held.attempt), held.service, held.action, orjson.loads(held.parameters))
