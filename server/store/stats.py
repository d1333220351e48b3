"""Stats: one row each, with JSON `data` as text and the leaves that filters see of it."""

from typing import NamedTuple

from sqlalchemy import BigInteger, String, bindparam, delete, func, insert, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import texts
from server.store.organizations import ORGANIZATIONS

BYTEWISE = String().with_variant(String(collation="C"), "postgresql")
"""Text that is compared by its bytes, as SQLite does: so it is by code points on both engines."""


def _by(name: str, *, sparse: bool = False) -> Index:
    """Return the index of a field: for each of its values, an organization's stats in the order of their ids."""
    where = text(f"{name} IS NOT NULL") if sparse else None
    return Index(f"stats_by_{name}", "organization_id", name, "id", sqlite_where=where, postgresql_where=where)


class StatRow(SQLModel, table=True):
    """A measurement."""

    __tablename__ = "stats"
    __table_args__ = (
        Index("stats_in_order", "organization_id", "id"),
        Index("stats_by_uuid", "organization_id", "uuid", unique=True),
        _by("anr_number", sparse=True),
        _by("anr_uuid", sparse=True),
        _by("type"),
        _by("day"),
        _by("week"),
        _by("month"),
        _by("quarter", sparse=True),
        _by("year", sparse=True),
        _by("create_time"),
    )

    id: str = Field(primary_key=True, sa_type=BYTEWISE)  # 24 hexadecimal digits; grows with time
    organization_id: int = reference("organizations.id")
    uuid: str = Field(sa_type=BYTEWISE)
    anr_number: int | None = Field(sa_type=BigInteger)  # Exactly one of the two is there.
    anr_uuid: str | None = Field(sa_type=BYTEWISE)
    type: str = Field(sa_type=BYTEWISE)
    day: int = Field(sa_type=BigInteger)
    week: int = Field(sa_type=BigInteger)
    month: int = Field(sa_type=BigInteger)
    quarter: int | None = Field(sa_type=BigInteger)
    year: int | None = Field(sa_type=BigInteger)
    create_time: int = micros()  # whole milliseconds
    update_time: int = micros()
    leaves: str  # JSON: {path: leaf}; see core/stats_leaves.py
    data: str  # JSON, as it came. Last, as it may be long.


STATS = table_of(StatRow)
_S = STATS.c


class Stored(NamedTuple):
    """A stat."""

    id: str
    organization_id: int
    uuid: str
    anr_number: int | None
    anr_uuid: str | None
    type: str
    day: int
    week: int
    month: int
    quarter: int | None
    year: int | None
    create_time: int
    update_time: int
    data: str


class Last(NamedTuple):
    """An organization's last stat."""

    id: str


Row = tuple[str | int | None, ...]
"""A stat's values, in the order of COLUMNS."""
COLUMNS = (*Stored._fields[:-1], "leaves", "data")
_STORED = select(*(_S[name] for name in Stored._fields))
_BY_ID = Query(_STORED.where(_S.id == bindparam("stat_id")), Stored)
_BY_IDS = Query(_STORED.where(_S.id.in_(select(texts("ids").c.value))), Stored)
_BY_UUID = Query(
    _STORED.where(_S.organization_id == bindparam("organization_id"), _S.uuid == bindparam("uuid")), Stored
)
_BY_UUIDS = Query(
    _STORED.where(_S.organization_id == bindparam("organization_id"), _S.uuid.in_(select(texts("uuids").c.value))),
    Stored,
)
_TURN = Command(
    select(ORGANIZATIONS.c.id)
    .where(ORGANIZATIONS.c.id == bindparam("organization_id"))
    .with_for_update(key_share=True)  # Rows that refer to it can be added.
)
_LAST = Query(
    select(_S.id).where(_S.organization_id == bindparam("organization_id")).order_by(_S.id.desc()).limit(1), Last
)
_INSERT = Command(insert(STATS).values({name: bindparam(name) for name in COLUMNS}))
_CHANGED = tuple(name for name in COLUMNS if name not in ("id", "organization_id"))
_UPDATE = Command(
    update(STATS)
    .where(_S.id == bindparam("stat_id"))
    .values(
        {name: bindparam(f"new_{name}") for name in _CHANGED}
        | {"leaves": func.coalesce(bindparam("new_leaves", type_=String()), _S.leaves)}
    )
)
_DELETE = Command(delete(STATS).where(_S.id == bindparam("stat_id")))


async def by_id(tx: Tx, stat_id: str) -> Stored | None:
    """Return a stat of whatever organization."""
    return await tx.one(_BY_ID, stat_id=stat_id)


async def by_ids(tx: Tx, ids: str) -> list[Stored]:
    """Return stats of whatever organization, in no order. `ids` is a JSON list."""
    return await tx.all(_BY_IDS, ids=ids)


async def by_uuid(tx: Tx, *, organization_id: int, uuid: str) -> Stored | None:
    """Return the organization's stat with this UUID."""
    return await tx.one(_BY_UUID, organization_id=organization_id, uuid=uuid)


async def by_uuids(tx: Tx, *, organization_id: int, uuids: str) -> list[Stored]:
    """Return the organization's stats with these UUIDs, a JSON list, in no order."""
    return await tx.all(_BY_UUIDS, organization_id=organization_id, uuids=uuids)


async def last_in_turn(tx: Tx, *, organization_id: int) -> str | None:
    """Return the id of the organization's last stat, once all others who asked so have committed.

    Nobody else is answered before this transaction's commit. What is read after it is what they have committed, if the
    verb is run by `write_guarded`.
    """
    await tx.wait_turn(_TURN, organization_id=organization_id)
    last = await tx.one(_LAST, organization_id=organization_id)
    return last.id if last else None


async def add(tx: Tx, rows: list[Row]) -> None:
    """Store stats: their values in the order of COLUMNS. Ids and UUIDs must be free."""
    await tx.insert_many(_INSERT, COLUMNS, rows)


async def replace(tx: Tx, stored: Stored, leaves: str | None) -> None:
    """Give the stat with this id all these values; without leaves, it keeps its own."""
    values = stored._asdict() | {"leaves": leaves}
    await tx.run(_UPDATE, stat_id=stored.id, **{f"new_{name}": values[name] for name in _CHANGED})


async def remove(tx: Tx, stat_id: str) -> None:
    """Delete a stat."""
    await tx.run(_DELETE, stat_id=stat_id)
