"""Searches for stats: conditions compiled to SQL that an index drives, and that means the same on both engines.

A search names its shape (which columns are compared how, and the order); the values are parameters. Shapes that were
seen last are kept, up to MAX_SHAPES.
"""

import operator
from collections.abc import Callable, Mapping
from enum import IntEnum, auto
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
)

from server.store.engine import Command, Query
from server.store.lists import records, texts
from server.store.stats import STATS, Stored
from server.store.stats_elements import Indexless, Leaf, Position

MAX_SHAPES = 500
LEAF = "leaf"
LEADERS = (
    "id", "uuid", "anr_uuid", "anr_number", "create_time", "day", "week", "month", "quarter", "type", "year",
)  # fmt: skip
"""The columns that have an index, those with the fewest stats a value first."""
_RANKS = {name: rank for rank, name in enumerate(LEADERS)} | {"update_time": len(LEADERS)}

_S = STATS.c


class Test(IntEnum):
    """How a column, or a leaf, is compared with its values."""

    EQUAL = auto()
    MISSING = auto()
    PRESENT = auto()
    GREATER = auto()
    GREATER_OR_EQUAL = auto()
    LESS = auto()
    LESS_OR_EQUAL = auto()
    BETWEEN = auto()  # the two values, both of them excluded
    FROM = auto()  # the two values, the second excluded
    UP_TO = auto()  # the two values
    ONE_OF = auto()  # a JSON list of texts
    ONE_OF_NUMBERS = auto()  # a JSON list of {"value": …}
    CONTAINS = auto()
    STARTS_WITH = auto()
    ENDS_WITH = auto()
    EQUAL_FOLDED = auto()
    CONTAINS_FOLDED = auto()
    STARTS_WITH_FOLDED = auto()
    ENDS_WITH_FOLDED = auto()


FOLDED = frozenset({Test.EQUAL_FOLDED, Test.CONTAINS_FOLDED, Test.STARTS_WITH_FOLDED, Test.ENDS_WITH_FOLDED})
_WITHIN = frozenset({Test.CONTAINS, Test.STARTS_WITH, Test.ENDS_WITH}) | FOLDED


class Term(NamedTuple):
    """One comparison. Of a leaf, `paths` are its path and that of its folded twin."""

    column: str  # or LEAF
    test: Test
    values: tuple[int | str, ...] = ()
    paths: tuple[str, str] = ("", "")


class Clause(NamedTuple):
    """What holds if any of the terms does, or, negated, if none does."""

    terms: tuple[Term, ...]
    negated: bool = False


class Order(NamedTuple):
    """The order of stats: by a column and then by id, both of them descending or none."""

    column: str = "id"
    descending: bool = False


class Place(NamedTuple):
    """A place in an order: the value of its column (of an order by id, the id), and the id."""

    value: int | str
    id: str


class Key(NamedTuple):
    """A stat that was found, and the bytes of its data."""

    value: int | str
    id: str
    bytes: int


class What(IntEnum):
    """What a search returns."""

    KEYS = auto()
    ROWS = auto()  # the stats themselves, as Stored
    BOUND = auto()  # the place at which a look ends, as a Key without bytes
    REMOVAL = auto()  # nothing: it deletes


class _Shape(NamedTuple):
    clauses: tuple[tuple[tuple[tuple[str, Test], ...], bool], ...]
    order: Order
    many: bool  # organizations, in a list; else one
    after: bool
    up_to: type[Place] | type[int] | None
    what: What


class Search(NamedTuple):
    """What is searched for, in one organization or in several."""

    clauses: tuple[Clause, ...]
    order: Order
    leader: Clause | None = None  # as `led` finds it

    @property
    def is_led(self) -> bool:
        """Whether the order of an index alone finds the stats, with nothing on the way to be left out."""
        return len(self.clauses) == (0 if self.leader is None else 1)


def led(clauses: tuple[Clause, ...], order: Order) -> Search:
    """Return a search with the condition whose index finds the stats in their order: an equality, by order of id."""
    leader, rank = None, len(LEADERS)
    if order.column == "id":
        for clause in clauses:
            terms, negated = clause
            if len(terms) == 1 and not negated and terms[0].test is Test.EQUAL and terms[0].column != LEAF:
                found = _RANKS[terms[0].column]
                if found < rank:
                    leader, rank = clause, found
    return Search(clauses, order, leader)


def keys(
    search: Search, *, organizations: int | str, after: Place | None, up_to: Place | int | None, most: int, skip: int
) -> tuple[Query[Key], dict[str, Any]]:
    """Return the query for up to `most` stats of an organization (or a JSON list [{"value": id}, …]), and its values.

    They are those after the place `after` and up to the place `up_to`, without the first `skip`. In the order of id,
    `up_to` may be the number of the row that `bound` returns the place of.
    """
    return _asked(search, organizations, after, up_to, What.KEYS, most=most, skip=skip)


