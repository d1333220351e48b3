"""Filters on stats: what can be asked of which field, and how that becomes the store's comparisons.

Values of different kinds are never equal, and neither is greater; a field that is not there is nothing but missing, and
unequal to everything. Comparisons of text hold for no number, and none of them for times.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import orjson

from server.core import exactjson
from server.core.errors import MAX_VALUE, cut
from server.core.exactjson import MalformedJson, Number
from server.core.stats_content import LEAST, MOST, time_of, uuid_of
from server.core.stats_leaves import FOLDED, FOLDED_TYPE, LIST, NULL, NUMBER, TEXT, leaf_of, path_of, storable
from server.store.stats_filters import LEAF, Clause, Term, Test

MAX_FILTERS = 50
MAX_VALUES = 1000  # of one filter
ORGANIZATION = "organization"
_ID = re.compile(r"[0-9a-f]{24}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_ITEM = re.compile(r'"(?:[^"\\]|\\.)*"(?=,|$)|[^,]*')
_QUOTES = ('""', "''")  # how a query says the empty text


class Operator(StrEnum):
    """How a field is compared, by the names that queries have for it."""

    EXACT = "exact"
    IEXACT = "iexact"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    ALL = "all"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    STARTSWITH = "startswith"
    ISTARTSWITH = "istartswith"
    ENDSWITH = "endswith"
    IENDSWITH = "iendswith"
    EXISTS = "exists"
    SIZE = "size"


NEGATED = {"ne": Operator.EXACT, "nin": Operator.IN}
"""Operators that are the negation of another."""
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

Value = int | float | Number | str | bool | None
"""A value that a field is compared with; None: missing."""


class Condition(NamedTuple):
    """A filter. Values are of the field's kind: see `values_of`."""

    field: str
    path: tuple[str, ...]  # of data: the keys that lead to what is compared
    operator: Operator
    negated: bool
    values: tuple[Value, ...]


class BadValue(ValueError):
    """A field cannot be compared with such a value; the text of this error says what it must be."""


def is_field(name: str) -> bool:
    """Say whether stats can be searched by this field."""
    return name in _KINDS or name in ("data", ORGANIZATION)


def values_of(field: str, operator: Operator, given: str) -> tuple[Value, ...]:
    """Return the values that a text of a query means for this field. Raises BadValue."""
    if operator is Operator.EXISTS:
        if (truth := _TRUTHS.get(given.lower())) is None:
            raise BadValue("must be true or false")
        return (truth,)
    if operator not in (Operator.IN, Operator.ALL):
        texts = [given]
    else:
        texts = _items(given) if field == "data" else given.split(",")
    if len(texts) > MAX_VALUES:
        raise BadValue(f"must be at most {MAX_VALUES} values")
    if operator is Operator.SIZE:
        return tuple(_whole(text) for text in texts)
    if operator in _TEXT_TESTS:
        return tuple("" if text in _QUOTES else _unquoted(text) if field == "data" else text for text in texts)
    read = _READERS.get(_KINDS.get(field, field), _text)
    return tuple(read(text) for text in texts)


def clauses_of(condition: Condition) -> tuple[Clause, ...]:
    """Return the condition, on any field but the organization, as the store's comparisons."""
    column = LEAF if condition.field == "data" else _KINDS[condition.field]
    terms = _terms(column, condition)
    return (Clause(tuple(terms), condition.negated),)


def holds_for(condition: Condition, name: str) -> bool:
    """Say whether a condition on the organization holds for the one of this name."""
    return _holds(condition, name) is not condition.negated


def _holds(condition: Condition, name: str) -> bool:
    values = condition.values
    match condition.operator:
        case Operator.EXISTS:
            return values[0] is True
        case Operator.SIZE:
            return False
        case Operator.IN:
            return name in values
        case Operator.ALL:
            return all(name == value for value in values)
    [value] = values
    if not isinstance(value, str):
        return False
    folded, wanted = name.casefold(), value.casefold()
    compared: Mapping[Operator, bool] = {
        Operator.EXACT: name == value,
        Operator.IEXACT: folded == wanted,
        Operator.GT: name > value,
        Operator.GTE: name >= value,
        Operator.LT: name < value,
        Operator.LTE: name <= value,
        Operator.CONTAINS: value in name,
        Operator.ICONTAINS: wanted in folded,
        Operator.STARTSWITH: name.startswith(value),
        Operator.ISTARTSWITH: folded.startswith(wanted),
        Operator.ENDSWITH: name.endswith(value),
        Operator.IENDSWITH: folded.endswith(wanted),
    }
    return compared[condition.operator]


