"""Deliveries: results on their one way out, of tasks whose results are no pages. Live channels are in `channels.py`.

A delivery is there from its task's creation. Every statement that moves one names the states it moves from. Who changes
both locks a task before its delivery.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    insert,
    null,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, serial, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import records, texts
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
    retrieved: int  # 1: a client has it
    attempt: int  # whose chunks there are
    chunks: int  # how many, in the table of chunks
    size: int = Field(sa_type=BigInteger)  # bytes, in chunks and rest
    content_type: str
    filename: str | None
    claim: int  # numbers the claims: the fence
    claim_until: int = micros()
    available_time: int = micros()  # since when it waits to be taken
    rest: bytes | None  # what follows the chunks; last, as it may be long


class ChunkRow(SQLModel, table=True):
    """A part of a large result."""

    __tablename__ = "chunks"

    task_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    number: int = Field(primary_key=True)  # from 1
    data: bytes


class LeftoverRow(SQLModel, table=True):
    """Chunks that nobody needs any more, of one attempt; removed in slices."""

    __tablename__ = "leftovers"

    id: int | None = serial()
    task_id: str
    attempt: int


DELIVERIES = table_of(DeliveryRow)
CHUNKS = table_of(ChunkRow)
LEFTOVERS = table_of(LeftoverRow)
_D, _C, _L, _T = DELIVERIES.c, CHUNKS.c, LEFTOVERS.c, TASKS.c


class Kept(NamedTuple):
    """How much of a result is here."""

    task_id: str
    state: str
    attempt: int
    chunks: int
    size: int


class Chunk(NamedTuple):
    """A part of a result to store."""

    task_id: str
    attempt: int
    number: int
    data: bytes


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


class Claimed(NamedTuple):
    """A result that is claimed, for sending it out."""

    task_id: str
    claim: int
    failed: int
    attempt: int
    chunks: int
    size: int
    content_type: str
    filename: str | None
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


class Leftover(NamedTuple):
    """An attempt whose chunks are to be removed."""

    id: int
    task_id: str
    attempt: int


class InStore(NamedTuple):
    """What there is to say of a stored result."""

    state: str
    failed: int
    size: int
    content_type: str
    filename: str | None


class _Data(NamedTuple):
    value: bytes


class _Count(NamedTuple):
    value: int


_IDS = texts("task_ids")
_NAMES = records("names", task_id=String, claim=Integer)
_IN_IDS = _D.task_id.in_(select(_IDS.c.value))
_MOST = bindparam("most", type_=Integer)
_UNTIL = bindparam("until", type_=BigInteger)
_NOW = bindparam("now", type_=BigInteger)
_NOT_YET = text("state IN ('AWAITED', 'ARRIVING', 'AVAILABLE')")
_NAMED = and_(_D.task_id == _NAMES.c.task_id, _D.claim == _NAMES.c.claim)
_IN_CLAIM = (_D.task_id == bindparam("of_task"), _D.claim == bindparam("of_claim"), _D.state == "CLAIMED")
_KEPT = select(*(_D[name] for name in Kept._fields))
_IS_OVER = exists().where(_T.id == _D.task_id, _T.end_time.is_not(None)).correlate(DELIVERIES)

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
_ADD_CHUNK = Command(insert(CHUNKS).values({name: bindparam(name) for name in Chunk._fields}))
_CHANGED = {name: bindparam(f"new_{name}", type_=_D[name].type) for name in Settled._fields if name != "task_id"}
_SETTLE = Command(update(DELIVERIES).where(_D.task_id == bindparam("of_task"), _NOT_YET).values(_CHANGED))
_SETTLED_NAMES = (
    *("new_state", "new_attempt", "new_chunks", "new_size", "new_content_type", "new_filename", "new_available_time"),
    *("new_rest", "of_task"),
)

_BY_IDS = Query(_KEPT.where(_IN_IDS, _NOT_YET).order_by(_D.task_id).with_for_update(), Kept)
_IN_ANY_STATE = Query(_KEPT.where(_IN_IDS).order_by(_D.task_id).with_for_update(), Kept)
_OWN_OF_TASKS_OVER = Query(
    _KEPT.where(_IN_IDS, _D.credential_id == bindparam("of_credential"), _D.retrieved == 0, _IS_OVER)
    .order_by(_D.task_id)
    .with_for_update(of=DELIVERIES),
    Kept,
)
_CLAIMED_ONES = Query(
    _KEPT.select_from(DELIVERIES.join(_NAMES, _NAMED))
    .where(text(CLAIMED))
    .order_by(_D.task_id)
    .with_for_update(of=DELIVERIES),
    Kept,
)
_EXPIRED = Query(
    _KEPT.where(text(IN_STORE), _D.available_time < bindparam("before"))
    .order_by(_D.available_time, _D.task_id)
    .limit(_MOST)
    .with_for_update(skip_locked=True),
    Kept,
)
_LEAVE = Command(insert(LEFTOVERS).values(task_id=bindparam("task_id"), attempt=bindparam("attempt")))
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

_CLAIM = Query(
    update(DELIVERIES)
    .where(
        _D.task_id == bindparam("of_task"),
        _D.credential_id == bindparam("of_credential"),
        _D.retrieval == "asstore",
        or_(_D.state == "AVAILABLE", and_(_D.state == "CLAIMED", _D.claim_until <= _NOW)),
    )
    .values(state="CLAIMED", claim=_D.claim + 1, claim_until=_UNTIL)
    .returning(*(_D[name] for name in Claimed._fields)),
    Claimed,
)
_IN_STORE = Query(
    select(*(_D[name] for name in InStore._fields)).where(
        _D.task_id == bindparam("task_id"), _D.credential_id == bindparam("credential_id"), _D.retrieval == "asstore"
    ),
    InStore,
)
_RENEW = Command(update(DELIVERIES).where(*_IN_CLAIM).values(claim_until=_UNTIL))
_GIVE_BACK = Command(update(DELIVERIES).where(*_IN_CLAIM).values(state="AVAILABLE", available_time=_NOW))
_CHUNK = Query(
    select(_C.data).where(
        _C.task_id == bindparam("task_id"), _C.attempt == bindparam("attempt"), _C.number == bindparam("number")
    ),
    _Data,
)
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

_FIRST_LEFTOVER = Query(select(*_L).order_by(_L.id).limit(1).with_for_update(skip_locked=True), Leftover)
_SOME_CHUNKS = (
    select(_C.number)
    .where(_C.task_id == bindparam("task_id"), _C.attempt == bindparam("attempt"))
    .order_by(_C.number)
    .limit(_MOST)
    .correlate(None)
)
_REMOVE_CHUNKS = Command(
    delete(CHUNKS).where(
        _C.task_id == bindparam("task_id"), _C.attempt == bindparam("attempt"), _C.number.in_(_SOME_CHUNKS)
    )
)
_REMOVE_LEFTOVER = Command(delete(LEFTOVERS).where(_L.id == bindparam("leftover_id")))
_FORGET = Command(delete(DELIVERIES).where(_IN_IDS))


# Arriving


async def expect(tx: Tx, tasks: Sequence[tuple[str, str, str]]) -> None:
    """Store deliveries of new tasks: task id, credential id and retrieval of each."""
    await tx.insert_many(_EXPECT, ("task_id", "credential_id", "retrieval"), tasks)


async def kept(tx: Tx, task_ids: Sequence[str]) -> list[Kept]:
    """Return the deliveries of these tasks, in any state. They are locked."""
    return await tx.all(_IN_ANY_STATE, task_ids=_json(task_ids))


async def add_chunks(tx: Tx, chunks: Sequence[Chunk]) -> None:
    """Store parts of results."""
    await tx.insert_many(_ADD_CHUNK, Chunk._fields, chunks)


async def settle(tx: Tx, deliveries: Sequence[Settled]) -> None:
    """Write what has become of deliveries that nobody has claimed."""
    rows = [(*delivery[1:], delivery.task_id) for delivery in sorted(deliveries)]
    await tx.insert_many(_SETTLE, _SETTLED_NAMES, rows)


async def leave(tx: Tx, attempts: Sequence[tuple[str, int]]) -> None:
    """Have the chunks of these tasks' attempts removed in time."""
    await tx.insert_many(_LEAVE, ("task_id", "attempt"), attempts)


