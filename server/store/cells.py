"""Cells of uploaded rows, as SQL: a row is a JSON list of its values, in the order of the dataset's columns."""

from enum import Enum, auto
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Float, Integer, Text, cast, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from server.store.datasets import USER_ROWS

_DATA = USER_ROWS.c.data


class Kind(Enum):
    """How a cell's value is read and compared."""

    WHOLE = auto()  # as a whole number of 64 bits
    REAL = auto()  # as a double
    TRUTH = auto()  # as 1 or 0
    TEXT = auto()  # as text, by its bytes in UTF-8


class Cell(NamedTuple):
    """One column of a row, from 0."""

    position: int
    kind: Kind


class _Item(FunctionElement[Any]):
    """The item of a JSON list, given as text, at a position from 0; cast it to what it is."""

    name = "json_item"


class _Truth(_Item):
    """An item that is true or false, as 1 or 0."""


class _Text(_Item):
    """An item that is text, compared by its bytes."""

    type = Text()


@compiles(_Item, "sqlite")
def _on_sqlite(element: _Item, compiler: Any, **options: Any) -> str:
    text, position = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({text}, '$[' || {position} || ']')"


@compiles(_Item, "postgresql")
def _on_postgresql(element: _Item, compiler: Any, **options: Any) -> str:
    text, position = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({text} AS JSON) ->> CAST({position} AS INTEGER))"


@compiles(_Truth, "postgresql")
def _truth_on_postgresql(element: _Truth, compiler: Any, **options: Any) -> str:
    return f"CAST(CAST({_on_postgresql(element, compiler, **options)} AS BOOLEAN) AS INTEGER)"


@compiles(_Text, "postgresql")
def _text_on_postgresql(element: _Text, compiler: Any, **options: Any) -> str:
    return f'({_on_postgresql(element, compiler, **options)} COLLATE "C")'


def value_at(position: int | BindParameter[int], kind: Kind) -> ColumnElement[Any]:
    """Return the value at a position of a row; NULL if the row has none."""
    at = literal(position, Integer()) if isinstance(position, int) else position
    if kind is Kind.TEXT:
        return _Text(_DATA, at)
    return cast((_Truth if kind is Kind.TRUTH else _Item)(_DATA, at), Float(53) if kind is Kind.REAL else BigInteger())
