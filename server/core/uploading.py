"""Uploads that come as streams of rows, can break off, and go on from the row that was acknowledged last.

A stream moves its dataset to a next version in the transaction that stores its first rows, and once more when it ends.
So an answer about the version before it is never told of its rows, and neither does an answer that was given midway
stay for what came later. One version for each batch would be simpler, and make whoever asks while an upload runs pay
for each answer anew.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import orjson

from server.core.caller import Caller
from server.core.errors import (
    MAX_FAULTS,
    DatasetNotFound,
    Fault,
    InvalidFields,
    RequestIdReused,
    UploadNotFound,
    UploadTakenOver,
    invalid,
)
from server.core.uploads import NestedTooDeep, Row, Table, cell_faults, repeated_key, tables, user_fault
from server.store import datasets as stored_datasets
from server.store import uploads as store
from server.store.engine import Tx

MAX_ROWS = 2**31 - 1  # of an upload
IDLE = 300 * 1_000_000  # Microseconds. A stream without a message ends by itself much earlier.


class Upload(NamedTuple):
    """An upload, as far as it has come."""

    id: str  # the client's
    dataset: str
    acknowledged_rows: int
    create_time: int  # microseconds since 1970


class Stream(NamedTuple):
    """A stream that has an upload, until a later one has it."""

    organization_id: int
    upload_id: str
    upload: int
    number: int  # among the streams of its upload
    table: Table
    first_row: int  # how many rows were acknowledged before it


class Sent(NamedTuple):
    """Rows as they came, each a user and a JSON text. `refusal` is what is wrong with the row after the good ones."""

    rows: list[Row]
    refusal: InvalidFields | None


async def begin(tx: Tx, *, caller: Caller, dataset: str, upload_id: str) -> Stream:
    """Take up an upload, new or not; no earlier stream stores rows of it from now on.

    Raises InvalidFields (start.upload_id), DatasetNotFound, RequestIdReused.
    """
    canonical = _uuid(upload_id)
    if canonical is None:
        raise invalid("start.upload_id", "must be a UUID")
    found = (await tables(tx, caller=caller, names=frozenset({dataset}))).get(dataset)
    if found is None:
        raise DatasetNotFound(dataset)
    begun = await store.begin(tx, organization_id=caller.tenant, upload_id=canonical, dataset_id=found.id)
    if begun.dataset_id != found.id:
        raise RequestIdReused(upload_id)
    return Stream(caller.tenant, canonical, begun.id, begun.stream, found, begun.acknowledged_rows)


def check(table: Table, rows: Sequence[tuple[str, str]], *, first_row: int) -> Sent:
    """Hold rows against their table, up to the first bad one. `first_row` is the number of the first in its upload."""
    good: list[Row] = []
    dataset_id, check_row = table.id, table.check
    for user_id, text in rows:
        data = None if user_fault(user_id) else _stored(text, check_row)
        if data is None:
            faults = _faults(table, user_id, text, path=f"rows[{first_row + len(good)}]")
            return Sent(good, InvalidFields(tuple(islice(faults, MAX_FAULTS + 1))))
        good.append((dataset_id, user_id, data))
    return Sent(good, None)


async def put(tx: Tx, *, stream: Stream, first_row: int, rows: Sequence[Row]) -> int:
    """Store rows, `first_row` being the number of the first, and return how many are acknowledged then.

    Raises UploadTakenOver, DatasetNotFound.
    """
    of = {"upload": stream.upload, "stream": stream.number}
    if not await store.advance(tx, **of, first=first_row, rows=len(rows)):
        raise UploadTakenOver(stream.upload_id)
    if await store.unsettle(tx, **of):
        await _next_version(tx, stream)
    await stored_datasets.add_rows(tx, rows)
    return first_row + len(rows)


async def end(tx: Tx, *, stream: Stream) -> Upload:
    """Note that the stream has ended, if it still has its upload, and return the upload. Raises DatasetNotFound."""
    if await store.settle(tx, upload=stream.upload, stream=stream.number):
        await _next_version(tx, stream)
    return await _get(tx, stream.organization_id, stream.upload_id)


async def tidy(tx: Tx) -> bool:
    """End what the stream of one upload did not live to end; False if there is no such upload.

    If its server dies, an upload's last rows are stored, and the version that counts them is not there. A stream that
    lives after all makes another one with its next rows. An upload without any row is forgotten: it can begin again.
    """
    before = tx.now - IDLE
    found = await store.idle(tx, before=before)
    if found is None:
        return False
    if await store.settle_idle(tx, upload=found.id, before=before):
        await stored_datasets.next_version(tx, dataset_id=found.dataset_id)
    else:
        await store.forget_idle(tx, upload=found.id, before=before)
    return True


async def get(tx: Tx, *, caller: Caller, upload_id: str) -> Upload:
    """Return an upload of the caller's organization. Raises UploadNotFound."""
    canonical = _uuid(upload_id)
    if canonical is None:
        raise UploadNotFound(upload_id)
    return await _get(tx, caller.tenant, canonical)


async def _get(tx: Tx, organization_id: int, upload_id: str) -> Upload:
    found = await store.by_id(tx, organization_id=organization_id, upload_id=upload_id)
    if found is None:
        raise UploadNotFound(upload_id)
    return Upload(*found)


async def _next_version(tx: Tx, stream: Stream) -> None:
    table = stream.table
    if not await stored_datasets.new_version(
        tx, organization_id=stream.organization_id, dataset_id=table.id, columns=table.declared
    ):
        raise DatasetNotFound(table.name)


def _stored(text: str, check_row: Callable[[Any], str | None]) -> str | None:
    """Return a row as it is stored; None if something is wrong with it."""
    try:
        row = orjson.loads(text)
        data = check_row(row)
        if data is None or repeated_key(text.encode(), colons=len(row) + data.count(":")) is not None:
            return None
    except (orjson.JSONDecodeError, NestedTooDeep):
        return None
    return data


def _faults(table: Table, user_id: str, text: str, *, path: str) -> Iterator[Fault]:
    """Yield all that is wrong with a row."""
    if fault := user_fault(user_id):
        yield Fault(f"{path}.user", fault)
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        yield Fault(f"{path}.data", "is not JSON text")
        return
    if type(row) is not dict:
        yield Fault(f"{path}.data", "must be an object of columns")
        return
    for column, fault in cell_faults(table, row):
        yield Fault(f"{path}.{column}", fault)
    try:
        key = repeated_key(text.encode(), colons=-1)
    except NestedTooDeep:
        yield Fault(f"{path}.data", "is nested too deep")
        return
    if key is not None:
        yield Fault(f"{path}.{key}", "stands twice in one object")


def _uuid(text: str) -> str | None:
    """Return the UUID in its usual form, so that two spellings of one are the same."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
