"""What searches for stats need of SQL that each engine spells its own way."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Leaf(FunctionElement[str]):
    """A leaf at a path, compared by its bytes; NULL if there is none."""

    type = String()
    inherit_cache = True
    name = "leaf"


class Position(FunctionElement[int]):
    """Where in a text another begins, from 1; 0 if it does not."""

    type = Integer()
    inherit_cache = True
    name = "position_of"


class Indexless(FunctionElement[Any]):
    """A column, for SQLite to find nothing by: without statistics it would take any index that fits."""

    inherit_cache = True
    name = "indexless"

    def __init__(self, column: ColumnElement[Any], *, type_: Any) -> None:
        super().__init__(column)
        self.type = type_


@compiles(Leaf, "sqlite")
def _leaf_on_sqlite(element: Leaf, compiler: Any, **options: Any) -> str:
    leaves, path = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({leaves} ->> {path})"


@compiles(Leaf, "postgresql")
def _leaf_on_postgresql(element: Leaf, compiler: Any, **options: Any) -> str:
    leaves, path = (compiler.process(clause, **options) for clause in element.clauses)
    return f'((CAST({leaves} AS JSON) ->> {path}) COLLATE "C")'


@compiles(Position, "sqlite")
def _position_on_sqlite(element: Position, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(Position, "postgresql")
def _position_on_postgresql(element: Position, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


@compiles(Indexless, "sqlite")
def _indexless_on_sqlite(element: Indexless, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


@compiles(Indexless, "postgresql")
def _indexless_on_postgresql(element: Indexless, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))