def rows(
    search: Search, *, organizations: int | str, after: Place | None, up_to: Place | int | None, most: int, skip: int
) -> tuple[Query[Stored], dict[str, Any]]:
    """As keys, for the stats themselves."""
    return _asked(search, organizations, after, up_to, What.ROWS, most=most, skip=skip)


def bound(
    search: Search, *, organizations: int | str, after: Place | None, skip: int
) -> tuple[Query[Key], dict[str, Any]]:
    """Return the query for the place of the row with the number `skip` of those that the index goes through."""
    found = Search((search.leader,) if search.leader else (), search.order, search.leader)
    return _asked(found, organizations, after, None, What.BOUND, most=1, skip=skip)


def removal(search: Search, *, organizations: int | str, ids: str) -> tuple[Command, dict[str, Any]]:
    """Return the command that deletes, of the stats with these ids (a JSON list), those that are searched for."""
    command = _removal(_shape(search, organizations, None, None, What.REMOVAL))
    return command, {"organizations": organizations, "ids": ids} | _values(search)


def _asked(
    search: Search,
    organizations: int | str,
    after: Place | None,
    up_to: Place | int | None,
    what: What,
    **limits: int,
) -> tuple[Query[Any], dict[str, Any]]:
    leader = search.clauses.index(search.leader) if search.leader else None
    query = _query(_shape(search, organizations, after, up_to, what), leader)
    values: dict[str, Any] = {"organizations": organizations, **limits} | _values(search)
    if after:
        values |= {"after_value": after.value, "after_id": after.id}
    if isinstance(up_to, int):
        values["window"] = up_to
    elif up_to:
        values |= {"up_to_value": up_to.value, "up_to_id": up_to.id}
    return query, values


@lru_cache(MAX_SHAPES)
def _query(shape: _Shape, leader: int | None) -> Query[Any]:
    return Query(_statement(shape, leader), Stored if shape.what is What.ROWS else Key)


@lru_cache(MAX_SHAPES)
def _removal(shape: _Shape) -> Command:
    listed = _S.id.in_(select(texts("ids").c.value))
    return Command(delete(STATS).where(listed, *_conditions(shape, None)))


def _shape(
    search: Search, organizations: int | str, after: Place | None, up_to: Place | int | None, what: What
) -> _Shape:
    return _Shape(
        tuple((tuple((term.column, term.test) for term in terms), negated) for terms, negated in search.clauses),
        search.order,
        isinstance(organizations, str),
        after is not None,
        None if up_to is None else type(up_to),
        what,
    )


def _values(search: Search) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, clause in enumerate(search.clauses):
        for position, term in enumerate(clause.terms):
            name = f"p{number}_{position}"
            values |= {f"{name}_{at}": value for at, value in enumerate(term.values)}
            if term.column == LEAF or term.test in FOLDED:
                values |= {f"{name}_path": term.paths[0], f"{name}_folded": term.paths[1]}
    return values


def _place(order: Order) -> tuple[ColumnElement[Any], ...]:
    return (_S.id,) if order.column == "id" else (_S[order.column], _S.id)


def _conditions(shape: _Shape, leader: int | None) -> list[ColumnElement[bool]]:
    conditions = _on_the_way(shape, leader)
    until = operator.ge if shape.order.descending else operator.le
    if shape.up_to is Place:
        place = _place(shape.order)
        conditions.append(until(_row(place), _row(_parameters("up_to", place))))
    elif shape.up_to is int:
        conditions.append(until(_S.id, _end_of_window(shape, leader)))
    rest = (number for number in range(len(shape.clauses)) if number != leader)
    return conditions + [_clause(shape, number, leads=False) for number in rest]


def _on_the_way(shape: _Shape, leader: int | None) -> list[ColumnElement[bool]]:
    """Return the conditions that hold for all that the index goes through."""
    conditions: list[ColumnElement[bool]] = []
    if shape.many:
        numbers = records("organizations", value=BigInteger)
        conditions.append(Indexless(_S.organization_id, type_=BigInteger()).in_(select(numbers.c.value)))
    else:
        conditions.append(_S.organization_id == bindparam("organizations"))
    if shape.after:
        place = _place(shape.order)
        later = operator.lt if shape.order.descending else operator.gt
        conditions.append(later(_row(place), _row(_parameters("after", place))))
    if leader is not None:
        conditions.append(_clause(shape, leader, leads=not shape.many))
    return conditions


def _end_of_window(shape: _Shape, leader: int | None) -> ColumnElement[str]:
    """Return the last id of a window that is full; else one that is beyond all."""
    passed = (
        select(_S.id)
        .where(*_on_the_way(shape, leader))
        .order_by(_S.id.desc() if shape.order.descending else _S.id)
        .limit(literal_column("1"))
        .offset(bindparam("window", type_=BigInteger))
        .correlate(None)
    )
    return func.coalesce(passed.scalar_subquery(), literal_column("''" if shape.order.descending else "'g'"))


