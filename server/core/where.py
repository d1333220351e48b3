"""Which rows count: the filter of the aircloak API, read from its JSON text.

A list and an object mean that all of it holds, an empty one holds for every row. Inside them stand
`{"$or": [x, …]}`, `{"$not": x}` and `{"$$column": x}`, and inside a column `{"$eq": v}` with $eq, $neq, $gt, $gte, $lt
or $lte, where v is a value of the column's type or another column, "$$other". Columns of numbers compare with each
other, as doubles if one of them is of doubles.

Truth is SQL's: a comparison with a value that is missing is neither true nor false, nor is its negation, and only rows
for which the whole is true count. Text compares by its bytes. A number is compared with whole ones as the decimal that
it is, and with doubles as the nearest double.

What is read is put into one form, so that the same filter is the same question however it is written: negations are
moved into the comparisons (exact in SQL's logic, too), nested lists are joined, numbers are normalised, the smaller
name stands left between columns, and what is left is sorted and stands once.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from server.core.columns import Column, ColumnType
from server.core.errors import Fault
from server.core.exactjson import MalformedJson, Number, point_and_digits, read
from server.store.cells import Cell, Kind
from server.store.where import OPERATORS, Comparison, Condition, Every, OneOf, Some

MAX_BYTES = 16 * 1024
MAX_DEPTH = 20  # of lists and objects
MAX_COMPARISONS = 100
_MAX_NUMBER = 100  # characters
_MAX_EXPONENT = 1000  # of a number; no column holds any that is nearly as large
TRUE, FALSE = Every(()), Some(())

_KINDS = {
    ColumnType.INTEGER: Kind.WHOLE,
    ColumnType.BIGINT: Kind.WHOLE,
    ColumnType.FLOAT: Kind.REAL,
    ColumnType.DOUBLE: Kind.REAL,
    ColumnType.BOOLEAN: Kind.TRUTH,
    ColumnType.TEXT: Kind.TEXT,
}
_NUMBER = (
    f"must be 0 or a number from 1e-{_MAX_EXPONENT} to 1e{_MAX_EXPONENT} in size, of at most {_MAX_NUMBER} characters"
)
_MUST_BE = {
    Kind.WHOLE: _NUMBER,
    Kind.REAL: f"{_NUMBER}, and below 1.8e308 as double precision holds",
    Kind.TRUTH: "must be true or false",
    Kind.TEXT: "must be text",
}
_NEGATED = {"$eq": "$neq", "$neq": "$eq", "$gt": "$lte", "$lte": "$gt", "$lt": "$gte", "$gte": "$lt"}
_MIRRORED = {"$eq": "$eq", "$neq": "$neq", "$gt": "$lt", "$lt": "$gt", "$gte": "$lte", "$lte": "$gte"}
_BITS = {ColumnType.INTEGER: 32, ColumnType.BIGINT: 64}


def decimal_of(said: Any) -> Decimal | None:
    """Return a number that was read from JSON; None if it is none, or farther from 1 than anything is compared with."""
    if isinstance(said, bool) or not isinstance(said, int | float | Number):
        return None
    text = said.text if isinstance(said, Number) else repr(said)
    if len(text) > _MAX_NUMBER:
        return None
    _, point, digits = point_and_digits(said)
    if not digits:
        return Decimal()
    return Decimal(text) if -_MAX_EXPONENT <= point - 1 <= _MAX_EXPONENT else None


def fault_of_text(text: str) -> str | None:
    """Return what is wrong with a text that shall be compared with those of a column; None if nothing is."""
    if "\0" in text or _told(text) != text:
        return "must not hold U+0000 or half of a surrogate pair: no column does"
    return None


def _told(text: str) -> str:
    """Return text from JSON, which may hold halves of surrogate pairs, as messages can hold it."""
    return text.encode(errors="backslashreplace").decode()


def cell_of(columns: Sequence[Column], position: int) -> Cell:
    """Return how the column at this position is read."""
    return Cell(position, _KINDS[columns[position].type])


def read_where(text: str, columns: Sequence[Column]) -> Condition | tuple[Fault, ...]:
    """Return the condition, in its one form; or what is wrong with it, by paths such as `where.$or[1].$$age.$gt`."""
    if not text:
        return TRUE
    if len(text.encode()) > MAX_BYTES:
        return (Fault("where", f"must have at most {MAX_BYTES} bytes"),)
    try:
        said = read(text)
    except MalformedJson as error:
        return (Fault("where", f"must be JSON: {error}"),)
    reader = _Reader(columns)
    condition = reader.read(said, _Place("where", None, 1, negated=False))
    if reader.comparisons > MAX_COMPARISONS:
        reader.faults.append(Fault("where", f"must have at most {MAX_COMPARISONS} comparisons"))
    return tuple(reader.faults) or condition


def text_of(condition: Condition, columns: Sequence[Column]) -> Any:
    """Return a condition as JSON that says it, in the same grammar as far as that has words for it."""

    def name(cell: Cell) -> str:
        return f"$${columns[cell.position].name}"

    match condition:
        case Comparison(cell, operator, Cell() as other):
            return {name(cell): {operator: name(other)}}
        case Comparison(cell, operator, value):
            return {name(cell): {operator: bool(value) if cell.kind is Kind.TRUTH else value}}
        case OneOf(cell, values):
            return {"$or": [{name(cell): {"$eq": value}} for value in values]}
        case Every(conditions):
            return [text_of(one, columns) for one in conditions]
        case Some(conditions):
            return {"$or": [text_of(one, columns) for one in conditions]}


def every(conditions: Iterable[Condition]) -> Condition:
    """Return that all of them hold, in its one form."""
    flat = set(_flat(conditions, Every))
    return FALSE if FALSE in flat else _of_one(Every, flat)


def some(conditions: Iterable[Condition]) -> Condition:
    """Return that one of them holds, in its one form."""
    flat = set(_flat(conditions, Some))
    return TRUE if TRUE in flat else _of_one(Some, flat)


def _flat(conditions: Iterable[Condition], kind: type[Every | Some]) -> Iterator[Condition]:
    for one in conditions:
        if isinstance(one, kind):
            yield from one.conditions
        else:
            yield one


def _of_one(kind: type[Every | Some], conditions: set[Condition]) -> Condition:
    ordered = tuple(sorted(conditions, key=repr))
    return ordered[0] if len(ordered) == 1 else kind(ordered)


class _Place(NamedTuple):
    """Where in the text something stands."""

    path: str
    position: int | None  # of the column around it
    depth: int
    negated: bool  # by the `$not`s around it

    def at(self, step: str) -> "_Place":
        """Return the place one step further in."""
        return self._replace(path=self.path + step, depth=self.depth + 1)


class _Reader:
    """Reads one text. What is wrong stands in `faults` afterwards."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.faults: list[Fault] = []
        self.comparisons = 0
        self._columns = columns
        self._positions = {column.name: position for position, column in enumerate(columns)}

    def read(self, said: Any, place: _Place) -> Condition:
        """Return the condition or, if the place is negated, its negation."""
        if place.depth > MAX_DEPTH:
            return self._wrong(place, f"must be nested at most {MAX_DEPTH} deep")
        if isinstance(said, dict):
            parts = [self._member(key, one, place.at(f".{_told(key)}")) for key, one in said.items()]
        elif isinstance(said, list):
            parts = self._items(said, place)
        elif place.position is None:
            return self._wrong(place, 'must be a list or an object, such as {"$$column": {"$eq": 1}}')
        else:
            return self._wrong(place, 'must say how to compare, such as {"$eq": 1}')
        return some(parts) if place.negated else every(parts)

    def _items(self, said: list[Any], place: _Place) -> list[Condition]:
        return [self.read(one, place.at(f"[{number}]")) for number, one in enumerate(said)]

    def _member(self, key: str, said: Any, place: _Place) -> Condition:
        if key == "$or":
            if not isinstance(said, list) or not said:
                return self._wrong(place, "must be a list of at least one")
            parts = self._items(said, place)
            return every(parts) if place.negated else some(parts)
        if key == "$not":
            return self.read(said, place._replace(negated=not place.negated))
        if key in OPERATORS:
            return self._comparison(_NEGATED[key] if place.negated else key, said, place)
        if not key.startswith("$$"):
            known = ", ".join(("$or", "$not", *OPERATORS))
            return self._wrong(place, f'is unknown; known are columns, such as "$$name", and {known}')
        if place.position is not None:
            return self._wrong(place, "must not stand in another column")
        position = self._positions.get(key[2:])
        if position is None:
            return self._wrong(place, "the dataset has no such column")
        return self.read(said, place._replace(position=position))

    def _comparison(self, operator: str, said: Any, place: _Place) -> Condition:
        self.comparisons += 1
        if place.position is None:
            return self._wrong(place, "must stand in a column")
        cell = cell_of(self._columns, place.position)
        if cell.kind is Kind.TRUTH and operator not in ("$eq", "$neq"):
            return self._wrong(place, "true and false compare by $eq and $neq only")
        if isinstance(said, str) and said.startswith("$$"):
            return self._between_columns(cell, operator, said[2:], place)
        match cell.kind, said:
            case Kind.TRUTH, bool():
                return Comparison(cell, "$eq", int(said) if operator == "$eq" else int(not said))
            case Kind.TEXT, str():
                fault = fault_of_text(said)
                return self._wrong(place, fault) if fault else Comparison(cell, operator, said)
            case Kind.WHOLE | Kind.REAL, _:
                number = decimal_of(said)
                if number is not None and cell.kind is Kind.WHOLE:
                    return _among_whole_numbers(cell, self._columns[cell.position], operator, number)
                if number is not None and math.isfinite(double := float(number)):
                    return Comparison(cell, operator, double + 0.0)  # Of the two zeros, one.
        if said is None:
            return self._wrong(place, "must not be null: no comparison with null is true")
        return self._wrong(place, f'{_MUST_BE[cell.kind]}, or another column, such as "$$name"')

    def _between_columns(self, cell: Cell, operator: str, name: str, place: _Place) -> Condition:
        position = self._positions.get(name)
        if position is None:
            return self._wrong(place, f'the dataset has no column "{_told(name)}"')
        other = cell_of(self._columns, position)
        if position == cell.position:
            return self._wrong(place, "must be another column")
        if cell.kind is not other.kind:
            if {cell.kind, other.kind} != {Kind.WHOLE, Kind.REAL}:
                return self._wrong(place, f'"{name}" is of type {self._columns[position].type.value}')
            cell, other = cell._replace(kind=Kind.REAL), other._replace(kind=Kind.REAL)
        if self._columns[cell.position].name > name:
            cell, other, operator = other, cell, _MIRRORED[operator]
        return Comparison(cell, operator, other)

    def _wrong(self, place: _Place, description: str) -> Condition:
        self.faults.append(Fault(place.path, description))
        return FALSE


def _among_whole_numbers(cell: Cell, column: Column, operator: str, number: Decimal) -> Condition:
    """Return the comparison by $eq, $neq, $gte and $lte with numbers that the column can hold."""
    most = 2 ** (_BITS[column.type] - 1) - 1
    least = -most - 1
    number = max(Decimal(least) - 2, min(number, Decimal(most) + 2))
    below, above = int(number.to_integral_value(ROUND_FLOOR)), int(number.to_integral_value(ROUND_CEILING))
    given = Comparison(cell, "$gte", least) if column.nullable else TRUE  # What any number fulfils.
    if operator in ("$eq", "$neq"):
        if below != above or not least <= below <= most:
            return given if operator == "$neq" else FALSE
        return Comparison(cell, operator, below)
    if operator in ("$gt", "$gte"):
        low = above if operator == "$gte" else below + 1
        return given if low <= least else FALSE if low > most else Comparison(cell, "$gte", low)
    high = below if operator == "$lte" else above - 1
    return FALSE if high < least else given if high >= most else Comparison(cell, "$lte", high)
