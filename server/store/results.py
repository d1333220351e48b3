"""Results: published outcomes of tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Integer, String, and_, bindparam, func, insert, or_, select
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Size, Tx
from server.store.lists import records


class ResultRow(SQLModel, table=True):
    """One published outcome of a task. Its organization is the task's."""

    __tablename__ = "results"
    __table_args__ = (
        Index("results_of_task", "task_id", "publish_time", "id"),
        Index("results_by_number", "task_id", "number", unique=True),
    )

    id: str = Field(primary_key=True)
    organization_id: int = reference("organizations.id")
    task_id: str = Field(foreign_key="tasks.id")
    number: int  # as its worker numbered it
    publish_time: int = micros()
    content: str  # JSON: {"buckets": [[label, value or null, count], ...], "exceptions": [[error, count], ...]}


RESULTS = table_of(ResultRow)
_R = RESULTS.c


class Stored(NamedTuple):
    """A result, as it is kept."""

    id: str
    task_id: str
    publish_time: int
    content: str


class Item(NamedTuple):
    """What a page needs of a result."""

    publish_time: int
    content: str


class Number(NamedTuple):
    """A result, as its task numbers it."""

    task_id: str
    number: int


class New(NamedTuple):
    """A result to store."""

    id: str
    organization_id: int
    task_id: str
    number: int
    publish_time: int
    content: str


_STORED = select(*(_R[name] for name in Stored._fields))
_OF_TASK = _R.task_id == bindparam("task_id")
_NEWEST_FIRST = (_R.publish_time.desc(), _R.id.desc())

_BEFORE_KEY = (
    # The first condition follows from the second; it lets the index start where the page starts.
    _R.publish_time <= bindparam("before_time"),
    or_(
        _R.publish_time < bindparam("before_time"),
        and_(_R.publish_time == bindparam("before_time"), _R.id < bindparam("before_id")),
    ),
)
_SIZE = select(func.octet_length(_R.content)).where(_OF_TASK).order_by(*_NEWEST_FIRST).limit(bindparam("most"))
_SIZES = Query(_SIZE, Size)
_SIZES_BEFORE = Query(_SIZE.where(*_BEFORE_KEY), Size)
_SIZES_OF_PAGE = Query(_SIZE.offset(bindparam("skipped")), Size)

_BY_ID = Query(
    _STORED.where(_R.id == bindparam("result_id"), _R.organization_id == bindparam("organization_id")), Stored
)
_NEWEST = Query(_STORED.where(_OF_TASK).order_by(*_NEWEST_FIRST).limit(bindparam("most")), Stored)
_BEFORE = Query(
    _STORED.where(_OF_TASK, *_BEFORE_KEY).order_by(*_NEWEST_FIRST).limit(bindparam("most")),
    Stored,
)
_NUMBERED_PAGE = Query(
    select(_R.publish_time, _R.content)
    .where(_OF_TASK)
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("most"))
    .offset(bindparam("skipped")),
    Item,
)
_GIVEN = records("numbers", task_id=String, number=Integer)
_PUBLISHED = Query(
    select(_R.task_id, _R.number).join(_GIVEN, and_(_R.task_id == _GIVEN.c.task_id, _R.number == _GIVEN.c.number)),
    Number,
)
_PUBLISH = Command(insert(RESULTS).values({name: bindparam(name) for name in New._fields}))


async def by_id(tx: Tx, *, organization_id: int, result_id: str) -> Stored | None:
    """Return the organization's result with this id."""
    return await tx.one(_BY_ID, organization_id=organization_id, result_id=result_id)


async def page(tx: Tx, *, task_id: str, before: tuple[int, str] | None, most: int) -> list[Stored]:
    """Return the task's newest results; of those before (publish_time, id), if that is given."""
    if before is None:
        return await tx.all(_NEWEST, task_id=task_id, most=most)
    return await tx.all(_BEFORE, task_id=task_id, before_time=before[0], before_id=before[1], most=most)


async def sizes(tx: Tx, *, task_id: str, before: tuple[int, str] | None, most: int) -> list[int]:
    """Return how many bytes each result of such a page has."""
    if before is None:
        found = await tx.all(_SIZES, task_id=task_id, most=most)
    else:
        found = await tx.all(_SIZES_BEFORE, task_id=task_id, before_time=before[0], before_id=before[1], most=most)
    return [one.bytes for one in found]


async def sizes_of_page(tx: Tx, *, task_id: str, skipped: int, most: int) -> list[int]:
    """Return how many bytes each result of such a numbered page has."""
    return [one.bytes for one in await tx.all(_SIZES_OF_PAGE, task_id=task_id, skipped=skipped, most=most)]


async def numbered_page(tx: Tx, *, task_id: str, skipped: int, most: int) -> list[Item]:
    """Return the task's newest results after the first `skipped`."""
    return await tx.all(_NUMBERED_PAGE, task_id=task_id, skipped=skipped, most=most)


async def published(tx: Tx, numbers: Sequence[Number]) -> list[Number]:
    """Return those of these numbers under which there are results."""
    return await tx.all(_PUBLISHED, numbers=orjson.dumps([one._asdict() for one in numbers]).decode())


async def publish(tx: Tx, results: Sequence[New]) -> None:
    """Store results. Their tasks must be locked, and have none with these numbers."""
    await tx.insert_many(_PUBLISH, New._fields, results)
