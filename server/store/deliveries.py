"""Deliveries: results on their one way out, of tasks whose results are no pages, and how far each has come.

Their bytes, if they are many, are in `chunks.py`; who is getting one is in `claims.py`, and live channels in
`channels.py`. A delivery is there from its task's creation. Every statement that moves one names the states it moves
from. Who changes both locks a task before its delivery.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import BigInteger, Integer, and_, bindparam, case, delete, insert, null, or_, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store import chunks
from server.store.columns import micros, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import texts
from server.store.tasks import TASKS


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


ON_CHANNELS = "state = 'AVAILABLE' AND retrieval = 'aschannel'"
IN_STORE = "state = 'AVAILABLE' AND retrieval = 'asstore'"
CLAIMED = "state = 'CLAIMED'"


class DeliveryRow(SQLModel, table=True):
    """The result of one task, on its way."""

    __tablename__ = "deliveries"
    __table_args__ = (
        _partial("deliveries_on_channels", "credential_id", "available_time", "task_id", where=ON_CHANNELS),
        _partial("deliveries_in_store", "available_time", "task_id", where=IN_STORE),
        _partial("deliveries_claimed", "claim_until", "task_id", where=CLAIMED),
    )

    task_id: str = Field(primary_key=True)
    credential_id: str  # who asked, who alone may have it, and whose channel it goes to
    retrieval: str
    state: str  # see core/deliveries.py
    failed: int  # 1: the task ended badly, which is what is to be told
    unstorable: int  # 1: it ended so because its result could not be stored
    retrieved: int  # 1: a client has it; of a claimed one: is getting the last of it
    attempt: int  # whose chunks there are
    chunks: int  # how many, in the table of chunks
    size: int = Field(sa_type=BigInteger)  # bytes, in chunks and rest
    content_type: str
    filename: str | None
    claim: int  # numbers the claims: the fence
    claim_until: int = micros()
    available_time: int = micros()  # since when it waits to be taken
    rest: bytes | None  # what follows the chunks; last, as it may be long


DELIVERIES = table_of(DeliveryRow)
_D, _T = DELIVERIES.c, TASKS.c


class Kept(NamedTuple):
    """How much of a result is here."""

    task_id: str
    state: str
    attempt: int
    chunks: int
    size: int


class Settled(NamedTuple):
    """What reports have made of a delivery."""

    task_id: str
    state: str
    attempt: int
    chunks: int
    size: int
    content_type: str
    filename: str | None
    available_time: int
    rest: bytes | None


class Status(NamedTuple):
    """How far a task is, and its result."""

    task_id: str
    state: str
    retrieval: str
    delivery: str | None  # None: of a task without one
    failed: int | None
    unstorable: int | None
    retrieved: int | None


KEPT = select(*(_D[name] for name in Kept._fields))
"""What `end` needs of deliveries, of which some are to be chosen."""

_IDS = texts("task_ids")
_IN_IDS = _D.task_id.in_(select(_IDS.c.value))
_NOW = bindparam("now", type_=BigInteger)
_NOT_YET = text("state IN ('AWAITED', 'ARRIVING', 'AVAILABLE')")
_IS_HERE = text("state NOT IN ('AWAITED', 'ARRIVING')")

_EXPECT = Command(
    insert(DELIVERIES).values(
        task_id=bindparam("task_id"),
        credential_id=bindparam("credential_id"),
        retrieval=bindparam("retrieval"),
        state=text("'AWAITED'"),
        **dict.fromkeys(("failed", "unstorable", "retrieved", "attempt", "chunks", "size"), text("0")),
        content_type=text("''"),
        **dict.fromkeys(("claim", "claim_until", "available_time"), text("0")),
    )
)
_CHANGED = {name: bindparam(f"new_{name}", type_=_D[name].type) for name in Settled._fields if name != "task_id"}
_SETTLE = Command(update(DELIVERIES).where(_D.task_id == bindparam("of_task"), _NOT_YET).values(_CHANGED))
_SETTLED_NAMES = (
    *("new_state", "new_attempt", "new_chunks", "new_size", "new_content_type", "new_filename", "new_available_time"),
    *("new_rest", "of_task"),
)
_BY_IDS = Query(KEPT.where(_IN_IDS, _NOT_YET).order_by(_D.task_id).with_for_update(), Kept)
_IN_ANY_STATE = Query(KEPT.where(_IN_IDS).order_by(_D.task_id).with_for_update(), Kept)
_FAIL = Command(
    update(DELIVERIES)
    .where(_IN_IDS)
    .values(
        state="AVAILABLE",
        failed=1,
        chunks=0,
        size=0,
        content_type="",
        filename=null(),
        available_time=_NOW,
        rest=null(),
    )
)
_SPOIL = Command(update(DELIVERIES).where(_IN_IDS).values(unstorable=1))

_OWN = Query(
    KEPT.where(
        _IN_IDS, _D.credential_id == bindparam("of_credential"), or_(_D.retrieved == 0, _D.state == "CLAIMED"), _IS_HERE
    )
    .order_by(_D.task_id)
    .with_for_update(),
    Kept,
)
_EXPIRED = Query(
    KEPT.where(text(IN_STORE), _D.available_time < bindparam("before"))
    .order_by(_D.available_time, _D.task_id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True),
    Kept,
)
_END = Command(
    update(DELIVERIES)
    .where(_IN_IDS)
    .values(
        state=bindparam("new_state"),
        retrieved=case((bindparam("is_retrieved", type_=Integer) == 1, 1), else_=_D.retrieved),
        chunks=0,
        rest=null(),
    )
)
_FORGET = Command(delete(DELIVERIES).where(_IN_IDS))
_STATUSES = Query(
    select(
        _T.id,
        _T.state,
        _T.retrieval,
        case((and_(_D.state == "ARRIVING", _D.attempt < _T.attempt), "AWAITED"), else_=_D.state),
        _D.failed,
        _D.unstorable,
        _D.retrieved,
    )
    .select_from(TASKS.outerjoin(DELIVERIES, _D.task_id == _T.id))
    .where(
        _T.id.in_(select(_IDS.c.value)),
        _T.organization_id == bindparam("organization_id"),
        _T.account.is_not(None),
    ),
    Status,
)


# Arriving


async def expect(tx: Tx, tasks: Sequence[tuple[str, str, str]]) -> None:
    """Store deliveries of new tasks: task id, credential id and retrieval of each."""
    await tx.insert_many(_EXPECT, ("task_id", "credential_id", "retrieval"), tasks)


async def kept(tx: Tx, task_ids: Sequence[str]) -> list[Kept]:
    """Return the deliveries of these tasks, in any state. They are locked."""
    return await tx.all(_IN_ANY_STATE, task_ids=_json(task_ids))


async def settle(tx: Tx, deliveries: Sequence[Settled]) -> None:
    """Write what has become of deliveries that nobody has claimed."""
    rows = [(*delivery[1:], delivery.task_id) for delivery in sorted(deliveries)]
    await tx.insert_many(_SETTLE, _SETTLED_NAMES, rows)


async def fail(tx: Tx, task_ids: Sequence[str]) -> None:
    """Make it available that these tasks ended badly, where nobody is getting anything else."""
    found = await tx.all(_BY_IDS, task_ids=_json(task_ids))
    if found:
        await _leave_chunks(tx, found)
        await tx.run(_FAIL, task_ids=_json([one.task_id for one in found]), now=tx.now)


async def spoil(tx: Tx, task_ids: Sequence[str]) -> None:
    """Note that the results of these tasks could not be stored."""
    await tx.run(_SPOIL, task_ids=_json(task_ids))


# Leaving


async def statuses(tx: Tx, *, organization_id: int, task_ids: Sequence[str]) -> list[Status]:
    """Return how far those of the organization's tasks are that have these ids and an account."""
    return await tx.all(_STATUSES, organization_id=organization_id, task_ids=_json(task_ids))


