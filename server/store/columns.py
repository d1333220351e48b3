"""Column types that mean the same on both engines: times are microseconds since 1970 in UTC, JSON is text."""

from typing import Any, cast

from sqlalchemy import BigInteger, Integer, Table
from sqlmodel import Field, SQLModel

_SERIAL = BigInteger().with_variant(
    Integer, "sqlite"
)  # SQLite numbers rows by itself only in a column of type INTEGER.


def serial() -> Any:
    """Declare a primary key that the database numbers."""
    return Field(default=None, primary_key=True, sa_type=_SERIAL)


def micros(*, nullable: bool = False) -> Any:
    """Declare a time, in microseconds since 1970 in UTC."""
    return Field(default=None, sa_type=BigInteger, nullable=nullable)


def reference(column: str, *, nullable: bool = False, primary_key: bool = False) -> Any:
    """Declare the serial key of another table's row."""
    return Field(default=None, sa_type=BigInteger, foreign_key=column, nullable=nullable, primary_key=primary_key)


def table_of(row: type[SQLModel]) -> Table:
    """Return the Core table that a row class declares, for writing statements on it."""
    return cast("Table", row.__table__)  # type: ignore[attr-defined]
