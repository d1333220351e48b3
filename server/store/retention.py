"""Sweeping what is too old, and the one row that says who sweeps and when it was done."""

from collections import Counter
from typing import NamedTuple

import orjson
from sqlalchemy import Integer, String, bindparam, delete, exists, func, or_, select, text, tuple_, update
from sqlmodel import Field, SQLModel

from server.store import deliveries
from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Size, Tx
from server.store.lists import records
from server.store.results import RESULTS
from server.store.tasks import TASKS
from server.store.work import REVOCATIONS, SESSIONS


class RetentionRow(SQLModel, table=True):
    """The state of sweeping. There is one row, which the migration made."""

    __tablename__ = "retention"

    id: int = Field(primary_key=True)
    holder: str  # the process that sweeps; empty: none
    due_time: int = micros()  # when somebody may begin; while one sweeps: when it counts as dead
    begin_time: int | None = micros(nullable=True)  # of the last sweep
    end_time: int | None = micros(nullable=True)  # of the last sweep that came to its end
    results: int  # how many the last sweep removed
    tasks: int


RETENTION = table_of(RetentionRow)
_K, _T, _R, _X, _S = RETENTION.c, TASKS.c, RESULTS.c, REVOCATIONS.c, SESSIONS.c


class State(NamedTuple):
    """The state of sweeping. Times are microseconds since 1970."""

    holder: str
    due_time: int
    begin_time: int | None
    end_time: int | None
    results: int
    tasks: int


class _Count(NamedTuple):
    value: int


class _TaskId(NamedTuple):
    task_id: str


_OVER = text("end_time IS NOT NULL")  # As the partial indexes have it, like the next.
_WITH_RESULTS = text("end_time IS NOT NULL AND result_count > removed_count")
_DUE = _T.end_time < bindparam("before")
_OLDEST_FIRST = (_T.end_time, _T.id)
_MOST = bindparam("most", type_=Integer)

_STATE = Query(select(*(_K[name] for name in State._fields)), State)
_CLAIM = Command(
    update(RETENTION)
    .where(or_(_K.due_time <= bindparam("now"), _K.due_time > bindparam("latest")))
    .values(holder=bindparam("by"), due_time=bindparam("until"), begin_time=bindparam("now"), results=0, tasks=0)
)
_HOLD = Command(
    update(RETENTION)
    .where(_K.holder == bindparam("by"), _K.due_time > bindparam("now"))
    .values(due_time=bindparam("until"))
)
_ADD = Command(
    update(RETENTION).values(results=_K.results + bindparam("new_results"), tasks=_K.tasks + bindparam("new_tasks"))
)
_FINISH = Command(update(RETENTION).values(holder="", due_time=bindparam("until"), end_time=bindparam("now")))

# Not ordered by the results' times as well: a task with very many would be sorted for each slice.
_DUE_RESULTS = (
    select(_R.id)
    .select_from(TASKS.join(RESULTS, _R.task_id == _T.id))
    .where(_WITH_RESULTS, _DUE)
    .order_by(*_OLDEST_FIRST)
    .limit(_MOST)
    .correlate(None)
)
_SIZES_DUE = Query(_DUE_RESULTS.with_only_columns(func.octet_length(_R.content)), Size)
_SWEEP_RESULTS = Query(delete(RESULTS).where(_R.id.in_(_DUE_RESULTS)).returning(_R.task_id), _TaskId)
_REMOVED = records("removed", task_id=String, results=Integer)
_COUNT_REMOVED = Command(
    update(TASKS).where(_T.id == _REMOVED.c.task_id).values(removed_count=_T.removed_count + _REMOVED.c.results)
)
_DUE_TASKS = select(_T.id).where(_OVER, _DUE).order_by(*_OLDEST_FIRST).limit(_MOST).correlate(None)
_EMPTY = ~exists().where(_R.task_id == _T.id).correlate(TASKS)
# The limit is within: else PostgreSQL would look through all tasks and results for those that have none left.
_SWEEP_TASKS = Query(delete(TASKS).where(_T.id.in_(_DUE_TASKS), _EMPTY).returning(_T.id), _TaskId)
_HEARD = exists().where(_S.id == _X.session_id).correlate(REVOCATIONS)
_UNHEARD = select(_X.task_id, _X.attempt).where(~_HEARD).limit(_MOST).correlate(None)
_SWEEP_REVOCATIONS = Command(delete(REVOCATIONS).where(tuple_(_X.task_id, _X.attempt).in_(_UNHEARD)))

_COUNT_DUE_RESULTS = Query(select(func.count()).select_from(_DUE_RESULTS.subquery()), _Count)
_COUNT_DUE_TASKS = Query(select(func.count()).select_from(_DUE_TASKS.subquery()), _Count)


async def state(tx: Tx) -> State:
    """Return the state of sweeping."""
    found = await tx.one(_STATE)
    assert found is not None  # noqa: S101 - the migration made the row.
    return found


async def claim(tx: Tx, *, holder: str, until: int, latest: int) -> bool:
    """Begin a sweep, if one is due; also if it is said to be due after `latest`: then the clock was set back."""
    return await tx.run(_CLAIM, by=holder, now=tx.now, until=until, latest=latest) == 1


async def hold(tx: Tx, *, holder: str, until: int) -> bool:
    """Go on with the sweep that was claimed, alone until the end of the transaction; False if it is not one's own."""
    return await tx.run(_HOLD, by=holder, now=tx.now, until=until) == 1


async def add(tx: Tx, *, results: int, tasks: int) -> None:
    """Count what the sweep that is held removed."""
    await tx.run(_ADD, new_results=results, new_tasks=tasks)


async def finish(tx: Tx, *, due_time: int) -> None:
    """End the sweep that is held, and say when the next is due."""
    await tx.run(_FINISH, until=due_time, now=tx.now)


async def due_sizes(tx: Tx, *, before: int, most: int) -> list[int]:
    """Return how many bytes each of the results has that `sweep_results` would remove."""
    return [one.bytes for one in await tx.all(_SIZES_DUE, before=before, most=most)]


async def sweep_results(tx: Tx, *, before: int, most: int) -> int:
    """Remove results of tasks that ended before this time, those of the first task first; return how many."""
    swept = Counter(one.task_id for one in await tx.all(_SWEEP_RESULTS, before=before, most=most))
    if swept:
        removed = [{"task_id": task_id, "results": results} for task_id, results in swept.items()]
        await tx.run(_COUNT_REMOVED, removed=orjson.dumps(removed).decode())
    return swept.total()


async def sweep_tasks(tx: Tx, *, before: int, most: int) -> int:
    """Remove tasks that ended before this time and have no results any more; return how many there were."""
    swept = [one.task_id for one in await tx.all(_SWEEP_TASKS, before=before, most=most)]
    if swept:
        await deliveries.forget(tx, swept)
    return len(swept)


async def sweep_revocations(tx: Tx, *, most: int) -> int:
    """Remove word that was left for workers whose session is over; return how many there were."""
    return await tx.run(_SWEEP_REVOCATIONS, most=most)


async def due_results(tx: Tx, *, before: int, most: int) -> int:
    """Return how many results `sweep_results` would remove; `most` stands for that many and more."""
    found = await tx.one(_COUNT_DUE_RESULTS, before=before, most=most)
    return found.value if found else 0


async def due_tasks(tx: Tx, *, before: int, most: int) -> int:
    """Return how many tasks ended before this time; `most` stands for that many and more."""
    found = await tx.one(_COUNT_DUE_TASKS, before=before, most=most)
    return found.value if found else 0
