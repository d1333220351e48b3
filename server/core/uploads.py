"""Uploads: what people send is held against the declarations of its datasets, and stored by whole users or not at all.

Checking takes no transaction, as it takes longest; the transaction that stores the rows looks again whether the
datasets are still what the rows were checked against.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from server.core.caller import Caller
from server.core.columns import Column, ColumnType, from_json, name_fault
from server.core.errors import DatasetNotFound
from server.store import datasets as store
from server.store.engine import Tx

MAX_USER_ID = 255  # characters
POSTGRES_TYPES = {
    ColumnType.INTEGER: "int4",
    ColumnType.BIGINT: "int8",
    ColumnType.FLOAT: "float4",
    ColumnType.DOUBLE: "float8",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TEXT: "text",
}
"""What types are called in the texts of faults, as the aircloak API documents them."""

_MAX_FLOAT = 2.0**128 - 2.0**103  # From here on, single precision rounds to infinity.
_MANY_TABLES = 100
_SHOWN = 60  # characters of what was sent, in the text of a fault
_SHOWN_KEY = 100  # characters of a key that stands twice, likewise
_KEPT_FAULTS = 1024 * 1024  # characters of their texts; further ones are only counted
_EXPLAINED = 1000  # faults of one user; the others are neither listed nor counted

Row = tuple[int, str, str]
"""What store.ROW says: dataset, user, values."""
_USER = itemgetter(1)


class Table(NamedTuple):
    """A dataset as uploads see it."""

    id: int
    name: str
    declared: str  # its columns, as stored
    columns: tuple[Column, ...]
    check: Callable[[Any], str | None]  # Returns the row as it is stored; None if something is wrong with it.


class Listing(NamedTuple):
    """Faults as they are told. `more` says how many are not listed, "" if all are."""

    by_user: dict[str, list[str]]
    more: str


class Faults:
    """What is wrong, by user."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._left = _KEPT_FAULTS
        self._more_texts = 0
        self._more_users = 0

    def __bool__(self) -> bool:
        return bool(self._texts or self._more_users)

    def add(self, user_id: str, texts: Iterable[str]) -> None:
        """Add what is wrong with one user."""
        for text in islice(texts, _EXPLAINED):
            self._left -= len(text)
            if self._left < 0:
                self._more_texts += 1
            else:
                self._texts.setdefault(user_id, []).append(text)
        self._more_users += user_id not in self._texts

    def listing(self, *, max_bytes: int) -> Listing:
        """Return as many texts of each user as fit into so much JSON in ASCII."""
        by_user: dict[str, list[str]] = {}
        left, more_texts, more_users = max_bytes - 200, self._more_texts, self._more_users
        for name, texts in zip(_apart(self._texts), self._texts.values(), strict=True):
            left -= _size(name) + 2
            for text in texts:
                left -= _size(text)
                if left < 0:
                    more_texts += 1
                else:
                    by_user.setdefault(name, []).append(text)
            more_users += name not in by_user
        more = f"not listed: at least {more_texts} more faults, and {more_users} more users with faults"
        return Listing(by_user, more if more_texts else "")


class Checked(NamedTuple):
    """What an upload comes to. `rows` holds good users only, or good rows if users need not be whole."""

    rows: list[Row]
    tables: dict[int, Table]  # those that the rows are for, by id
    faults: Faults
    colons: int  # in the JSON text of the uploads, if nothing in it was lost


def names_in(uploads: Iterable[Any]) -> frozenset[str]:
    """Return the names of the tables in several users' uploads, each `{table: [row, …]}`."""
    names: set[str] = set()
    for upload in uploads:
        if type(upload) is dict:
            names.update(upload)
    return frozenset(names)


