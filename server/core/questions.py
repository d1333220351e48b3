"""Questions about a dataset: what is asked, and the one form that all ways to ask it have.

Users are counted by the bins of a column of numbers (`bin_width`), or by the values of one of whole numbers, text or
booleans (`categories`): those that are listed, or "*" for all of them. Listing values says which rows count and changes
nothing else: a listed value that few users have is left out like any other. So an answer is as private as one that
finds the values by itself, and a value that nobody has looks like one that few have.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from server.core.columns import NUMBERS, WHOLE_NUMBERS, Column, ColumnType
from server.core.errors import Fault, FaultKind
from server.core.exactjson import MalformedJson, read
from server.core.where import TRUE, cell_of, decimal_of, every, fault_of_text, read_where, text_of
from server.store.cells import Cell
from server.store.where import Condition, OneOf

MAX_CATEGORIES = 1000  # listed
MAX_CATEGORIES_TEXT = 64 * 1024  # characters
MAX_CATEGORY = 200  # characters: what is longer cannot name a bucket
ALL = "*"

_NUMBER = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS = 9  # significant ones, of a bin width
_MAX_DECIMALS = 9
_MAX_WIDTH = 10**15
MAX_BIGINT = 2**63 - 1
_NO_WIDTH = (
    f'must be a decimal number above 0 such as "10" or "0.5", with at most {_MAX_DIGITS} digits,'
    f" {_MAX_DECIMALS} of them decimals, below 1e{len(str(_MAX_WIDTH)) - 1}"
)
_NO_CATEGORIES = f'must be "{ALL}", or a JSON list of 1 to {MAX_CATEGORIES} values of the column'


class BinWidth(NamedTuple):
    """A decimal number p / q, where q is 1 or the least power of ten that makes p whole."""

    p: int
    q: int

    @staticmethod
    def read(text: str) -> "BinWidth | None":
        """Return the number that the text says; None if it says none that can be a width."""
        if not _NUMBER.fullmatch(text):
            return None
        _, digits, exponent = Decimal(text).as_tuple()
        assert isinstance(exponent, int)  # noqa: S101 - the pattern lets neither NaN nor infinities pass.
        significant = "".join(map(str, digits)).strip("0")
        if not 1 <= len(significant) <= _MAX_DIGITS:
            return None
        exponent += len(digits) - len("".join(map(str, digits)).rstrip("0"))
        if exponent < -_MAX_DECIMALS or exponent > len(str(_MAX_WIDTH)):
            return None
        width = BinWidth(int(significant) * 10 ** max(exponent, 0), 10 ** max(-exponent, 0))
        return width if width.p < _MAX_WIDTH else None

    def edge(self, number: int) -> str:
        """Return the lower edge of a bin, in plain digits."""
        whole, rest = divmod(abs(number * self.p), self.q)
        decimals = f"{rest:0{len(str(self.q)) - 1}d}".rstrip("0") if rest else ""
        return f"{'-' if number < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"


ONE = BinWidth(1, 1)
_Grouping = tuple[BinWidth | None, tuple[int | str, ...]]
"""The width of the bins, None for text by its values; and the listed values, sorted, none for all of them."""


class Asking(NamedTuple):
    """A question as it is asked, in the words of CountUsersRequest and of the action cloak/histogram."""

    dataset: str
    column: str
    bin_width: str = ""
    categories: str = ""
    where: str = ""

    @staticmethod
    def read(parameters: Mapping[str, str]) -> "Asking | tuple[Fault, ...]":
        """Return what the parameters of a task ask; or which of them are missing or unknown."""
        faults = [
            Fault(name, "is required", FaultKind.MISSING) for name in ("dataset", "column") if not parameters.get(name)
        ]
        unknown = [name for name in parameters if name not in Asking._fields]
        faults += [Fault(name, "is not a parameter of this action") for name in unknown]
        return tuple(faults) or Asking(**parameters)


class Question(NamedTuple):
    """A question about the columns of a dataset."""

    column: Column
    cell: Cell
    width: BinWidth | None  # None: text is counted by its values
    where: Condition  # which rows count; of listed values, too
    canonical: str  # JSON, the same for all ways to ask it

    def label(self, key: int | str) -> str:
        """Return what names the bucket of this key (see store/counts.py)."""
        if self.column.type is ColumnType.BOOLEAN:
            return "true" if key else "false"
        return self.width.edge(int(key)) if self.width else str(key)[1:]


def read_question(asking: Asking, columns: Sequence[Column]) -> Question | tuple[Fault, ...]:
    """Return the question; or what is wrong with it, by the fields of Asking."""
    position = next((number for number, one in enumerate(columns) if one.name == asking.column), None)
    if position is None:
        missing = [Fault("column", "the dataset has no such column")]
        return (*missing, *_faults_of(read_where(asking.where, columns)))
    column = columns[position]
    where = read_where(asking.where, columns)
    grouping = _read_width(asking, column) if _is_binned(asking, column) else _read_categories(asking, column)
    if isinstance(where, tuple) or isinstance(grouping, list):
        return (*_faults_of(grouping), *_faults_of(where))
    width, listed = grouping
    said: dict[str, Any] = {"column": column.name}
    if listed or column.type not in NUMBERS:
        said["categories"] = listed or ALL
    elif width:
        said["bin_width"] = width.edge(1)
    if where != TRUE:
        said["where"] = text_of(where, columns)
    cell = cell_of(columns, position)
    asked = every([where, OneOf(cell, listed)]) if listed else where
    return Question(column, cell, width, asked, orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode())


def _faults_of(read: object) -> Iterable[Fault]:
    return [one for one in read if isinstance(one, Fault)] if isinstance(read, list | tuple) else []


def _is_binned(asking: Asking, column: Column) -> bool:
    return bool(asking.bin_width) or (not asking.categories and column.type in NUMBERS)


def _read_width(asking: Asking, column: Column) -> _Grouping | list[Fault]:
    faults = []
    if column.type not in NUMBERS:
        faults.append(Fault("column", f"holds no numbers: it is of type {column.type.value}; give categories instead"))
    if asking.categories:
        faults.append(Fault("categories", "must not stand beside bin_width"))
    width = BinWidth.read(asking.bin_width)
    if width is None:
        return [*faults, Fault("bin_width", _NO_WIDTH, _kind(asking.bin_width))]
    return faults or (width, ())


def _kind(given: str) -> FaultKind:
    return FaultKind.INVALID if given else FaultKind.MISSING


def _read_categories(asking: Asking, column: Column) -> _Grouping | list[Fault]:
    width = None if column.type is ColumnType.TEXT else ONE
    if column.type in NUMBERS - WHOLE_NUMBERS:
        return [Fault("categories", f"the column is of type {column.type.value}: give bin_width instead")]
    if asking.categories == ALL:
        return width, ()
    if len(asking.categories) > MAX_CATEGORIES_TEXT:
        return [Fault("categories", f"must have at most {MAX_CATEGORIES_TEXT} characters")]
    try:
        said = read(asking.categories)
    except MalformedJson as error:
        return [Fault("categories", f"{_NO_CATEGORIES}: {error}", _kind(asking.categories))]
    if not isinstance(said, list) or not 1 <= len(said) <= MAX_CATEGORIES:
        return [Fault("categories", _NO_CATEGORIES)]
    read_ = [_read_category(one, column, f"categories[{number}]") for number, one in enumerate(said)]
    if faults := [one for one in read_ if isinstance(one, Fault)]:
        return faults
    listed = tuple(sorted({one for one in read_ if not isinstance(one, Fault)}))
    # Of booleans there are no others than both.
    return width, () if column.type is ColumnType.BOOLEAN and len(listed) > 1 else listed


def _read_category(said: Any, column: Column, path: str) -> int | str | Fault:
    if column.type is ColumnType.BOOLEAN:
        return int(said) if isinstance(said, bool) else Fault(path, "must be true or false")
    if column.type is ColumnType.TEXT:
        if not isinstance(said, str) or len(said) > MAX_CATEGORY:
            return Fault(path, f"must be text of at most {MAX_CATEGORY} characters")
        fault = fault_of_text(said)
        return Fault(path, fault) if fault else said
    number = decimal_of(said)
    if number is None or number != number.to_integral_value() or not -MAX_BIGINT - 1 <= number <= MAX_BIGINT:
        return Fault(path, "must be a whole number that the column can hold")
    return int(number)
