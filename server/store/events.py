"""The event log: one numbered, append-only log for each organization, and one for the house itself."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import BigInteger, Integer, and_, bindparam, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update  # SQLite's dialect renders it as well.
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Size, Tx
from server.store.lists import records
from server.store.organizations import ORGANIZATIONS

HOUSE = 0
"""The log of what concerns no organization; their ids start at 1."""
MOST = 2**62
"""No event has this number or one after it, unless somebody has written it into the database."""


class EventLogRow(SQLModel, table=True):
    """A log. Whoever adds to it holds this row until the commit, so numbers are given in the order of the commits."""

    __tablename__ = "event_logs"

    id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})  # organization's
    last_sequence: int = Field(sa_type=BigInteger)
    digest: bytes  # of the last event


class EventRow(SQLModel, table=True):
    """Something that was done. Nothing changes or deletes a row."""

    __tablename__ = "events"
    __table_args__ = (Index("events_of_object", "log_id", "object_kind", "object_id", "sequence"),)

    log_id: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="event_logs.id")
    sequence: int = Field(sa_type=BigInteger, primary_key=True)  # from 1, without gaps
    event_time: int = micros()
    host: str  # where it was recorded, see store/heads.py
    actor_id: str  # of the credential
    actor_name: str  # what people called it then
    action: str  # for example "dataset.user_erased"
    object_kind: str  # for example "dataset"
    object_id: str
    before: str | None  # JSON: the fields that changed
    after: str | None  # JSON: the same fields
    reason: str  # as the actor gave it, else empty
    digest: bytes  # of all this and, through the digest of the event before, of all that was before
    seal: bytes  # the host's, of the digest


EVENT_LOGS, EVENTS = table_of(EventLogRow), table_of(EventRow)
_L, _E = EVENT_LOGS.c, EVENTS.c


class Content(NamedTuple):
    """What an event tells: everything that its digest is of, in this order."""

    log_id: int
    sequence: int
    event_time: int
    host: str
    actor_id: str
    actor_name: str
    action: str
    object_kind: str
    object_id: str
    before: str | None
    after: str | None
    reason: str


class Stored(NamedTuple):
    """An event."""

    log_id: int
    sequence: int
    event_time: int
    host: str
    actor_id: str
    actor_name: str
    action: str
    object_kind: str
    object_id: str
    before: str | None
    after: str | None
    reason: str
    digest: bytes
    seal: bytes

    @property
    def content(self) -> Content:
        """What it tells."""
        return Content(*self[:-2])


class Place(NamedTuple):
    """Where an event is: in which log, at which number."""

    log_id: int
    sequence: int


class Next(NamedTuple):
    """The number of a log's next event, and the digest of the last."""

    sequence: int
    digest: bytes


class Log(NamedTuple):
    """A log: the name of its organization, which is missing for the house's; and its last event."""

    id: int
    organization: str | None
    last_sequence: int
    digest: bytes


class End(NamedTuple):
    """The last event that is in a log."""

    log_id: int
    sequence: int
    digest: bytes


class Looked(NamedTuple):
    """What is in a log at some place; None: nothing."""

    log_id: int
    sequence: int
    digest: bytes | None


class Span(NamedTuple):
    """Events of a log that follow each other: the first, the last."""

    log_id: int
    first: int
    last: int


