"""Counting users by the bins of a column or by its values, and the answers that were given.

A user's values are put into buckets by *keys*. Of numbers the key is the number of the bin: bin number k holds the
values from k * width up to, and without, (k + 1) * width, where width is the decimal p / q (q a power of ten). Values
are decimals as they were uploaded. A double is the nearest one to its decimal, so it is compared with the double
nearest to an edge, which is (k * p) / q: with k * p a whole number below 1e15 that division is exact to the last bit,
while k * width would not be (3 * 0.1 > 0.3). Booleans are the whole numbers 0 and 1. Of text the key is VALUE and the
text itself, or TOO_LONG for all that have more than `longest` characters.

Numbers outside `low` to `high`, which are edges of bins, are too large for this arithmetic. Of them the number of the
bin is made exactly, digit by digit, and told as text: `far`. That is slow, and such numbers are rare.

A user who has more keys than `keys_per_user` counts under those that come first by their SHA-256 behind `rank_key`.
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from server.store.cells import Cell, Kind, value_at
from server.store.datasets import ANSWERS, DATASETS, USER_ROWS
from server.store.engine import Command, Query, Tx
from server.store.where import Condition, Every, clause_of

VALUE, TOO_LONG = "=", "!"
_A, _D, _R = ANSWERS.c, DATASETS.c, USER_ROWS.c
_ALL = Every(())
_NOT_FAR = cast(null(), Text())


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
    """How many users have a key. It is told in parts: the same key may come several times."""

    key: int | str | None
    far: str | None  # Instead of a key, of numbers that are too large.
    users: int


_TINY = 1e-280


def _step(name: str, statement: Select[Any]) -> CTE:
    # Materialized, or the engines would put each step into the next and read every value from its JSON ten times over.
    return statement.cte(name).prefix_with("MATERIALIZED")


class _Rank(FunctionElement[Any]):
    """The SHA-256 of a key and a text behind it."""

    name = "keyed_sha256"  # SQLite's is in sqlite.py.


class _ExactBin(FunctionElement[Any]):
    """The number of the bin that a value is in, as text: value, p, q."""

    name = "exact_bin"  # As above.
    type = Text()


@compiles(_Rank, "sqlite")
@compiles(_ExactBin, "sqlite")
def _call_on_sqlite(element: _Rank | _ExactBin, compiler: Any, **options: Any) -> str:
    return f"{element.name}({', '.join(compiler.process(clause, **options) for clause in element.clauses)})"


@compiles(_Rank, "postgresql")
def _rank_on_postgresql(element: _Rank, compiler: Any, **options: Any) -> str:
    key, text = (compiler.process(clause, **options) for clause in element.clauses)
    return f"sha256(CAST({key} AS BYTEA) || convert_to({text}, 'UTF8'))"


@compiles(_ExactBin, "postgresql")
def _exact_bin_on_postgresql(element: _ExactBin, compiler: Any, **options: Any) -> str:
    # By their texts: a double that is cast to a number has only 15 digits.
    texts = (f"CAST({compiler.process(clause, **options)} AS TEXT)" for clause in element.clauses)
    value, p, q = (f"CAST({text} AS NUMERIC)" for text in texts)
    # div() cuts towards zero, and a bin starts at its lower edge.
    down = f"CASE WHEN {value} < 0 AND mod({value} * {q}, {p}) <> 0 THEN 1 ELSE 0 END"
    return f"CAST(div({value} * {q}, {p}) - {down} AS TEXT)"


def _counting(values: FromClause, key: ColumnElement[Any], far: ColumnElement[Any] = _NOT_FAR) -> CompoundSelect[Any]:
    """Return the count over `values` (user_id, …), of whose columns `key` is made, or `far` if that is NULL."""
    b = _step("keyed", select(values.c.user_id, key.label("key"), far.label("far"))).c
    # Of numbers that are far the same may be counted several times: then all of them are looked at below.
    keys = (func.count(distinct(b.key)) + func.count(b.far)).label("many")
    first = func.min(b.key).label("key"), func.min(b.far).label("far")
    u = _step("users", select(b.user_id, *first, keys).group_by(b.user_id)).c
    # Neither `many = 1` nor the like: SQLite would take the time to make an index for it.
    alone = select(u.key, u.far, func.count().label("users")).where(u.many < 2).group_by(u.key, u.far)
    pairs = select(b.user_id, b.key, b.far).distinct()
    several = select(u.user_id).where(u.many.between(2, bindparam("keys_per_user")))
    w = pairs.where(b.user_id.in_(several)).subquery("within").c
    within = select(w.key, w.far, func.count()).group_by(w.key, w.far)
    more = select(u.user_id).where(u.many > bindparam("keys_per_user"))
    p = pairs.where(b.user_id.in_(more)).subquery("pairs").c
    rank = _Rank(bindparam("rank_key"), p.user_id + literal(" ") + func.coalesce(cast(p.key, Text()), p.far))
    place = func.row_number().over(partition_by=p.user_id, order_by=rank).label("place")
    c = select(p.key, p.far, place).subquery("placed").c
    beyond = select(c.key, c.far, func.count()).where(c.place <= bindparam("keys_per_user")).group_by(c.key, c.far)
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
    return _counting(scaled, number, case((scaled.c.scaled.is_(None), _ExactBin(scaled.c.value, p, q))))


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
    return _counting(
        guessed, cast(g.guess + up - down, BigInteger()), case((g.guess.is_(None), _ExactBin(g.value, p, q)))
    )


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
    tx: Tx, *, dataset_id: int, cell: Cell, where: Condition, keys_per_user: int, rank_key: bytes, **keying: float
) -> list[Counted]:
    """Count users by their keys. `keying` is p, q, low and high, or of text `longest`; see the module."""
    query = _of_all_rows(cell.kind) if where == _ALL else Query(_STATEMENTS[cell.kind](cell.kind, where), Counted)
    of = {"dataset_id": dataset_id, "position": cell.position}
    return await tx.all(query, **of, keys_per_user=keys_per_user, rank_key=rank_key, **keying)
