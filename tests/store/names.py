"""Verbs and statements on organizations' names, for trying stores out."""

from typing import NamedTuple

from sqlalchemy import bindparam, insert, select, text, update

from server.store.engine import Command, Query, Tx
from server.store.organizations import ORGANIZATIONS

_O = ORGANIZATIONS.c


class Name(NamedTuple):
    name: str


class Number(NamedTuple):
    value: int


class Refused(Exception):
    pass


ADD = Command(insert(ORGANIZATIONS).values(name=bindparam("name"), create_time=bindparam("now")))
RENAME = Command(update(ORGANIZATIONS).where(_O.name == bindparam("old")).values(name=bindparam("new")))
NAMES = Query(select(_O.name).order_by(_O.name), Name)
NAMED = Query(select(_O.name).where(_O.name == bindparam("named")), Name)
NUMBER = Query(select(_O.create_time).where(_O.name == bindparam("named")), Number)
SET_NUMBER = Command(update(ORGANIZATIONS).where(_O.name == bindparam("named")).values(create_time=bindparam("value")))
FOR_EVER = Query(
    text("WITH RECURSIVE ones (value) AS (SELECT 1 UNION ALL SELECT value FROM ones) SELECT count(*) FROM ones"), Number
)


async def add(tx: Tx, name: str) -> str:
    await tx.run(ADD, name=name, now=tx.now)
    return name


async def add_unless_there(tx: Tx, name: str) -> None:
    if await tx.one(NAMED, named=name):
        raise Refused
    await add(tx, name)


async def add_then_refuse(tx: Tx, name: str) -> None:
    await add(tx, name)
    raise Refused


async def names(tx: Tx) -> list[str]:
    return [row.name for row in await tx.all(NAMES)]


async def names_for_ever(tx: Tx) -> list[str]:
    """Never end."""
    while True:
        await tx.all(FOR_EVER)


async def number(tx: Tx, name: str) -> int:
    found = await tx.one(NUMBER, named=name)
    assert found is not None
    return found.value


async def count_on(tx: Tx, name: str) -> None:
    await tx.run(SET_NUMBER, named=name, value=await number(tx, name) + 1)


async def now(tx: Tx) -> int:
    return tx.now