_NEXT = Query(
    insert_or_update(EVENT_LOGS)
    .values(id=bindparam("log_id"), last_sequence=1, digest=bindparam("digest"))
    .on_conflict_do_update(index_elements=[_L.id], set_={"last_sequence": _L.last_sequence + 1})
    .returning(_L.last_sequence, _L.digest),
    Next,
)
_ADD = Command(insert(EVENTS).values({name: bindparam(name) for name in Stored._fields}))
_SEAL = Command(update(EVENT_LOGS).where(_L.id == bindparam("log_id")).values(digest=bindparam("new_digest")))
_BYTES = (
    func.coalesce(func.octet_length(_E.before), 0) + func.coalesce(func.octet_length(_E.after), 0)
    + func.octet_length(_E.reason)
)  # fmt: skip
_STORED = select(*(_E[name] for name in Stored._fields))
_AFTER = _STORED.where(_E.log_id == bindparam("log_id"), _E.sequence > bindparam("after")).order_by(_E.sequence)
_PAGE = Query(_AFTER.limit(bindparam("most", type_=Integer)), Stored)
_PAGE_SIZES = Query(_AFTER.with_only_columns(_BYTES).limit(bindparam("most", type_=Integer)), Size)
_BEYOND = tuple_(_E.log_id, _E.sequence) > tuple_(
    bindparam("log_id", type_=BigInteger), bindparam("sequence", type_=BigInteger)
)
_ALL = _STORED.where(_BEYOND).order_by(_E.log_id, _E.sequence)
_EVERY = Query(_ALL.limit(bindparam("most", type_=Integer)), Stored)
_EVERY_SIZES = Query(_ALL.with_only_columns(_BYTES).limit(bindparam("most", type_=Integer)), Size)
_PLACE = Query(select(_E.log_id, _E.sequence).where(_BEYOND).order_by(_E.log_id, _E.sequence).limit(1), Place)
_LOGS = Query(
    select(_L.id, ORGANIZATIONS.c.name, _L.last_sequence, _L.digest)
    .select_from(EVENT_LOGS.outerjoin(ORGANIZATIONS, ORGANIZATIONS.c.id == _L.id))
    .order_by(_L.id),
    Log,
)
_GIVEN = records("logs", log_id=BigInteger)
_SANE = _E.sequence < MOST  # SQLite lets every column hold everything, and takes texts for more than any number.
_LAST = select(_E.sequence).where(_E.log_id == _GIVEN.c.log_id, _SANE).order_by(_E.sequence.desc()).limit(1)
_ENDS = Query(
    select(_E.log_id, _E.sequence, _E.digest).select_from(
        _GIVEN.join(
            EVENTS, and_(_E.log_id == _GIVEN.c.log_id, _E.sequence == _LAST.correlate(_GIVEN).scalar_subquery())
        )
    ),
    End,
)
_AT_THE_END = insert_or_update(EVENT_LOGS).values(
    id=bindparam("log_id"), last_sequence=bindparam("last_sequence"), digest=bindparam("digest")
)
_SET_RIGHT = Command(
    _AT_THE_END.on_conflict_do_update(
        index_elements=[_L.id],
        set_={"last_sequence": _AT_THE_END.excluded.last_sequence, "digest": _AT_THE_END.excluded.digest},
        where=or_(_L.last_sequence != _AT_THE_END.excluded.last_sequence, _L.digest != _AT_THE_END.excluded.digest),
    )
)
_PLACES = records("places", log_id=BigInteger, sequence=BigInteger)
_AT = Query(
    select(_PLACES.c.log_id, _PLACES.c.sequence, _E.digest).select_from(
        _PLACES.outerjoin(EVENTS, and_(_E.log_id == _PLACES.c.log_id, _E.sequence == _PLACES.c.sequence))
    ),
    Looked,
)
_SPANS = records("spans", log_id=BigInteger, first=BigInteger, last=BigInteger)
_WITHIN = and_(_E.log_id == _SPANS.c.log_id, _E.sequence >= _SPANS.c.first, _E.sequence <= _SPANS.c.last)
_RECORDED = Query(
    select(_E.log_id, func.min(_E.sequence), func.max(_E.sequence))
    .select_from(_SPANS.join(EVENTS, _WITHIN))
    .where(_E.host == bindparam("host"))
    .group_by(_E.log_id, _SPANS.c.first),
    Span,
)
_POSITIONS = Query(select(_L.id, _L.last_sequence).where(_L.id.in_(select(_GIVEN.c.log_id))), Place)
_FILTERS = {
    "before": _E.sequence < bindparam("before", type_=BigInteger),
    "start_time": _E.event_time >= bindparam("start_time", type_=BigInteger),
    "end_time": _E.event_time < bindparam("end_time", type_=BigInteger),
    "actor": or_(_E.actor_id == bindparam("actor"), _E.actor_name == bindparam("actor")),
    "action": _E.action == bindparam("action"),
    "object_kind": _E.object_kind == bindparam("object_kind"),
    "object_id": _E.object_id == bindparam("object_id"),
}


async def next_place(tx: Tx, log_id: int, *, genesis: bytes) -> Next:
    """Return the number of the log's next event and the digest before it, `genesis` for the first.

    Nobody else has a number until the commit.
    """
    found = await tx.one(_NEXT, log_id=log_id, digest=genesis)
    assert found is not None  # noqa: S101 - an INSERT … RETURNING that did not raise has returned its row.
    return found


