"""Workers' sessions, and what workers do to tasks. Every change of a task is guarded by its state and attempt."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, null, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Tx
from server.store.tasks import TASKS


class SessionRow(SQLModel, table=True):
    """A worker that holds, or may hold, leases."""

    __tablename__ = "worker_sessions"
    __table_args__ = (Index("sessions_by_expiry", "expire_time"),)

    id: str = Field(primary_key=True)
    credential_id: str = Field(foreign_key="credentials.id")
    worker: str
    stream: int  # Grows when a stream takes the session up or leaves it: what an earlier one does is void.
    expire_time: int = micros()  # moved on by each renewal


class RevocationRow(SQLModel, table=True):
    """A lease that ended while a worker held it; kept until its stream has taken it to tell the worker."""

    __tablename__ = "lease_revocations"
    __table_args__ = (Index("revocations_of_session", "session_id"),)

    task_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    session_id: str


SESSIONS = table_of(SessionRow)
REVOCATIONS = table_of(RevocationRow)
_S, _T, _X = SESSIONS.c, TASKS.c, REVOCATIONS.c


class Held(NamedTuple):
    """A task that is leased."""

    task_id: str
    attempt: int
    service: str
    action: str
    parameters: str


class Waiting(NamedTuple):
    """A task that may be leased."""

    ready_time: int
    task_id: str


class Revoked(NamedTuple):
    """A lease whose worker is to be told that it ended."""

    session_id: str
    task_id: str
    attempt: int


class Leased(NamedTuple):
    """What a report needs to know of its task."""

    organization_id: int
    failures: int


class Ending(NamedTuple):
    """How often a task failed before, and how often that occurs among a session's tasks."""

    failures: int
    tasks: int


class _Number(NamedTuple):
    value: int | None


class _Text(NamedTuple):
    value: str


class _Outcome(NamedTuple):
    state: str
    attempt: int


_PENDING = text("state = 'PENDING'")  # As the partial index has it.
_RUNNING = _T.state == "RUNNING"
_SESSION = _S.id == bindparam("session_id")
_STREAM = _S.stream == bindparam("of_stream")
_LIVE = _S.expire_time > bindparam("now")
_ACTION = (_T.service == bindparam("service"), _T.action == bindparam("action"))
_LEASE = (
    _T.id == bindparam("task_id"),
    _T.attempt == bindparam("of_attempt"),
    _T.session_id == bindparam("of_session"),
    _RUNNING,
)
_HELD = (_T.id, _T.attempt, _T.service, _T.action, _T.parameters)

# Sessions

_OPEN = Command(
    insert(SESSIONS).values(
        id=bindparam("session_id"),
        credential_id=bindparam("credential_id"),
        worker=bindparam("worker"),
        stream=1,
        expire_time=bindparam("expire_time"),
    )
)
_RESUME = Query(
    update(SESSIONS)
    .where(_SESSION, _S.credential_id == bindparam("of_credential"), _LIVE)
    .values(stream=_S.stream + 1, worker=bindparam("worker"), expire_time=bindparam("until"))
    .returning(_S.stream),
    _Number,
)
_RENEW = Command(update(SESSIONS).where(_SESSION, _STREAM, _LIVE).values(expire_time=bindparam("until")))
_LEAVE = Command(
    update(SESSIONS).where(_SESSION, _STREAM, _LIVE).values(stream=_S.stream + 1, expire_time=bindparam("until"))
)
_FORGET = Command(delete(SESSIONS).where(_SESSION))
_IS_LIVE = Query(select(_S.stream).where(_SESSION, _STREAM, _LIVE), _Number)
_EXPIRED = Query(select(_S.id).where(_S.expire_time <= bindparam("now")).order_by(_S.expire_time), _Text)
_NEXT_EXPIRY = Query(select(func.min(_S.expire_time)), _Number)

# Leases

