"""Workers' sessions, and what workers do to tasks; each statement is for as many of them as there are.

They are for Store.write_guarded. Who changes leases has locked their sessions before, sessions before tasks and each in
the order of their ids, so that two processes never wait for each other; and a task is only moved from the state and
attempt that its statement names.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import BigInteger, Integer, String, and_, bindparam, delete, func, insert, or_, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import records, texts
from server.store.tasks import TASKS


class SessionRow(SQLModel, table=True):
    """A worker that holds, or may hold, leases."""

    __tablename__ = "worker_sessions"
    __table_args__ = (Index("sessions_by_expiry", "expire_time"),)

    id: str = Field(primary_key=True)
    credential_id: str = Field(foreign_key="credentials.id")
    worker: str
    stream: int  # Which one has it, as a number that grows: what an earlier one does is void. Negative: that one left.
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


class SessionName(NamedTuple):
    """A session, as one stream has it."""

    id: str
    stream: int


class Held(NamedTuple):
    """A task that is leased."""

    session_id: str
    task_id: str
    attempt: int
    service: str
    action: str
    parameters: str


class Seen(NamedTuple):
    """What there is for an action, and, alike in each row, for some sessions."""

    service: str
    action: str
    ready_time: int | None  # When its first pending task is ready; None if there is none.
    last_ready_time: int | None  # When its last pending task is ready.
    expire_time: int | None  # When the first of all sessions ends.
    last_expire_time: int | None  # When the last of all sessions ends.
    revoked: int  # How many leases ended of which these sessions have not been told.


class Waiting(NamedTuple):
    """A task that may be leased."""

    ready_time: int
    task_id: str


class Grant(NamedTuple):
    """A task, and the session that gets it."""

    task_id: str
    session_id: str


class Reported(NamedTuple):
    """A task, as those who report on it need it."""

    id: str
    organization_id: int
    retrieval: str
    state: str
    attempt: int
    session_id: str | None
    failures: int
    error: str | None
    result_count: int
    ready_time: int
    end_time: int | None


class Revoked(NamedTuple):
    """A lease whose worker is to be told that it ended."""

    session_id: str
    task_id: str
    attempt: int


class _Number(NamedTuple):
    value: int | None


class _Text(NamedTuple):
    value: str


_PENDING = text("state = 'PENDING'")  # As the partial index has it.
_RUNNING = _T.state == "RUNNING"
_SESSION = _S.id == bindparam("session_id")
_STREAM = _S.stream == bindparam("of_stream")
_SESSIONS = texts("session_ids")

# Sessions. One that has ended is there until it is swept, and may be taken up or renewed until then.

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
    .where(_SESSION, _S.credential_id == bindparam("of_credential"))
    .values(stream=func.abs(_S.stream) + 1, worker=bindparam("worker"), expire_time=bindparam("until"))
    .returning(_S.stream),
    _Number,
)
_LEAVE = Command(update(SESSIONS).where(_SESSION, _STREAM).values(stream=-_S.stream, expire_time=bindparam("until")))
_STREAMS = records("streams", id=String, stream=Integer)
_MATCHING = (
    select(_S.id, _S.stream)
    .join(_STREAMS, and_(_S.id == _STREAMS.c.id, _S.stream == _STREAMS.c.stream))
    .order_by(_S.id)
)
_KEEP = Query(_MATCHING.with_for_update(read=True, of=SESSIONS), SessionName)
_LOCKED = _MATCHING.with_for_update(of=SESSIONS).subquery("locked")
_RENEW = Query(
    update(SESSIONS)
    .where(_S.id == _LOCKED.c.id)
    .values(expire_time=bindparam("until"))
    .returning(SESSIONS.c.id, SESSIONS.c.stream),
    SessionName,
)
_EXPIRED = Query(
    select(_S.id)
    .where(_S.expire_time <= bindparam("until"))
    .order_by(_S.expire_time)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True),
    _Text,
)
_FORGET = Command(delete(SESSIONS).where(_S.id.in_(select(_SESSIONS.c.value))))

# Leases

_ACTIONS = records("actions", service=String, action=String)
_OF_ACTION = (_PENDING, _T.service == _ACTIONS.c.service, _T.action == _ACTIONS.c.action)
_LOOK = Query(
    select(
        _ACTIONS.c.service,
        _ACTIONS.c.action,
        select(func.min(_T.ready_time)).where(*_OF_ACTION).scalar_subquery(),
        select(func.max(_T.ready_time)).where(*_OF_ACTION).scalar_subquery(),
        select(func.min(_S.expire_time)).scalar_subquery(),
        select(func.max(_S.expire_time)).scalar_subquery(),
        select(func.count()).where(_X.session_id.in_(select(_SESSIONS.c.value))).scalar_subquery(),
    ),
    Seen,
)
_WAITING = Query(
    select(_T.ready_time, _T.id)
    .where(
        _PENDING,
        _T.service == bindparam("service"),
        _T.action == bindparam("action"),
        _T.ready_time <= bindparam("now"),
    )
    .order_by(_T.ready_time, _T.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True),
    Waiting,
)
_HURRY = Command(
    update(TASKS)
    .where(
        _PENDING,
        _T.service == bindparam("of_service"),
        _T.action == bindparam("of_action"),
        _T.ready_time > bindparam("latest"),
    )
    .values(ready_time=bindparam("now"))
)
_EARLY = (
    select(_S.id)
    .where(_S.expire_time < bindparam("earliest"), or_(_S.stream > 0, _S.expire_time <= bindparam("now")))
    .order_by(_S.id)
    .with_for_update(of=SESSIONS)
    .subquery("locked")
)
_LENGTHEN = Command(update(SESSIONS).where(_S.id == _EARLY.c.id).values(expire_time=bindparam("earliest")))
_SHORTEN = Command(update(SESSIONS).where(_S.expire_time > bindparam("latest")).values(expire_time=bindparam("latest")))
_GRANTS = records("grants", task_id=String, session_id=String)
_HELD = (_T.session_id, _T.id, _T.attempt, _T.service, _T.action, _T.parameters)
_GRANT = Query(
    update(TASKS)
    .where(_T.id == _GRANTS.c.task_id, _PENDING)
    .values(
        state="RUNNING",
        attempt=_T.attempt + 1,
        session_id=_GRANTS.c.session_id,
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
    ),
    _Number,
)

# Reports and deaths

_REPORTED = select(*(_T[name] for name in Reported._fields)).order_by(_T.id).with_for_update(of=TASKS)
_IDS = texts("task_ids")
_BY_IDS = Query(_REPORTED.where(_T.id.in_(select(_IDS.c.value))), Reported)
_OF_SESSIONS = Query(_REPORTED.where(_T.session_id.in_(select(_SESSIONS.c.value))), Reported)
_CHANGED = ("state", "session_id", "failures", "error", "result_count", "ready_time", "end_time")
_SETTLED = records(
    "settled",
    id=String,
    attempt=Integer,
    state=String,
    session_id=String,
    failures=Integer,
    error=String,
    result_count=Integer,
    ready_time=BigInteger,
    end_time=BigInteger,
)
_SETTLE = Command(
    update(TASKS)
    .where(_T.id == _SETTLED.c.id, _T.attempt == _SETTLED.c.attempt, _RUNNING)
    .values({changed: _SETTLED.c[changed] for changed in _CHANGED})
)

# Revocations

_REVOKE = Command(
    insert(REVOCATIONS).values(
        task_id=bindparam("task_id"), attempt=bindparam("attempt"), session_id=bindparam("session_id")
    )
)
_TAKE = Query(
    delete(REVOCATIONS)
    .where(_X.session_id.in_(select(_SESSIONS.c.value)))
    .returning(_X.session_id, _X.task_id, _X.attempt),
    Revoked,
)


async def open_session(tx: Tx, *, session_id: str, credential_id: str, worker: str, expire_time: int) -> None:
    """Store a new session, at its first stream."""
    await tx.run(_OPEN, session_id=session_id, credential_id=credential_id, worker=worker, expire_time=expire_time)


async def resume_session(tx: Tx, *, session_id: str, credential_id: str, worker: str, expire_time: int) -> int | None:
    """Give the session to a new stream and return that stream's number; None if this credential has no such session."""
    found = await tx.one(_RESUME, session_id=session_id, of_credential=credential_id, worker=worker, until=expire_time)
    return found.value if found else None