async def own(tx: Tx, *, credential_id: str, task_ids: Sequence[str]) -> list[Kept]:
    """Return the credential's results of these tasks that are here, or were, and are not known as retrieved.

    They are locked.
    """
    return await tx.all(_OWN, task_ids=_json(task_ids), of_credential=credential_id)


async def expired(tx: Tx, *, before: int, most: int) -> list[Kept]:
    """Return stored results that nobody fetched, those available first of all before this time. They are locked."""
    return await tx.all(_EXPIRED, before=before, most=most)


async def end(tx: Tx, deliveries: Sequence[Kept], *, state: str, retrieved: bool) -> None:
    """Move locked deliveries to a last state, and let go of their bytes."""
    await _leave_chunks(tx, deliveries)
    ids = _json([one.task_id for one in deliveries])
    await tx.run(_END, task_ids=ids, new_state=state, is_retrieved=int(retrieved))


async def forget(tx: Tx, task_ids: Sequence[str]) -> None:
    """Remove the deliveries of tasks that are removed, and have their chunks removed in time."""
    await _leave_chunks(tx, await kept(tx, task_ids))
    await tx.run(_FORGET, task_ids=_json(task_ids))


async def _leave_chunks(tx: Tx, deliveries: Sequence[Kept]) -> None:
    await chunks.leave(tx, [(one.task_id, one.attempt) for one in deliveries if one.chunks])


def _json(values: Sequence[object]) -> str:
    return orjson.dumps(values).decode()