async def tables(tx: Tx, *, caller: Caller, names: frozenset[str]) -> dict[str, Table]:
    """Return those of the caller's datasets that have these names."""
    owner = caller.tenant
    names = frozenset(name for name in names if not name_fault(name))  # Engines differ in what other text they take.
    if len(names) <= _MANY_TABLES:
        looked_up = [await store.by_name(tx, organization_id=owner, name=name) for name in names]
        found = [one for one in looked_up if one]
    else:  # Looking up each name that somebody made up could take for ever.
        found, after = [], ""
        while page := await store.page(tx, organization_id=owner, after=after, most=1000):
            found += (one for one in page if one.name in names)
            after = page[-1].name
    declared = ((one, from_json(one.columns)) for one in found)
    return {one.name: Table(one.id, one.name, one.columns, columns, _checker(columns)) for one, columns in declared}


def check(uploads: Mapping[str, Any], tables: Mapping[str, Table], *, whole: bool) -> Checked:
    """Hold uploads, `{user: {table: [row, …]}}`, against the tables. With `whole`, a bad row spoils all of its user."""
    rows: list[Row] = []
    faults = Faults()
    keys = 0
    for user_id, upload in uploads.items():
        before = len(rows)
        taken = None if user_fault(user_id) else _take(user_id, upload, tables, rows)
        if taken is not None:
            keys += taken
        else:
            faults.add(user_id, _explain(user_id, upload, tables))
            if whole:
                del rows[before:]
    rows.sort(key=_USER)  # In the order of their index they are stored three times as fast as in any other.
    by_id = {table.id: table for table in tables.values()}
    touched = {dataset_id: by_id[dataset_id] for dataset_id in {dataset_id for dataset_id, _, _ in rows}}
    return Checked(rows, touched, faults, keys + "".join([data for _, _, data in rows]).count(":"))


def repeated_key(text: bytes, *, colons: int) -> str | None:
    """Return a key that an object of the JSON text has twice; None if all keep their keys apart.

    Of such a pair whoever reads JSON keeps one value and loses the other in silence. Looking for it takes several times
    as long as reading, and is spared if the text escapes no colons and has no more of them than what was read of it.

    Raises NestedTooDeep.
    """
    if text.count(b":") == colons and b"\\u003" not in text:
        return None

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            keys = [key for key, _ in pairs]
            raise _Repeated(next(key for key in keys if keys.count(key) > 1))

    try:
        json.loads(text, object_pairs_hook=once)
    except _Repeated as found:
        return _cut(found.key, _SHOWN_KEY)
    except RecursionError as error:
        raise NestedTooDeep from error
    return None


async def put(tx: Tx, *, caller: Caller, checked: Checked) -> None:
    """Store the rows, and move each of their datasets to its next version. Raises DatasetNotFound if one is gone."""
    for dataset_id, table in sorted(checked.tables.items()):  # In one order, so that no two wait for each other.
        if not await store.new_version(
            tx, organization_id=caller.tenant, dataset_id=dataset_id, columns=table.declared
        ):
            raise DatasetNotFound(table.name)
    await store.add_rows(tx, checked.rows)


class NestedTooDeep(Exception):
    """The JSON text is nested too deep to look for keys that stand twice."""