_SOONEST = Query(select(func.min(_T.ready_time)).where(_PENDING, *_ACTION), _Number)
_WAITING = Query(
    select(_T.ready_time, _T.id)
    .where(_PENDING, *_ACTION, _T.ready_time <= bindparam("now"))
    .order_by(_T.ready_time, _T.id)
    .limit(bindparam("most")),
    Waiting,
)
_GRANT = Query(
    update(TASKS)
    .where(_T.id == bindparam("task_id"), _PENDING)
    .values(
        state="RUNNING",
        attempt=_T.attempt + 1,
        session_id=bindparam("to_session"),
        start_time=func.coalesce(_T.start_time, bindparam("now")),
    )
    .returning(*_HELD),
    Held,
)
_OF_SESSION = Query(select(*_HELD).where(_T.session_id == bindparam("session_id")).order_by(_T.id), Held)
_HOLDER = Query(
    select(_T.organization_id)
    .select_from(TASKS.join(SESSIONS, _S.id == _T.session_id))
    .where(
        _T.id == bindparam("task_id"),
        _T.attempt == bindparam("of_attempt"),
        _RUNNING,
        _S.credential_id == bindparam("of_credential"),
        _LIVE,
    ),
    _Number,
)

# Reports

_COUNT_RESULT = Query(
    update(TASKS).where(*_LEASE).values(result_count=_T.result_count + 1).returning(_T.organization_id), _Number
)
_UNCOUNT_RESULT = Command(update(TASKS).where(_T.id == bindparam("task_id")).values(result_count=_T.result_count - 1))
_LEASED = Query(select(_T.organization_id, _T.failures).where(*_LEASE), Leased)
_OUTCOME = Query(select(_T.state, _T.attempt).where(_T.id == bindparam("task_id")), _Outcome)
_COMPLETE = Command(
    update(TASKS).where(*_LEASE).values(state="SUCCEEDED", session_id=null(), error=null(), end_time=bindparam("now"))
)
_RETURN = Command(update(TASKS).where(*_LEASE).values(state="PENDING", session_id=null()))
_FAILED = {
    "state": bindparam("to_state"),
    "session_id": null(),
    "failures": bindparam("failures"),
    "error": bindparam("why"),
    "ready_time": bindparam("ready"),
    "end_time": bindparam("ended"),
}
_FAIL = Command(update(TASKS).where(*_LEASE).values(**_FAILED))

# Deaths

_ENDINGS = Query(
    select(_T.failures, func.count()).where(_T.session_id == bindparam("session_id")).group_by(_T.failures), Ending
)
_FAIL_ALIKE = Command(
    update(TASKS)
    .where(_T.session_id == bindparam("of_session"), _RUNNING, _T.failures == bindparam("from_failures"))
    .values(**_FAILED)
)

# Revocations

_REVOKE = Command(
    insert(REVOCATIONS).values(
        task_id=bindparam("task_id"), attempt=bindparam("attempt"), session_id=bindparam("session_id")
    )
)
_REVOKED = Query(select(_X.session_id, _X.task_id, _X.attempt), Revoked)
_TAKE = Command(delete(REVOCATIONS).where(_X.session_id == bindparam("session_id")))


async def open_session(tx: Tx, *, session_id: str, credential_id: str, worker: str, expire_time: int) -> None:
    """Store a new session, at its first stream."""
    await tx.run(_OPEN, session_id=session_id, credential_id=credential_id, worker=worker, expire_time=expire_time)


async def resume_session(tx: Tx, *, session_id: str, credential_id: str, worker: str, expire_time: int) -> int | None:
    """Give the session to a new stream and return that stream's number; None if this credential has no such session."""
    found = await tx.one(
        _RESUME, session_id=session_id, of_credential=credential_id, worker=worker, until=expire_time, now=tx.now
    )
    return found.value if found else None


async def renew_session(tx: Tx, *, session_id: str, stream: int, expire_time: int) -> bool:
    """Move the session's end, if it lives and this stream has it."""
    return await tx.run(_RENEW, session_id=session_id, of_stream=stream, until=expire_time, now=tx.now) == 1


async def leave_session(tx: Tx, *, session_id: str, stream: int, expire_time: int) -> bool:
    """Take the session from this stream, to end at `expire_time`, if it lives and this stream has it."""
    return await tx.run(_LEAVE, session_id=session_id, of_stream=stream, until=expire_time, now=tx.now) == 1


async def forget_session(tx: Tx, session_id: str) -> None:
    """Delete a session that has no leases any more, and what its worker was to be told."""
    await tx.run(_TAKE, session_id=session_id)
    await tx.run(_FORGET, session_id=session_id)


async def is_live(tx: Tx, *, session_id: str, stream: int) -> bool:
    """Say whether the session lives and this stream has it."""
    return await tx.one(_IS_LIVE, session_id=session_id, of_stream=stream, now=tx.now) is not None


async def expired_sessions(tx: Tx) -> list[str]:
    """Return the sessions that have ended by now."""
    return [found.value for found in await tx.all(_EXPIRED, now=tx.now)]