async def fail(tx: Tx, task_ids: Sequence[str]) -> None:
    """Make it available that these tasks ended badly, where nobody is getting anything else."""
    found = await tx.all(_BY_IDS, task_ids=_json(task_ids))
    if found:
        await _leave_chunks(tx, found)
        await tx.run(_FAIL, task_ids=_json([one.task_id for one in found]), now=tx.now)


async def spoil(tx: Tx, task_ids: Sequence[str]) -> None:
    """Note that the results of these tasks could not be stored."""
    await tx.run(_SPOIL, task_ids=_json(task_ids))


# On their way


async def claim(tx: Tx, *, task_id: str, credential_id: str, until: int) -> Claimed | None:
    """Claim a stored result for one download, if there is one that nobody has claimed."""
    return await tx.one(_CLAIM, of_task=task_id, of_credential=credential_id, now=tx.now, until=until)


async def in_store(tx: Tx, *, task_id: str, credential_id: str) -> InStore | None:
    """Return what there is to say of the result of this credential's task, if it is to be stored."""
    return await tx.one(_IN_STORE, task_id=task_id, credential_id=credential_id)


async def renew(tx: Tx, *, task_id: str, claim: int, until: int) -> bool:
    """Keep a claim; False if it is not held any more."""
    return await tx.run(_RENEW, of_task=task_id, of_claim=claim, until=until) == 1