class _Repeated(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def user_fault(user_id: str) -> str | None:
    """Return what is wrong with a user's name; None if nothing is."""
    if not 0 < len(user_id) <= MAX_USER_ID:
        return f"a user's name must be 1 to {MAX_USER_ID} characters"
    if "\0" in user_id:
        return "a user's name must not hold the character U+0000"
    return None if user_id.isascii() or _is_text(user_id) else "a user's name must be text that UTF-8 can say"


def _is_text(text: str) -> bool:
    """Say whether the text is all characters: command lines can hold half a surrogate pair."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


_ACCEPTS: dict[ColumnType, Callable[[Any], bool]] = {
    # By exact types: True is an int to isinstance, and 1.0 is not a whole number to whoever declared one.
    ColumnType.INTEGER: lambda value: type(value) is int and -(2**31) <= value < 2**31,
    ColumnType.BIGINT: lambda value: type(value) is int and -(2**63) <= value < 2**63,
    ColumnType.FLOAT: lambda value: type(value) in (float, int) and -_MAX_FLOAT < value < _MAX_FLOAT,
    ColumnType.DOUBLE: lambda value: type(value) in (float, int),
    ColumnType.BOOLEAN: lambda value: type(value) is bool,
    ColumnType.TEXT: lambda value: type(value) is str and "\0" not in value,
}


def _checker(columns: tuple[Column, ...]) -> Callable[[Any], str | None]:
    """Return a table's check. It is called for each row, so everything that can be is made ready here."""
    cells = [(column.name, _ACCEPTS[column.type], column.nullable) for column in columns]
    names = frozenset(column.name for column in columns)
    to_json = orjson.dumps
    if len(cells) == 1:
        ((name, accepts, nullable),) = cells

        def check_only(row: Any) -> str | None:
            if type(row) is dict and len(row) == 1 and name in row:
                value = row[name]
                if accepts(value) or (nullable and value is None):
                    return to_json([value]).decode()
                return None
            return "[null]" if row == {} and nullable else None

        return check_only

    def check_row(row: Any) -> str | None:
        if type(row) is not dict or not row.keys() <= names:
            return None
        values = []
        for name, accepts, nullable in cells:
            value = row.get(name)
            if not accepts(value) and not (nullable and value is None):
                return None
            values.append(value)
        return to_json(values).decode()

    return check_row


def _take(user_id: str, upload: Any, tables: Mapping[str, Table], rows: list[Row]) -> int | None:
    """Add the good rows of one user. Return how many keys their objects have; None if anything is wrong."""
    if type(upload) is not dict:
        return None
    keys, good = len(upload), True
    for name, given in upload.items():
        table = tables.get(name)
        if table is None or type(given) is not list:
            good = False
            continue
        dataset_id, check_row = table.id, table.check
        for row in given:
            data = check_row(row)
            if data is None:
                good = False
            else:
                keys += len(row)
                rows.append((dataset_id, user_id, data))
    return keys if good else None


def _explain(user_id: str, upload: Any, tables: Mapping[str, Table]) -> Iterator[str]:
    """Yield all that is wrong with one user's upload, in the documented words as far as there are any."""
    if fault := user_fault(user_id):
        yield fault
    if type(upload) is not dict:
        yield "not an object of tables"
        return
    for name, given in upload.items():
        table = tables.get(name)
        if table is None:
            yield f"{_cut(name, _SHOWN)}: table does not exist"
        elif type(given) is not list:
            yield f"{name}: not a list of rows"
        else:
            for row in given:
                if table.check(row) is None:
                    yield from _explain_row(table, row)


def _explain_row(table: Table, row: Any) -> Iterator[str]:
    if type(row) is not dict:
        yield f"{table.name}: {_shown(row)} is not a row, which is an object of columns"
        return
    yield from (f"{table.name}: {name}: {fault}" for name, fault in cell_faults(table, row))


def cell_faults(table: Table, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield all that is wrong with a row, each fault with the name of its column."""
    for column in table.columns:
        value = row.get(column.name)
        if value is not None and not _ACCEPTS[column.type](value):
            yield column.name, f"invalid value {_shown(value)} for type {POSTGRES_TYPES[column.type]}"
        elif value is None and not column.nullable:
            yield column.name, f"{'null' if column.name in row else 'no value'} for a column that is NOT NULL"
    known = {column.name for column in table.columns}
    yield from ((_cut(name, _SHOWN), "column does not exist") for name in row if name not in known)


def _shown(value: Any) -> str:
    """Return a value as a fault shows it: JSON in one pair of brackets."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # It is nested deeper than orjson writes.
        text = "[...]"
    return _cut(text if type(value) is list else f"[{text}]", _SHOWN)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _apart(user_ids: Iterable[str]) -> Iterator[str]:
    """Yield each user's name as it is shown: those that are too long for a user are cut, and numbered if alike."""
    alike: Counter[str] = Counter()
    for user_id in user_ids:
        name = _cut(user_id, MAX_USER_ID)
        if name != user_id:
            alike[name] += 1
        yield f"{name} ({alike[name]})" if alike[name] > 1 else name


def _size(text: str) -> int:
    """Return how many bytes a text and a comma take in JSON that is ASCII without DEL."""
    return len(json.dumps(text)) + 5 * text.count("\x7f") + 1
