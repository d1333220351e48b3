"""What the doctor asks of the database. Each question costs the same however much is over."""

from typing import NamedTuple

from sqlalchemy import Integer, bindparam, case, func, or_, select, text
from sqlalchemy.sql import ColumnElement

from server.store.credentials import CREDENTIALS
from server.store.engine import Query, Tx
from server.store.organizations import ORGANIZATIONS
from server.store.tasks import TASKS
from server.store.work import SESSIONS

_C, _O, _S, _T = CREDENTIALS.c, ORGANIZATIONS.c, SESSIONS.c, TASKS.c


class Waiting(NamedTuple):
    """Tasks of an action that wait. Times are microseconds since 1970."""

    service: str
    action: str
    tasks: int
    oldest: int  # since when the first of them may be leased


class Failing(NamedTuple):
    """A task that has failed, and may be tried again."""

    id: str
    service: str
    action: str
    failures: int
    error: str | None


class Ended(NamedTuple):
    """How tasks of an action ended, among those that ended last."""

    service: str
    action: str
    tasks: int
    failed: int


class Expiring(NamedTuple):
    """A credential that will end."""

    id: str
    kind: str
    organization: str | None
    display_name: str
    expire_time: int


class _Number(NamedTuple):
    value: int | None


_PENDING = text("state = 'PENDING'")  # As the partial index has it.
_MOST = bindparam("most", type_=Integer)
_WAITING = Query(
    select(_T.service, _T.action, func.count(), func.min(_T.ready_time))
    .where(_PENDING, _T.ready_time <= bindparam("before"))
    .group_by(_T.service, _T.action)
    .order_by(func.min(_T.ready_time))
    .limit(_MOST),
    Waiting,
)
_LIVE: ColumnElement[bool] = or_(_PENDING, _T.session_id.is_not(None))
_FAILING = Query(
    select(_T.id, _T.service, _T.action, _T.failures, _T.error)
    .where(_LIVE, _T.failures > 0)
    .order_by(_T.failures.desc(), _T.id)
    .limit(_MOST),
    Failing,
)
_LAST = (
    select(_T.service, _T.action, _T.state)
    .where(text("end_time IS NOT NULL"))
    .order_by(_T.end_time.desc(), _T.id.desc())
    .limit(_MOST)
    .subquery()
)
_ENDED = Query(
    select(
        _LAST.c.service, _LAST.c.action, func.count(), func.sum(case((_LAST.c.state == "FAILED", 1), else_=0))
    ).group_by(_LAST.c.service, _LAST.c.action),
    Ended,
)
_SESSIONS = Query(select(func.count()).select_from(SESSIONS).where(_S.expire_time > bindparam("now")), _Number)
_NEWEST = Query(select(_T.create_time).order_by(_T.id.desc()).limit(1), _Number)
_EXPIRING = Query(
    select(_C.id, _C.kind, _O.name, _C.display_name, _C.expire_time)
    .select_from(CREDENTIALS.outerjoin(ORGANIZATIONS))
    .where(_C.revoke_time.is_(None), _C.expire_time > bindparam("now"), _C.expire_time <= bindparam("until"))
    .order_by(_C.expire_time, _C.id)
    .limit(_MOST),
    Expiring,
)


async def waiting(tx: Tx, *, before: int, most: int) -> list[Waiting]:
    """Return up to `most` actions with tasks that could have been leased before this time, the longest wait first."""
    return await tx.all(_WAITING, before=before, most=most)


async def failing(tx: Tx, *, most: int) -> list[Failing]:
    """Return the tasks that failed most and are not over."""
    return await tx.all(_FAILING, most=most)


async def ended(tx: Tx, *, most: int) -> list[Ended]:
    """Return how the `most` tasks that ended last did, by action."""
    return await tx.all(_ENDED, most=most)


async def live_sessions(tx: Tx) -> int:
    """Return how many workers there are."""
    found = await tx.one(_SESSIONS, now=tx.now)
    return (found and found.value) or 0


async def newest_task(tx: Tx) -> int | None:
    """Return when the newest task was created."""
    found = await tx.one(_NEWEST)
    return found.value if found else None


async def expiring(tx: Tx, *, until: int, most: int) -> list[Expiring]:
    """Return credentials that are good now and will have ended by then, the first first."""
    return await tx.all(_EXPIRING, now=tx.now, until=until, most=most)