def _clause(shape: _Shape, number: int, *, leads: bool) -> ColumnElement[bool]:
    terms, negated = shape.clauses[number]
    some = or_(
        false(),
        *(
            _term(column, test, f"p{number}_{position}", leads=leads, negated=negated)
            for position, (column, test) in enumerate(terms)
        ),
    )
    return not_(some) if negated else some


def _statement(shape: _Shape, leader: int | None) -> Select[Any]:
    ordered, place = _S[shape.order.column], _place(shape.order)
    if shape.what is What.ROWS:
        wanted: list[ColumnElement[Any]] = [_S[name] for name in Stored._fields]
    else:
        wanted = [ordered, _S.id, func.octet_length(_S.data) if shape.what is What.KEYS else literal(0)]
    return (
        select(*wanted)
        .where(*_conditions(shape, leader))
        .order_by(*(column.desc() if shape.order.descending else column for column in place))
        .limit(bindparam("most", type_=BigInteger))
        .offset(bindparam("skip", type_=BigInteger))
    )


def _row(columns: tuple[ColumnElement[Any], ...]) -> ColumnElement[Any]:
    return columns[0] if len(columns) == 1 else tuple_(*columns)


def _parameters(name: str, place: tuple[ColumnElement[Any], ...]) -> tuple[ColumnElement[Any], ...]:
    found = [bindparam(f"{name}_{what}", type_=c.type) for what, c in zip(("value", "id"), place, strict=False)]
    return tuple(found)


def _term(column: str, test: Test, name: str, *, leads: bool, negated: bool) -> ColumnElement[bool]:
    """Return the comparison; one that will be negated is never NULL, so that its negation means the opposite."""
    numeric = column != LEAF and isinstance(_S[column].type, BigInteger)
    kind: BigInteger | Text = BigInteger() if numeric else Text()
    if column == LEAF:
        found: ColumnElement[Any] = Leaf(_S.leaves, bindparam(f"{name}_path", type_=Text()))
        if test in FOLDED:
            found = func.coalesce(Leaf(_S.leaves, bindparam(f"{name}_folded", type_=Text())), found)
    elif test in FOLDED and column == "type":
        found = func.coalesce(Leaf(_S.leaves, bindparam(f"{name}_folded", type_=Text())), _S.type)
    else:
        found = _S[column] if leads else Indexless(_S[column], type_=kind)
    if test is Test.MISSING:
        return found.is_(None)
    if test is Test.PRESENT:
        return found.is_not(None)
    values = [bindparam(f"{name}_{at}", type_=kind) for at in range(2)]
    if column == LEAF and test in _WITHIN:
        tested = and_(found >= "s", found < "t", _TESTS[test](func.substr(found, 2), values))
    else:
        tested = _TESTS[test](found, values)
    return and_(found.is_not(None), tested) if negated else tested


def _starts(text: ColumnElement[Any], start: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.substr(text, 1, func.length(start)) == start


def _ends(text: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[bool]:
    rest = func.length(text) - func.length(end)
    return and_(rest >= 0, func.substr(text, rest + 1) == end)


_Values = list[BindParameter[Any]]
_TESTS: Mapping[Test, Callable[[ColumnElement[Any], _Values], ColumnElement[bool]]] = {
    Test.EQUAL: lambda x, v: x == v[0],
    Test.GREATER: lambda x, v: x > v[0],
    Test.GREATER_OR_EQUAL: lambda x, v: x >= v[0],
    Test.LESS: lambda x, v: x < v[0],
    Test.LESS_OR_EQUAL: lambda x, v: x <= v[0],
    Test.BETWEEN: lambda x, v: and_(x > v[0], x < v[1]),
    Test.FROM: lambda x, v: and_(x >= v[0], x < v[1]),
    Test.UP_TO: lambda x, v: and_(x >= v[0], x <= v[1]),
    Test.ONE_OF: lambda x, v: x.in_(select(texts(str(v[0].key)).c.value)),
    Test.ONE_OF_NUMBERS: lambda x, v: x.in_(select(records(str(v[0].key), value=BigInteger).c.value)),
    Test.CONTAINS: lambda x, v: Position(x, v[0]) > 0,
    Test.STARTS_WITH: lambda x, v: _starts(x, v[0]),
    Test.ENDS_WITH: lambda x, v: _ends(x, v[0]),
    # On both engines these texts' lower() is that of ASCII; what else has cases was folded when it was stored.
    Test.EQUAL_FOLDED: lambda x, v: func.lower(x) == v[0],
    Test.CONTAINS_FOLDED: lambda x, v: Position(func.lower(x), v[0]) > 0,
    Test.STARTS_WITH_FOLDED: lambda x, v: _starts(func.lower(x), v[0]),
    Test.ENDS_WITH_FOLDED: lambda x, v: _ends(func.lower(x), v[0]),
}
