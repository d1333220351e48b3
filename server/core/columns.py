"""Columns of datasets: what a row may hold."""

import re
from enum import StrEnum
from typing import NamedTuple

import orjson

MAX_COLUMNS = 100
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


class ColumnType(StrEnum):
    """The types, named as the aircloak API names them."""

    INTEGER = "integer"
    BIGINT = "bigint"
    FLOAT = "float"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TEXT = "text"


WHOLE_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.BIGINT})
NUMBERS = WHOLE_NUMBERS | {ColumnType.FLOAT, ColumnType.DOUBLE}


class Column(NamedTuple):
    """One column."""

    name: str
    type: ColumnType
    nullable: bool  # whether a row may leave it out or set it to null


def name_fault(name: str) -> str | None:
    """Return what is wrong with the name of a dataset or column; None if nothing is."""
    if not _NAME.fullmatch(name):
        return "must be a letter, then up to 62 letters, digits or '_'"
    if name.lower().startswith("ac_"):
        return "must not start with 'ac_'"
    return None


def to_json(columns: tuple[Column, ...]) -> str:
    """Return columns as they are stored. The same columns always give the same text."""
    return orjson.dumps([column._asdict() for column in columns]).decode()


def from_json(text: str) -> tuple[Column, ...]:
    """Return stored columns."""
    return tuple(Column(one["name"], ColumnType(one["type"]), one["nullable"]) for one in orjson.loads(text))