async def give_back(tx: Tx, *, task_id: str, claim: int) -> None:
    """End a claim undone, if it is held."""
    await tx.run(_GIVE_BACK, of_task=task_id, of_claim=claim, now=tx.now)


async def claimed(tx: Tx, names: Sequence[tuple[str, int]]) -> list[Kept]:
    """Return those of these (task id, claim) that are held. They are locked."""
    given = [{"task_id": task_id, "claim": claim} for task_id, claim in names]
    return await tx.all(_CLAIMED_ONES, names=_json(given))


async def of_tasks_over(tx: Tx, *, credential_id: str, task_ids: Sequence[str]) -> list[Kept]:
    """Return the credential's deliveries of these tasks, where a task is over and its result not known as retrieved."""
    return await tx.all(_OWN_OF_TASKS_OVER, task_ids=_json(task_ids), of_credential=credential_id)


async def expired(tx: Tx, *, before: int, most: int) -> list[Kept]:
    """Return stored results that nobody fetched, those available first of all before this time. They are locked."""
    return await tx.all(_EXPIRED, before=before, most=most)


async def end(tx: Tx, deliveries: Sequence[Kept], *, state: str, retrieved: bool) -> None:
    """Move locked deliveries to a last state, and let go of their bytes."""
    await _leave_chunks(tx, deliveries)
    ids = _json([one.task_id for one in deliveries])
    await tx.run(_END, task_ids=ids, new_state=state, is_retrieved=int(retrieved))


async def chunk(tx: Tx, *, task_id: str, attempt: int, number: int) -> bytes | None:
    """Return a part of a result."""
    found = await tx.one(_CHUNK, task_id=task_id, attempt=attempt, number=number)
    return found.value if found else None


async def statuses(tx: Tx, *, organization_id: int, task_ids: Sequence[str]) -> list[Status]:
    """Return how far those of the organization's tasks are that have these ids and an account."""
    return await tx.all(_STATUSES, organization_id=organization_id, task_ids=_json(task_ids))


# Afterwards


async def remove_chunks(tx: Tx, *, most: int) -> int | None:
    """Remove up to `most` chunks that nobody needs; None if there are none."""
    found = await tx.one(_FIRST_LEFTOVER)
    if found is None:
        return None
    removed = await tx.run(_REMOVE_CHUNKS, task_id=found.task_id, attempt=found.attempt, most=most)
    if removed < most:
        await tx.run(_REMOVE_LEFTOVER, leftover_id=found.id)
    return removed


async def forget(tx: Tx, task_ids: Sequence[str]) -> None:
    """Remove the deliveries of tasks that are removed, and have their chunks removed in time."""
    await _leave_chunks(tx, await kept(tx, task_ids))
    await tx.run(_FORGET, task_ids=_json(task_ids))


async def _leave_chunks(tx: Tx, deliveries: Sequence[Kept]) -> None:
    with_chunks = [(one.task_id, one.attempt) for one in deliveries if one.chunks]
    if with_chunks:
        await leave(tx, with_chunks)


def _json(values: Sequence[object]) -> str:
    return orjson.dumps(values).decode()
