"""Counting users by the bins of a column, and the answers that were given.

Bin number k holds the values from k * width up to, and without, (k + 1) * width, where width is the decimal p / q (q a
power of ten). Values are decimals as they were uploaded. A double is the nearest one to its decimal, so it is compared
with the double nearest to an edge, which is (k * p) / q: with k * p a whole number below 1e15 that division is exact to
the last bit, while k * width would not be (3 * 0.1 > 0.3).

Values outside `low` to `high` are too large for this arithmetic. Whoever asks bins those, and the users who fall into
more bins than they may count in, from the values themselves.
"""

from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Float,
    Select,
    bindparam,
    case,
    cast,
    distinct,
    func,
    insert,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from server.store.datasets import ANSWERS, DATASETS, USER_ROWS, Id
from server.store.engine import Command, Query, Tx

_A, _D, _R = ANSWERS.c, DATASETS.c, USER_ROWS.c


class _JsonItem(FunctionElement[Any]):
    """The item of a JSON list, given as text, at a position from 0; cast it to what it is."""

    name = "json_item"


@compiles(_JsonItem, "sqlite")
def _on_sqlite(element: _JsonItem, compiler: Any, **options: Any) -> str:
    text, position = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({text}, '$[' || {position} || ']')"


@compiles(_JsonItem, "postgresql")
def _on_postgresql(element: _JsonItem, compiler: Any, **options: Any) -> str:
    text, position = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({text} AS JSON) ->> CAST({position} AS INTEGER))"


class Asked(NamedTuple):
    """What a count needs to know of its dataset."""

    id: int
    columns: str
    buckets_per_user: int
    version: int
    secret: bytes


class Kept(NamedTuple):
    """An answer that was given."""

    answer: str


class Counted(NamedTuple):
    """Either how many users are in a bin, or one value of a user who is still to be counted."""

    bin: int | None
    users: int | None
    user_id: str | None
    value: int | float | None


def _step(name: str, statement: Select[Any]) -> CTE:
    # Materialized, or the engines would put each step into the next and read every value from its JSON ten times over.
    return statement.cte(name).prefix_with("MATERIALIZED")


def _counting(values: CTE, number: ColumnElement[int]) -> Query[Counted]:
    """Return the count over `values` (user_id, value, …), of whose columns `number` makes the number of the bin."""
    b = _step("binned", select(values.c.user_id, values.c.value, number.label("bin"))).c
    u = _step(
        "users",
        select(
            b.user_id,
            func.min(b.bin).label("bin"),
            func.count(distinct(b.bin)).label("bins"),
            (func.count() - func.count(b.bin)).label("outside"),
        ).group_by(b.user_id),
    ).c
    no_user, no_value = cast(null(), b.user_id.type).label("user_id"), cast(null(), b.value.type).label("value")
    alone = select(u.bin, func.count().label("users"), no_user, no_value)
    alone = alone.where(u.bins == 1, u.outside == 0).group_by(u.bin)
    several = select(u.user_id).where(u.bins.between(2, bindparam("bins_per_user")), u.outside == 0)
    pairs = select(b.user_id, b.bin).distinct().where(b.user_id.in_(several)).subquery("pairs")
    within = select(pairs.c.bin, func.count(), no_user, no_value).group_by(pairs.c.bin)
    more = select(u.user_id).where(or_(u.bins > bindparam("bins_per_user"), u.outside > 0))
    beyond = (
        select(cast(null(), BigInteger()), cast(null(), BigInteger()), b.user_id, b.value)
        .distinct()
        .where(b.user_id.in_(more))
    )
    return Query(union_all(alone, within, beyond), Counted)


def _values(of_type: BigInteger | Float[float]) -> CTE:
    value = cast(_JsonItem(_R.data, bindparam("position")), of_type).label("value")
    return _step("given", select(_R.user_id, value).where(_R.dataset_id == bindparam("dataset_id")))


def _whole_numbers() -> Query[Counted]:
    given = _values(BigInteger()).c
    p, q = bindparam("p", type_=BigInteger()), bindparam("q", type_=BigInteger())
    inside = given.value.between(bindparam("low"), bindparam("high"))
    scaled = _step(
        "scaled",
        select(given.user_id, given.value, case((inside, given.value * q)).label("scaled")).where(
            given.value.is_not(None)
        ),
    )
    # Whole numbers are divided towards zero on both engines, and a bin starts at its lower edge.
    number = scaled.c.scaled // p - case((scaled.c.scaled % p < 0, 1), else_=0)
    return _counting(scaled, number)


def _decimals() -> Query[Counted]:
    given = _values(Float(53)).c
    p, q = bindparam("p", type_=Float(53)), bindparam("q", type_=Float(53))
    inside = given.value.between(bindparam("low"), bindparam("high"))
    guess = case((inside, func.floor(given.value * q / p, type_=Float(53))))
    guessed = _step("guessed", select(given.user_id, given.value, guess.label("guess")).where(given.value.is_not(None)))
    g = guessed.c
    up = case((g.value >= ((g.guess + 1) * p) / q, 1), else_=0)
    down = case((g.value < (g.guess * p) / q, 1), else_=0)
    return _counting(guessed, cast(g.guess + up - down, BigInteger()))


_WHOLE_NUMBERS = _whole_numbers()
_DECIMALS = _decimals()
_ASKED = Query(
    select(_D.id, _D.columns, _D.buckets_per_user, _D.version, _D.secret).where(
        _D.organization_id == bindparam("organization_id"), _D.name == bindparam("name")
    ),
    Asked,
)
_LOCK = Query(
    select(_D.id)
    .where(_D.organization_id == bindparam("organization_id"), _D.id == bindparam("dataset_id"))
    .with_for_update(),
    Id,
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


async def lock(tx: Tx, *, organization_id: int, dataset_id: int) -> bool:
    """Let nobody else keep an answer about the dataset until the commit; False if the organization has none such."""
    return await tx.one(_LOCK, organization_id=organization_id, dataset_id=dataset_id) is not None


async def kept(tx: Tx, *, dataset_id: int, version: int, question: str) -> str | None:
    """Return the answer that was given to this question about this version."""
    found = await tx.one(_KEPT, dataset_id=dataset_id, version=version, question=question)
    return found.answer if found else None


async def keep(tx: Tx, *, dataset_id: int, version: int, question: str, answer: str) -> None:
    """Keep the answer to a question."""
    await tx.run(_KEEP, dataset_id=dataset_id, version=version, question=question, answer=answer)


async def count_whole_numbers(
    tx: Tx, *, dataset_id: int, position: int, p: int, q: int, low: int, high: int, bins_per_user: int
) -> list[Counted]:
    """Count users by the bins of a column of whole numbers; see the module for p, q, low and high."""
    return await tx.all(
        _WHOLE_NUMBERS,
        dataset_id=dataset_id, position=position, p=p, q=q, low=low, high=high, bins_per_user=bins_per_user,
    )  # fmt: skip


async def count_decimals(
    tx: Tx, *, dataset_id: int, position: int, p: float, q: float, low: float, high: float, bins_per_user: int
) -> list[Counted]:
    """Count users by the bins of a column of other numbers; see the module for p, q, low and high."""
    return await tx.all(
        _DECIMALS,
        dataset_id=dataset_id, position=position, p=p, q=q, low=low, high=high, bins_per_user=bins_per_user,
    )  # fmt: skip
