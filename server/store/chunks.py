"""Chunks: the parts of large results, from when they come in until nobody needs them any more."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Integer, bindparam, delete, insert, select
from sqlmodel import Field, SQLModel

from server.store.columns import serial, table_of
from server.store.engine import Command, Query, Tx


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


CHUNKS = table_of(ChunkRow)
LEFTOVERS = table_of(LeftoverRow)
_C, _L = CHUNKS.c, LEFTOVERS.c


class Chunk(NamedTuple):
    """A part of a result to store."""

    task_id: str
    attempt: int
    number: int
    data: bytes


class Leftover(NamedTuple):
    """An attempt whose chunks are to be removed."""

    id: int
    task_id: str
    attempt: int


class _Data(NamedTuple):
    value: bytes


_OF_ATTEMPT = (_C.task_id == bindparam("task_id"), _C.attempt == bindparam("attempt"))

_ADD = Command(insert(CHUNKS).values({name: bindparam(name) for name in Chunk._fields}))
_CHUNK = Query(select(_C.data).where(*_OF_ATTEMPT, _C.number == bindparam("number")), _Data)
_LEAVE = Command(insert(LEFTOVERS).values(task_id=bindparam("task_id"), attempt=bindparam("attempt")))
_FIRST_LEFTOVER = Query(select(*_L).order_by(_L.id).limit(1).with_for_update(skip_locked=True), Leftover)
_SOME = (
    select(_C.number).where(*_OF_ATTEMPT).order_by(_C.number).limit(bindparam("most", type_=Integer)).correlate(None)
)
_REMOVE = Command(delete(CHUNKS).where(*_OF_ATTEMPT, _C.number.in_(_SOME)))
_REMOVE_LEFTOVER = Command(delete(LEFTOVERS).where(_L.id == bindparam("leftover_id")))


async def add(tx: Tx, chunks: Sequence[Chunk]) -> None:
    """Store parts of results."""
    await tx.insert_many(_ADD, Chunk._fields, chunks)


async def chunk(tx: Tx, *, task_id: str, attempt: int, number: int) -> bytes | None:
    """Return a part of a result."""
    found = await tx.one(_CHUNK, task_id=task_id, attempt=attempt, number=number)
    return found.value if found else None


async def leave(tx: Tx, attempts: Sequence[tuple[str, int]]) -> None:
    """Have the chunks of these tasks' attempts removed in time."""
    if attempts:
        await tx.insert_many(_LEAVE, ("task_id", "attempt"), attempts)


async def remove(tx: Tx, *, most: int) -> int | None:
    """Remove up to `most` chunks that nobody needs; None if there are none."""
    found = await tx.one(_FIRST_LEFTOVER)
    if found is None:
        return None
    removed = await tx.run(_REMOVE, task_id=found.task_id, attempt=found.attempt, most=most)
    if removed < most:
        await tx.run(_REMOVE_LEFTOVER, leftover_id=found.id)
    return removed