def _terms(column: str, condition: Condition) -> list[Term]:
    """Return comparisons of which one must hold."""
    operator, values = condition.operator, condition.values
    compared = _Compared(column, condition.path)
    if operator is Operator.EXISTS:
        present = compared.present()
        return present if values[0] is True else compared.missing()
    if operator is Operator.SIZE:
        return [compared.term(Test.EQUAL, f"{LIST}{values[0]}")] if column == LEAF else []
    if operator is Operator.ALL and len(set(map(leaf_of, values))) > 1:
        return []
    if operator in (Operator.IN, Operator.ALL):
        return compared.one_of(values)
    [value] = values
    if operator is Operator.EXACT:
        return compared.equal(value)
    if operator in _TEXT_TESTS:
        return compared.text(_TEXT_TESTS[operator], value) if isinstance(value, str) else []
    return compared.range(operator, value)


class _Compared(NamedTuple):
    """A column, or a leaf of data, that is compared."""

    column: str
    path: tuple[str, ...]

    def term(self, test: Test, *values: int | str, column: str = "") -> Term:
        if self.column == LEAF:
            path = path_of(self.path)
            return Term(LEAF, test, values, (path, FOLDED + path))
        return Term(column or self.column, test, values, ("", FOLDED_TYPE))

    def present(self) -> list[Term]:
        if self.column == "anr":
            return [self.term(Test.PRESENT, column="anr_number"), self.term(Test.PRESENT, column="anr_uuid")]
        return [self.term(Test.PRESENT)]

    def missing(self) -> list[Term]:
        """Not there at all; see `equal` for null."""
        return [] if self.column == "anr" else [self.term(Test.MISSING)]

    def equal(self, value: Value) -> list[Term]:
        if value is None:
            return self.missing() + ([self.term(Test.EQUAL, NULL)] if self.column == LEAF else [])
        if self._is_beyond(value):
            return []
        column, compared = self._of(value)
        return [self.term(Test.EQUAL, compared, column=column)]

    def one_of(self, values: Sequence[Value]) -> list[Term]:
        found = self.equal(None) if None in values else []
        by_column: dict[str, list[int | str]] = {}
        for value in values:
            if value is not None and not self._is_beyond(value):
                column, compared = self._of(value)
                by_column.setdefault(column, []).append(compared)
        for column, several in by_column.items():
            if isinstance(several[0], int):
                listed = orjson.dumps([{"value": value} for value in several]).decode()
                found.append(self.term(Test.ONE_OF_NUMBERS, listed, column=column))
            else:
                found.append(self.term(Test.ONE_OF, orjson.dumps(several).decode(), column=column))
        return found

    def text(self, test: Test, value: str) -> list[Term]:
        wanted = storable(value.casefold() if test.name.endswith("_FOLDED") else value)
        if self.column == LEAF:
            return [self.term(test, wanted)]
        column = "anr_uuid" if self.column == "anr" else self.column
        return [self.term(test, wanted, column=column)] if column in _TEXT_COLUMNS else []

    def range(self, operator: Operator, value: Value) -> list[Term]:
        if value is None or isinstance(value, bool):
            return []
        column, compared = self._of(value)
        if self._is_beyond(value):  # Then it is greater than all that there are, or less.
            is_less = operator in (Operator.LT, Operator.LTE)
            return [self.term(Test.PRESENT, column=column)] if is_less == (leaf_of(value) > leaf_of(MOST)) else []
        if column != LEAF:
            return [self.term(_ONE_SIDED[operator], compared, column=column)]
        # Only leaves of the same kind: from its letter to the next one.
        kind = TEXT if isinstance(value, str) else NUMBER
        beyond = chr(ord(kind) + 1)
        match operator:
            case Operator.GT:
                return [self.term(Test.BETWEEN, compared, beyond)]
            case Operator.GTE:
                return [self.term(Test.FROM, compared, beyond)]
            case Operator.LT:
                return [self.term(Test.FROM, kind, compared)]
        return [self.term(Test.UP_TO, kind, compared)]

    def _is_beyond(self, value: Value) -> bool:
        """Whether a whole number is one that no column holds."""
        return self.column != LEAF and type(value) is int and not LEAST <= value <= MOST

    def _of(self, value: Value) -> tuple[str, int | str]:
        """Return the column in which values of this kind are, and the value as it is there."""
        if self.column == LEAF:
            return LEAF, leaf_of(value)
        if isinstance(value, int):
            column = "anr_number" if self.column == "anr" else self.column
            return column, value
        assert isinstance(value, str)  # noqa: S101 - as `values_of` and the typed service give them.
        return ("anr_uuid" if self.column == "anr" else self.column), storable(value)


