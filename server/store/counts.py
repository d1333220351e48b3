"""Counting users by the bins of a column or by its values, and the answers that were given.

A user's values are put into buckets by *keys*. Of numbers the key is the number of the bin: bin number k holds the
values from k * width up to, and without, (k + 1) * width, where width is the decimal p / q (q a power of ten). Values
are decimals as they were uploaded. A double is the nearest one to its decimal, so it is compared with the double
nearest to an edge, which is (k * p) / q: with k * p a whole number below 1e15 that division is exact to the last bit,
while k * width would not be (3 * 0.1 > 0.3). Booleans are the whole numbers 0 and 1. Of text the key is VALUE and the
text itself, or TOO_LONG for all that have more than `longest` characters.

Numbers outside `low` to `high` are too large for this arithmetic. Whoever asks bins those, and the users who have more
keys than they may count in, from the values themselves.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Float,
    FromClause,
    Select,
    Text,
    bindparam,
    case,
    cast,
    distinct,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
)

from server.store.cells import Cell, Kind, value_at
from server.store.datasets import ANSWERS, DATASETS, USER_ROWS
from server.store.engine import Command, OneTimeQuery, Query, Tx
from server.store.where import Condition, Every, clause_of

VALUE, TOO_LONG = "=", "!"
_A, _D, _R = ANSWERS.c, DATASETS.c, USER_ROWS.c
_ALL = Every(())
_TOO_MANY = 1000  # More keys than a user may ever count under.


class Asked(NamedTuple):
    """What a count needs to know of its dataset."""

    id: int
    columns: str
    buckets_per_user: int
    version: int
    secret: bytes
    budget_epsilon: int
    spent_epsilon: int
    spent_delta: int


class Kept(NamedTuple):
    """An answer that was given."""

    answer: str


class Counted(NamedTuple):
    """Either how many users have a key, or one value (of text: its key) of a user who is still to be counted."""

    key: int | str | None
    users: int | None
    user_id: str | None
    value: int | float | str | None


_TINY = 1e-280


def _step(name: str, statement: Select[Any]) -> CTE:
    # Materialized, or the engines would put each step into the next and read every value from its JSON ten times over.
    return statement.cte(name).prefix_with("MATERIALIZED")


def _counting(values: FromClause, key: ColumnElement[Any]) -> CompoundSelect[Any]:
    """Return the count over `values` (user_id, value, …), of whose columns `key` is made; NULL is too large for one."""
    b = _step("keyed", select(values.c.user_id, values.c.value, key.label("key"))).c
    keys = func.count(distinct(b.key)) + (func.count() - func.count(b.key)) * _TOO_MANY
    u = _step("users", select(b.user_id, func.min(b.key).label("key"), keys.label("many")).group_by(b.user_id)).c
    no_user, no_value = cast(null(), b.user_id.type).label("user_id"), cast(null(), b.value.type).label("value")
    # Neither `many = 1` nor the like: SQLite would take the time to make an index for it.
    alone = select(u.key, func.count().label("users"), no_user, no_value).where(u.many < 2).group_by(u.key)
    several = select(u.user_id).where(u.many.between(2, bindparam("keys_per_user")))
    pairs = select(b.user_id, b.key).distinct().where(b.user_id.in_(several)).subquery("pairs")
    within = select(pairs.c.key, func.count(), no_user, no_value).group_by(pairs.c.key)
    more = select(u.user_id).where(u.many > bindparam("keys_per_user"))
    beyond = (
        select(cast(null(), key.type), cast(null(), BigInteger()), b.user_id, b.value)
        .distinct()
        .where(b.user_id.in_(more))
    )
    return union_all(alone, within, beyond)


def _given(kind: Kind, where: Condition) -> FromClause:
    value = value_at(bindparam("position"), kind).label("value")
    rows = select(_R.user_id, value).where(_R.dataset_id == bindparam("dataset_id"), clause_of(where))
    given = _step("given", rows)
    return select(given).where(given.c.value.is_not(None)).subquery("values_given")


def _whole_numbers(kind: Kind, where: Condition) -> CompoundSelect[Any]:
    given = _given(kind, where).c
    p, q = bindparam("p", type_=BigInteger()), bindparam("q", type_=BigInteger())
    inside = given.value.between(bindparam("low"), bindparam("high"))
    scaled = select(given.user_id, given.value, case((inside, given.value * q)).label("scaled")).subquery("scaled")
    # Whole numbers are divided towards zero on both engines, and a bin starts at its lower edge.
    number = scaled.c.scaled // p - case((scaled.c.scaled % p < 0, 1), else_=0)
    return _counting(scaled, number)


def _decimals(kind: Kind, where: Condition) -> CompoundSelect[Any]:
    given = _given(kind, where).c
    p, q = bindparam("p", type_=Float(53)), bindparam("q", type_=Float(53))
    inside = given.value.between(bindparam("low"), bindparam("high"))
    # PostgreSQL refuses products that are too small for a double; these values are beside 0, as is found below.
    tiny = given.value.between(-_TINY, _TINY)
    guess = case((tiny, literal(0.0, Float(53))), (inside, func.floor(given.value * q / p, type_=Float(53))))
    guessed = select(given.user_id, given.value, guess.label("guess")).subquery("guessed")
    g = guessed.c
    up = case((g.value >= ((g.guess + 1) * p) / q, 1), else_=0)
    down = case((g.value < (g.guess * p) / q, 1), else_=0)
    return _counting(guessed, cast(g.guess + up - down, BigInteger()))


def _texts(kind: Kind, where: Condition) -> CompoundSelect[Any]:
    given = _given(kind, where).c
    short = func.length(given.value) <= bindparam("longest")
    key = case((short, literal(VALUE) + given.value), else_=literal(TOO_LONG))
    told = select(given.user_id, cast(key, Text()).label("value")).subquery("told")
    return _counting(told, told.c.value)


_STATEMENTS: dict[Kind, Callable[[Kind, Condition], CompoundSelect[Any]]] = {
    Kind.WHOLE: _whole_numbers,
    Kind.TRUTH: _whole_numbers,
    Kind.REAL: _decimals,
    Kind.TEXT: _texts,
}


@cache
def _of_all_rows(kind: Kind) -> Query[Counted]:
    return Query(_STATEMENTS[kind](kind, _ALL), Counted)


_ASKED = Query(
    select(*(_D[name] for name in Asked._fields)).where(
        _D.organization_id == bindparam("organization_id"), _D.name == bindparam("name")
    ),
    Asked,
)
_KEPT = Query(
    select(_A.answer).where(
        _A.dataset_id == bindparam("dataset_id"),
        _A.version == bindparam("version"),
        _A.question == bindparam("question"),
    ),
    Kept,
)
_KEEP = Command(
    insert(ANSWERS).values({name: bindparam(name) for name in ("dataset_id", "version", "question", "answer")})
)


async def asked(tx: Tx, *, organization_id: int, name: str) -> Asked | None:
    """Return the organization's dataset of this name."""
    return await tx.one(_ASKED, organization_id=organization_id, name=name)


async def kept(tx: Tx, *, dataset_id: int, version: int, question: str) -> str | None:
    """Return the answer that was given to this question about this version."""
    found = await tx.one(_KEPT, dataset_id=dataset_id, version=version, question=question)
    return found.answer if found else None


async def keep(tx: Tx, *, dataset_id: int, version: int, question: str, answer: str) -> None:
    """Keep the answer to a question."""
    await tx.run(_KEEP, dataset_id=dataset_id, version=version, question=question, answer=answer)


async def count(
    tx: Tx, *, dataset_id: int, cell: Cell, where: Condition, keys_per_user: int, **keying: float
) -> list[Counted]:
    """Count users by their keys. `keying` is p, q, low and high, or of text `longest`; see the module."""
    if where == _ALL:
        query = _of_all_rows(cell.kind)
    else:
        query = OneTimeQuery(_STATEMENTS[cell.kind](cell.kind, where), Counted)
    return await tx.all(query, dataset_id=dataset_id, position=cell.position, keys_per_user=keys_per_user, **keying)
