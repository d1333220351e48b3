"""What tests of datasets begin with: declared ones, and rows in them."""

from typing import NamedTuple

from sqlalchemy import select

from server.core import datasets, uploads
from server.core.caller import Caller
from server.core.columns import Column, ColumnType
from server.core.datasets import Dataset, Declaration
from server.core.uploads import Checked
from server.store.datasets import USER_ROWS
from server.store.engine import Query, Store, Tx


def columns(**types: str) -> tuple[Column, ...]:
    """Return columns by their types, such as `height="float"`; "float?" is nullable."""
    return tuple(Column(name, ColumnType(type_.rstrip("?")), type_.endswith("?")) for name, type_ in types.items())


def declaration(name: str = "heights", buckets_per_user: int = 1, **types: str) -> Declaration:
    return Declaration(name, columns(**(types or {"height": "float"})), buckets_per_user)


async def dataset(store: Store, caller: Caller, name: str = "heights", buckets_per_user: int = 1, **types) -> Dataset:
    """Declare a dataset."""
    return await store.write(datasets.create, caller=caller, declaration=declaration(name, buckets_per_user, **types))


async def checked(store: Store, caller: Caller, given: dict, *, whole: bool = True) -> Checked:
    """Hold an upload against the caller's datasets."""
    names = uploads.names_in(given.values())
    return uploads.check(given, await store.read(uploads.tables, caller=caller, names=names), whole=whole)


async def upload(store: Store, caller: Caller, given: dict) -> None:
    """Store an upload that has no faults."""
    good = await checked(store, caller, given)
    assert not good.faults, good.faults.listing(max_bytes=4096)
    await store.write(uploads.put, caller=caller, checked=good)


async def fill(store: Store, caller: Caller, values: list, name: str = "heights", column: str = "height") -> None:
    """Store one row with each value, each of another user; of a list, each of its values for the same user."""
    await upload(
        store,
        caller,
        {
            f"user-{number}": {name: [{column: one} for one in (value if isinstance(value, list) else [value])]}
            for number, value in enumerate(values)
        },
    )


class Kept(NamedTuple):
    """A stored row."""

    user_id: str
    data: str


_KEPT = Query(select(USER_ROWS.c.user_id, USER_ROWS.c.data).order_by(USER_ROWS.c.id), Kept)


async def kept_rows(store: Store) -> list[Kept]:
    """Return all rows of all datasets, in the order in which they were stored."""

    async def everything(tx: Tx) -> list[Kept]:
        return await tx.all(_KEPT)

    return await store.read(everything)