async def leave_session(tx: Tx, *, session_id: str, stream: int, expire_time: int) -> bool:
    """Take the session from this stream, to end at `expire_time`, if this stream has it."""
    return await tx.run(_LEAVE, session_id=session_id, of_stream=stream, until=expire_time) == 1


async def renew_sessions(tx: Tx, *, sessions: Sequence[tuple[str, int]], expire_time: int) -> list[SessionName]:
    """Move the end of those of these sessions that still have these streams, and return them."""
    return await tx.all(_RENEW, streams=_streams(sessions), until=expire_time)


async def keep_sessions(tx: Tx, sessions: Sequence[tuple[str, int]]) -> list[SessionName]:
    """Return those of these sessions that still have these streams. None of them ends before this transaction does."""
    return await tx.all(_KEEP, streams=_streams(sessions))


async def expired_sessions(tx: Tx, *, until: int, most: int) -> list[str]:
    """Return sessions that ended by `until`, but for those that somebody else is just changing."""
    return [found.value for found in await tx.all(_EXPIRED, until=until, most=most)]


async def forget_sessions(tx: Tx, session_ids: Sequence[str]) -> None:
    """Delete sessions that have no leases any more, and what their workers were to be told."""
    await take_revoked(tx, session_ids)
    await tx.run(_FORGET, session_ids=_json(session_ids))


