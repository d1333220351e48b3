"""Conditions on rows, as SQL. They hold no negation: core/where.py has moved it into the comparisons.

A comparison with a value that is missing holds for no row, so SQL's third truth value never shows.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, Text, and_, false, literal, or_, true
from sqlalchemy.types import TypeEngine

from server.store.cells import Cell, Kind, value_at

OPERATORS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = MappingProxyType(
    {
        "$eq": operator.eq,
        "$neq": operator.ne,
        "$gt": operator.gt,
        "$gte": operator.ge,
        "$lt": operator.lt,
        "$lte": operator.le,
    }
)
_TYPES: Mapping[Kind, TypeEngine[Any]] = MappingProxyType(
    {Kind.WHOLE: BigInteger(), Kind.REAL: Float(53), Kind.TRUTH: BigInteger(), Kind.TEXT: Text()}
)

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A cell stands in a relation to a value or to another cell of the same kind."""

    cell: Cell
    operator: str  # of OPERATORS
    value: Value | Cell


@dataclass(frozen=True, slots=True)
class OneOf:
    """A cell has one of these values."""

    cell: Cell
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All of them hold; of none, too."""

    conditions: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of them holds; of none, none does."""

    conditions: "tuple[Condition, ...]"


Condition = Comparison | OneOf | Every | Some


def clause_of(condition: Condition) -> ColumnElement[bool]:
    """Return the condition as a clause on dataset_rows; all its values are parameters."""
    match condition:
        case Comparison(cell, name, Cell() as other):
            return OPERATORS[name](value_at(*cell), value_at(*other))
        case Comparison(cell, name, value):
            return OPERATORS[name](value_at(*cell), literal(value, _TYPES[cell.kind]))
        case OneOf(cell, values):
            return value_at(*cell).in_([literal(value, _TYPES[cell.kind]) for value in values])
        case Every(conditions):
            return and_(true(), *map(clause_of, conditions))
        case Some(conditions):
            return or_(false(), *map(clause_of, conditions))
