"""The event log: one numbered, append-only log for each organization, and one for the house itself."""

from typing import NamedTuple

from sqlalchemy import BigInteger, Integer, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update  # SQLite's dialect renders it as well.
from sqlmodel import Field, SQLModel

from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Tx

HOUSE = 0
"""The log of what concerns no organization; their ids start at 1."""


class EventLogRow(SQLModel, table=True):
    """A log. Whoever adds to it holds this row until the commit, so numbers are given in the order of the commits."""

    __tablename__ = "event_logs"

    id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})  # organization's
    last_sequence: int = Field(sa_type=BigInteger)


class EventRow(SQLModel, table=True):
    """Something that was done. Nothing changes or deletes a row."""

    __tablename__ = "events"

    log_id: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="event_logs.id")
    sequence: int = Field(sa_type=BigInteger, primary_key=True)  # from 1, without gaps
    event_time: int = micros()
    actor_id: str  # of the credential
    actor_name: str  # what people called it then
    action: str  # for example "dataset.user_erased"
    object_kind: str  # for example "dataset"
    object_id: str
    before: str | None  # JSON: the fields that changed
    after: str | None  # JSON: the same fields
    reason: str  # as the actor gave it, else empty


EVENT_LOGS, EVENTS = table_of(EventLogRow), table_of(EventRow)
_L, _E = EVENT_LOGS.c, EVENTS.c


class Number(NamedTuple):
    """The place of an event in its log."""

    sequence: int


class Stored(NamedTuple):
    """An event."""

    sequence: int
    event_time: int
    actor_id: str
    actor_name: str
    action: str
    object_kind: str
    object_id: str
    before: str | None
    after: str | None
    reason: str


_NEXT = Query(
    insert_or_update(EVENT_LOGS)
    .values(id=bindparam("log_id"), last_sequence=1)
    .on_conflict_do_update(index_elements=[_L.id], set_={"last_sequence": _L.last_sequence + 1})
    .returning(_L.last_sequence),
    Number,
)
_ADD = Command(insert(EVENTS).values({name: bindparam(name) for name in ("log_id", *Stored._fields)}))
_PAGE = Query(
    select(*(_E[name] for name in Stored._fields))
    .where(_E.log_id == bindparam("log_id"), _E.sequence > bindparam("after"))
    .order_by(_E.sequence)
    .limit(bindparam("most", type_=Integer)),
    Stored,
)


async def next_sequence(tx: Tx, log_id: int) -> int:
    """Return the number of the log's next event, and let nobody else have one until the commit."""
    number = await tx.one(_NEXT, log_id=log_id)
    assert number is not None  # noqa: S101 - an INSERT … RETURNING that did not raise has returned its row.
    return number.sequence


async def add(tx: Tx, log_id: int, event: Stored) -> None:
    """Append an event."""
    await tx.run(_ADD, log_id=log_id, **event._asdict())


async def page(tx: Tx, log_id: int, *, after: int, most: int) -> list[Stored]:
    """Return up to `most` events that come after the number `after`, in their order."""
    return await tx.all(_PAGE, log_id=log_id, after=after, most=most)