async def look(tx: Tx, *, actions: Iterable[tuple[str, str]], session_ids: Sequence[str]) -> list[Seen]:
    """Return what there is for each of these actions; at least one must be given."""
    given = [{"service": service, "action": action} for service, action in actions]
    return await tx.all(_LOOK, actions=_json(given), session_ids=_json(session_ids))


async def waiting(tx: Tx, *, service: str, action: str, most: int) -> list[Waiting]:
    """Return pending tasks of this action that are ready, the longest ready first.

    They are locked; those that somebody else has locked are left out.
    """
    return await tx.all(_WAITING, service=service, action=action, now=tx.now, most=most)


async def hurry(tx: Tx, *, service: str, action: str, latest: int) -> None:
    """Make tasks of this action ready that would be so only after `latest`."""
    await tx.run(_HURRY, of_service=service, of_action=action, latest=latest, now=tx.now)


async def lengthen_sessions(tx: Tx, *, earliest: int) -> None:
    """Let no session end before `earliest`, but for those that were left and still have some of their second."""
    await tx.run(_LENGTHEN, earliest=earliest, now=tx.now)


async def shorten_sessions(tx: Tx, *, latest: int) -> None:
    """Let no session end after `latest`."""
    await tx.run(_SHORTEN, latest=latest)


async def grant(tx: Tx, grants: Sequence[Grant]) -> list[Held]:
    """Lease tasks that are pending, each under its next attempt, and return the leases in no order."""
    return await tx.all(_GRANT, grants=_json([one._asdict() for one in grants]), now=tx.now)


async def held_by(tx: Tx, session_id: str) -> list[Held]:
    """Return the session's leases, the oldest task first."""
    return await tx.all(_OF_SESSION, session_id=session_id)


async def organization_of_lease(tx: Tx, *, credential_id: str, task_id: str, attempt: int) -> int | None:
    """Return the organization of a task whose lease a session of this credential holds."""
    found = await tx.one(_HOLDER, of_credential=credential_id, task_id=task_id, of_attempt=attempt)
    return found.value if found else None


async def reported(tx: Tx, task_ids: Sequence[str]) -> list[Reported]:
    """Return those of these tasks that there are. They are locked."""
    return await tx.all(_BY_IDS, task_ids=_json(task_ids))


async def held_by_sessions(tx: Tx, session_ids: Sequence[str]) -> list[Reported]:
    """Return the tasks whose leases these sessions hold. They are locked."""
    return await tx.all(_OF_SESSIONS, session_ids=_json(session_ids))


async def settle(tx: Tx, tasks: Sequence[Reported]) -> None:
    """Write what has become of tasks that were RUNNING in these attempts."""
    await tx.run(_SETTLE, settled=_json([task._asdict() for task in tasks]))


async def revoke(tx: Tx, *, session_id: str, task_id: str, attempt: int) -> None:
    """Leave word for the session's worker that the lease ended."""
    await tx.run(_REVOKE, session_id=session_id, task_id=task_id, attempt=attempt)


async def take_revoked(tx: Tx, session_ids: Sequence[str]) -> list[Revoked]:
    """Return and delete what the workers of these sessions are to be told."""
    return await tx.all(_TAKE, session_ids=_json(session_ids))


def _streams(sessions: Sequence[tuple[str, int]]) -> str:
    return _json([{"id": session_id, "stream": stream} for session_id, stream in sessions])


def _json(values: Sequence[object]) -> str:
    return orjson.dumps(values).decode()