async def add(tx: Tx, event: Stored) -> None:
    """Append an event, as the last of its log."""
    await tx.run(_ADD, **event._asdict())
    await tx.run(_SEAL, log_id=event.log_id, new_digest=event.digest)


async def page(tx: Tx, log_id: int, *, after: int, most: int) -> list[Stored]:
    """Return up to `most` events of a log that come after the number `after`, in their order."""
    return await tx.all(_PAGE, log_id=log_id, after=after, most=most)


async def page_sizes(tx: Tx, log_id: int, *, after: int, most: int) -> list[int]:
    """Return how many bytes each of the events has that `page` would return."""
    return [one.bytes for one in await tx.all(_PAGE_SIZES, log_id=log_id, after=after, most=most)]


async def every(tx: Tx, *, after: Place, most: int) -> list[Stored]:
    """Return up to `most` events of all logs that come after a place, log by log."""
    return await tx.all(_EVERY, **after._asdict(), most=most)


async def every_sizes(tx: Tx, *, after: Place, most: int) -> list[int]:
    """Return how many bytes each of the events has that `every` would return."""
    return [one.bytes for one in await tx.all(_EVERY_SIZES, **after._asdict(), most=most)]


async def next_after(tx: Tx, after: Place) -> Place | None:
    """Return where the next event after a place is, whatever it holds."""
    return await tx.one(_PLACE, **after._asdict())


async def logs(tx: Tx) -> list[Log]:
    """Return all logs in the order of their ids."""
    return await tx.all(_LOGS)


async def positions(tx: Tx, log_ids: Collection[int]) -> list[Place]:
    """Return the last places of these logs; those without events are left out."""
    return await tx.all(_POSITIONS, logs=_ids(log_ids))


async def ends(tx: Tx, log_ids: Collection[int]) -> list[End]:
    """Return the last events of these logs, whatever their entries say; those without events are left out."""
    return await tx.all(_ENDS, logs=_ids(log_ids))


async def set_right(tx: Tx, log_id: int, *, genesis: bytes) -> bool:
    """Have a log's entry say what its last event is, and return whether it did not. `genesis`: as for `next_place`."""
    found = await tx.one(_ENDS, logs=_ids([log_id])) or End(log_id, 0, genesis)
    return await tx.run(_SET_RIGHT, log_id=log_id, last_sequence=found.sequence, digest=found.digest) > 0


async def at(tx: Tx, places: Collection[Place]) -> dict[Place, bytes | None]:
    """Return the digest of what is at each of these places; None: nothing is there."""
    return {Place(*place): digest for *place, digest in await tx.all(_AT, places=_list(places))}


async def recorded(tx: Tx, spans: Collection[Span], *, host: str) -> list[Span]:
    """Return what a host has recorded within these spans: of each from its first such event to its last."""
    return await tx.all(_RECORDED, spans=_list(spans), host=host)


async def listed(tx: Tx, log_id: int, *, filters: Mapping[str, Any], most: int) -> list[Stored]:
    """Return up to `most` events of a log, newest first.

    The filters are some of before (a number), start_time, end_time (not included), actor (id or name), action,
    object_kind and object_id.
    """
    return await tx.all(_listing(frozenset(filters)), log_id=log_id, most=most, **filters)


async def sizes(tx: Tx, log_id: int, *, filters: Mapping[str, Any], most: int) -> Sequence[int]:
    """Return how many bytes each of the events has that `listed` would return."""
    return [one.bytes for one in await tx.all(_sizing(frozenset(filters)), log_id=log_id, most=most, **filters)]


def _ids(log_ids: Collection[int]) -> str:
    return orjson.dumps([{"log_id": each} for each in log_ids]).decode()


def _list(places: Collection[Place] | Collection[Span]) -> str:
    return orjson.dumps([each._asdict() for each in places]).decode()


@cache
def _listing(filters: frozenset[str]) -> Query[Stored]:
    return Query(_newest(_STORED, filters), Stored)


@cache
def _sizing(filters: frozenset[str]) -> Query[Size]:
    return Query(_newest(select(_BYTES), filters), Size)


def _newest(statement: Any, filters: frozenset[str]) -> Any:
    """Return a statement with those filters only that are there, so that engines find the best index for it."""
    wanted = [clause for name, clause in _FILTERS.items() if name in filters]
    narrowed = statement.where(_E.log_id == bindparam("log_id"), *wanted)
    return narrowed.order_by(_E.sequence.desc()).limit(bindparam("most", type_=Integer))