async def next_expiry(tx: Tx) -> int | None:
    """Return when the first session ends."""
    found = await tx.one(_NEXT_EXPIRY)
    return found.value if found else None


async def soonest(tx: Tx, *, service: str, action: str) -> int | None:
    """Return when the first pending task of this action is ready."""
    found = await tx.one(_SOONEST, service=service, action=action)
    return found.value if found else None


async def waiting(tx: Tx, *, service: str, action: str, most: int) -> list[Waiting]:
    """Return pending tasks of this action that are ready, the longest ready first."""
    return await tx.all(_WAITING, service=service, action=action, now=tx.now, most=most)


async def grant(tx: Tx, *, task_id: str, session_id: str) -> Held | None:
    """Lease the task to the session under its next attempt; None if it is not pending any more."""
    return await tx.one(_GRANT, task_id=task_id, to_session=session_id, now=tx.now)


async def held_by(tx: Tx, session_id: str) -> list[Held]:
    """Return the session's leases, the oldest task first."""
    return await tx.all(_OF_SESSION, session_id=session_id)


async def organization_of_lease(tx: Tx, *, credential_id: str, task_id: str, attempt: int) -> int | None:
    """Return the organization of a task whose lease a live session of this credential holds."""
    found = await tx.one(_HOLDER, of_credential=credential_id, task_id=task_id, of_attempt=attempt, now=tx.now)
    return found.value if found else None


async def count_result(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> int | None:
    """Count one result more for a leased task and return its organization; None if this is not its lease."""
    found = await tx.one(_COUNT_RESULT, of_session=session_id, task_id=task_id, of_attempt=attempt)
    return found.value if found else None


async def uncount_result(tx: Tx, task_id: str) -> None:
    """Take back a count_result."""
    await tx.run(_UNCOUNT_RESULT, task_id=task_id)


async def leased(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> Leased | None:
    """Return what is to be known of a leased task; None if this is not its lease."""
    return await tx.one(_LEASED, of_session=session_id, task_id=task_id, of_attempt=attempt)


async def state_at(tx: Tx, *, task_id: str, attempt: int) -> str | None:
    """Return the task's state if this is its latest attempt."""
    found = await tx.one(_OUTCOME, task_id=task_id)
    return found.state if found and found.attempt == attempt else None


async def complete(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> bool:
    """End a leased task well, if this is its lease."""
    return await tx.run(_COMPLETE, of_session=session_id, task_id=task_id, of_attempt=attempt, now=tx.now) == 1


async def hand_back(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> bool:
    """Make a leased task pending as it was, if this is its lease."""
    return await tx.run(_RETURN, of_session=session_id, task_id=task_id, of_attempt=attempt) == 1


class Failed(NamedTuple):
    """What a failed attempt makes of its task."""

    to_state: str
    failures: int
    why: str
    ready: int
    ended: int | None


async def fail(tx: Tx, *, session_id: str, task_id: str, attempt: int, failed: Failed) -> bool:
    """End an attempt, if this is its lease."""
    values = failed._asdict()
    return await tx.run(_FAIL, of_session=session_id, task_id=task_id, of_attempt=attempt, **values) == 1


async def endings(tx: Tx, session_id: str) -> list[Ending]:
    """Return how often the session's tasks failed before, each number once."""
    return await tx.all(_ENDINGS, session_id=session_id)


async def fail_alike(tx: Tx, *, session_id: str, from_failures: int, failed: Failed) -> None:
    """End the attempts of all tasks of a session that failed this often before."""
    await tx.run(_FAIL_ALIKE, of_session=session_id, from_failures=from_failures, **failed._asdict())


async def revoke(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> None:
    """Leave word for the session's worker that the lease ended."""
    await tx.run(_REVOKE, session_id=session_id, task_id=task_id, attempt=attempt)


async def revoked(tx: Tx) -> list[Revoked]:
    """Return the leases of which workers have not been told that they ended; of all processes."""
    return await tx.all(_REVOKED)


async def take_revoked(tx: Tx, sessions: Sequence[str]) -> list[Revoked]:
    """Return and delete what the workers of these sessions are to be told."""
    mine = set(sessions)
    found = [one for one in await revoked(tx) if one.session_id in mine]
    for session_id in {one.session_id for one in found}:
        await tx.run(_TAKE, session_id=session_id)
    return found