def _items(given: str) -> list[str]:
    """Return the texts between commas; a JSON text in its quotes may hold some."""
    items, at = [], 0
    while True:
        found = _ITEM.match(given, at)
        assert found  # noqa: S101 - it matches the empty text.
        items.append(found.group())
        at = found.end() + 1
        if at > len(given):
            return items


def _whole(text: str) -> int | None:
    if not text:
        return None
    if not _WHOLE.fullmatch(text):
        raise BadValue(f'must be a whole number (got "{cut(text, MAX_VALUE)}" instead)')
    return int(text)


def _time(text: str) -> int | None:
    if not text:
        return None
    if (found := time_of(text)) is None:
        raise BadValue(f'cannot parse date "{cut(text, MAX_VALUE)}"')
    return found


def _text(text: str) -> str | None:
    return None if not text else "" if text in _QUOTES else text


def _uuid(text: str) -> str | None:
    if not text:
        return None
    if (found := uuid_of(text)) is None:
        raise BadValue("must be a UUID")
    return found


def _id(text: str) -> str | None:
    if not text:
        return None
    if not _ID.fullmatch(text.lower()):
        raise BadValue("must be 24 hexadecimal digits")
    return text.lower()


def _anr(text: str) -> int | str | None:
    if found := uuid_of(text):
        return found
    try:
        return _whole(text)
    except BadValue:
        raise BadValue("must be a whole number or a UUID") from None


def _data(text: str) -> Value:
    """Return what JSON says, if it is JSON of a single value; else the text itself."""
    if not text:
        return None
    if text == "''":
        return ""
    try:
        found = exactjson.read(text)
    except MalformedJson:
        return text
    return text if isinstance(found, dict | list) else found


def _unquoted(text: str) -> str:
    value = _data(text) if text.startswith('"') else text
    return value if isinstance(value, str) else text


_KINDS: Mapping[str, str] = {
    "uuid": "uuid",
    "id": "id",
    "anr": "anr",
    "type": "type",
    "day": "day",
    "week": "week",
    "month": "month",
    "quarter": "quarter",
    "year": "year",
    "created_at": "create_time",
    "updated_at": "update_time",
}
"""The column of each field; `anr` has two."""
_READERS: Mapping[str, Callable[[str], Value]] = {
    "uuid": _uuid,
    "id": _id,
    "anr": _anr,
    "create_time": _time,
    "update_time": _time,
    "data": _data,
    **dict.fromkeys(("day", "week", "month", "quarter", "year"), _whole),
}
_TEXT_COLUMNS = frozenset({"type", "uuid", "id", "anr_uuid"})
_TEXT_TESTS: Mapping[Operator, Test] = {
    Operator.IEXACT: Test.EQUAL_FOLDED,
    Operator.CONTAINS: Test.CONTAINS,
    Operator.ICONTAINS: Test.CONTAINS_FOLDED,
    Operator.STARTSWITH: Test.STARTS_WITH,
    Operator.ISTARTSWITH: Test.STARTS_WITH_FOLDED,
    Operator.ENDSWITH: Test.ENDS_WITH,
    Operator.IENDSWITH: Test.ENDS_WITH_FOLDED,
}
_ONE_SIDED: Mapping[Operator, Test] = {
    Operator.GT: Test.GREATER,
    Operator.GTE: Test.GREATER_OR_EQUAL,
    Operator.LT: Test.LESS,
    Operator.LTE: Test.LESS_OR_EQUAL,
}
