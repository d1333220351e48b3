"""Datasets and their rows. Rows are written here and counted in store/counts.py; nothing reads them."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, delete, insert, select, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, serial, table_of
from server.store.engine import Command, Query, Tx


class DatasetRow(SQLModel, table=True):
    """The declaration of a dataset."""

    __tablename__ = "datasets"
    __table_args__ = (Index("datasets_by_name", "organization_id", "name", unique=True),)

    id: int = serial()
    organization_id: int = reference("organizations.id")
    name: str
    columns: str  # JSON: [{"name", "type", "nullable"}, ...]
    buckets_per_user: int
    version: int = Field(sa_type=BigInteger)
    secret: bytes  # Keys the choice of the buckets in which a user counts.
    create_time: int = micros()
    budget_epsilon: int = Field(sa_type=BigInteger)  # These three in the units of core/budgets.py.
    spent_epsilon: int = Field(sa_type=BigInteger)
    spent_delta: int = Field(sa_type=BigInteger)


class UserRow(SQLModel, table=True):
    """One uploaded row of one user.

    No foreign key, as it would be checked for every row of an upload, whose own transaction has seen the dataset.
    """

    __tablename__ = "dataset_rows"
    __table_args__ = (Index("rows_of_user", "dataset_id", "user_id"),)

    id: int = serial()
    dataset_id: int = Field(sa_type=BigInteger)
    user_id: str
    data: str  # JSON: the values, in the order of the dataset's columns


class AnswerRow(SQLModel, table=True):
    """An anonymised answer, kept so that the same question is never drawn twice."""

    __tablename__ = "answers"

    dataset_id: int = reference("datasets.id", primary_key=True)
    version: int = Field(sa_type=BigInteger, primary_key=True)
    question: str = Field(primary_key=True)  # canonical form, JSON
    answer: str  # JSON


DATASETS, USER_ROWS, ANSWERS = table_of(DatasetRow), table_of(UserRow), table_of(AnswerRow)
_D, _R = DATASETS.c, USER_ROWS.c


class Declared(NamedTuple):
    """A dataset as it is stored."""

    id: int
    name: str
    columns: str
    buckets_per_user: int
    version: int
    create_time: int
    budget_epsilon: int
    spent_epsilon: int
    spent_delta: int


class Id(NamedTuple):
    """The key of a row."""

    id: int


_DECLARED = select(*(_D[name] for name in Declared._fields))
_BY_NAME = Query(
    _DECLARED.where(_D.organization_id == bindparam("organization_id"), _D.name == bindparam("name")), Declared
)
_PAGE = Query(
    _DECLARED.where(_D.organization_id == bindparam("organization_id"), _D.name > bindparam("after"))
    .order_by(_D.name)
    .limit(bindparam("most")),
    Declared,
)
_ADD = Query(
    insert(DATASETS)
    .values({name: bindparam(name) for name in ("organization_id", "secret", *Declared._fields) if name != "id"})
    .returning(_D.id),
    Id,
)
_NEW_VERSION = Command(
    update(DATASETS)
    .where(
        _D.id == bindparam("dataset_id"),
        _D.organization_id == bindparam("of_organization"),
        _D.columns == bindparam("as_declared"),
    )
    .values(version=_D.version + 1)
)
_NEXT_VERSION = Command(update(DATASETS).where(_D.id == bindparam("dataset_id")).values(version=_D.version + 1))
_ADD_ROWS = Command(
    insert(USER_ROWS).values(dataset_id=bindparam("dataset_id"), user_id=bindparam("user_id"), data=bindparam("data"))
)
_ERASE = Command(
    delete(USER_ROWS).where(
        _R.id.in_(
            select(_R.id)
            .where(_R.dataset_id == bindparam("dataset_id"), _R.user_id == bindparam("user_id"))
            .limit(bindparam("most"))
        )
    )
)
ROW = ("dataset_id", "user_id", "data")
"""What each row given to `add_rows` holds."""


async def by_name(tx: Tx, *, organization_id: int, name: str) -> Declared | None:
    """Return the organization's dataset of this name."""
    return await tx.one(_BY_NAME, organization_id=organization_id, name=name)


async def page(tx: Tx, *, organization_id: int, after: str, most: int) -> list[Declared]:
    """Return up to `most` datasets whose names come after `after`, in order of their names."""
    return await tx.all(_PAGE, organization_id=organization_id, after=after, most=most)


async def add(
    tx: Tx, *, organization_id: int, name: str, columns: str, buckets_per_user: int, budget_epsilon: int, secret: bytes
) -> Declared:
    """Store a declaration, at version 0, with nothing spent."""
    declared = Declared(0, name, columns, buckets_per_user, 0, tx.now, budget_epsilon, 0, 0)
    added = await tx.one(_ADD, organization_id=organization_id, secret=secret, **declared._asdict())
    assert added is not None  # noqa: S101 - an INSERT … RETURNING that did not raise has returned its row.
    return declared._replace(id=added.id)


async def new_version(tx: Tx, *, organization_id: int, dataset_id: int, columns: str) -> bool:
    """Move the dataset to its next version and lock it until the commit; False if it no longer has these columns."""
    touched = await tx.run(_NEW_VERSION, dataset_id=dataset_id, of_organization=organization_id, as_declared=columns)
    return touched == 1


async def next_version(tx: Tx, *, dataset_id: int) -> None:
    """Move the dataset to its next version, whatever columns it has."""
    await tx.run(_NEXT_VERSION, dataset_id=dataset_id)


async def add_rows(tx: Tx, rows: Sequence[tuple[int, str, str]]) -> None:
    """Store rows, each as ROW says."""
    await tx.insert_many(_ADD_ROWS, ROW, rows)


async def erase_rows(tx: Tx, *, dataset_id: int, user_id: str, most: int) -> int:
    """Delete up to `most` rows of a user, and return how many."""
    return await tx.run(_ERASE, dataset_id=dataset_id, user_id=user_id, most=most)
