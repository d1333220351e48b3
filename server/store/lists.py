"""Many values in one statement: a bind parameter that holds a JSON list, read as rows on both engines.

`texts("ids")` goes where a table goes, with the column `value`; `records("rows", task_id=String, attempt=Integer)` has
the columns that are named. The parameter is JSON text (`orjson.dumps(values).decode()`): a list of texts, or a list of
objects. Members of objects are texts, whole or other numbers, or null, and a missing member is null; booleans are
integers here as everywhere. The rows come in no particular order.
"""

from typing import Any

from sqlalchemy import BindParameter, TableValuedAlias, Text, bindparam, column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

_Type = TypeEngine[Any] | type[TypeEngine[Any]]


class _Texts(FunctionElement[Any]):
    """The texts of a JSON list."""

    name = "texts"


class _Records(FunctionElement[Any]):
    """The objects of a JSON list."""

    name = "records"

    def __init__(self, parameter: BindParameter[str], fields: dict[str, TypeEngine[Any]]) -> None:
        super().__init__(parameter)
        self.fields = fields


@compiles(_Texts, "sqlite")
def _texts_on_sqlite(element: _Texts, compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clause_expr.element, **options)}))"


@compiles(_Texts, "postgresql")
def _texts_on_postgresql(element: _Texts, compiler: Any, **options: Any) -> str:
    parameter = compiler.process(element.clause_expr.element, **options)
    return f"(SELECT value FROM json_array_elements_text(CAST({parameter} AS JSON)) AS items (value))"


@compiles(_Records, "sqlite")
def _records_on_sqlite(element: _Records, compiler: Any, **options: Any) -> str:
    parameter = compiler.process(element.clause_expr.element, **options)
    members = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in element.fields)
    return f"(SELECT {members} FROM json_each({parameter}))"


@compiles(_Records, "postgresql")
def _records_on_postgresql(element: _Records, compiler: Any, **options: Any) -> str:
    parameter = compiler.process(element.clause_expr.element, **options)
    typed = ", ".join(f"{name} {compiler.dialect.type_compiler.process(kind)}" for name, kind in element.fields.items())
    names = ", ".join(element.fields)
    return f"(SELECT {names} FROM json_to_recordset(CAST({parameter} AS JSON)) AS items ({typed}))"


def texts(name: str) -> TableValuedAlias:
    """Return the texts in the bind parameter `name`, a JSON list, as a table with the column `value`."""
    return _Texts(bindparam(name, type_=Text())).table_valued(column("value", Text()), name=f"{name}_list")


def records(name: str, /, **fields: _Type) -> TableValuedAlias:
    """Return the objects in the bind parameter `name`, a JSON list, as a table with these columns."""
    types = {field: kind() if isinstance(kind, type) else kind for field, kind in fields.items()}
    columns = [column(field, kind) for field, kind in types.items()]
    return _Records(bindparam(name, type_=Text()), types).table_valued(*columns, name=f"{name}_list")
