"""Datasets: what people declare, fill (core/uploads.py) and count. Nothing reads a row."""

import secrets
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

import orjson

from server.core import budgets, counts, events
from server.core import columns as columns_
from server.core.budgets import Budget
from server.core.caller import Caller
from server.core.columns import MAX_COLUMNS, Column, name_fault
from server.core.counts import Answer, Unanswered
from server.core.errors import DatasetExists, DatasetNotFound, Fault, InvalidFields, invalid
from server.core.pages import Page, read_page
from server.core.questions import Asking
from server.core.uploads import user_fault
from server.core.work import lease_holder
from server.store import datasets as store
from server.store.engine import Tx

MAX_BUCKETS_PER_USER = 100
DEFAULT_BUCKETS_PER_USER = 1
SECRET_BYTES = 32
ERASED_AT_ONCE = 5000  # rows


class Declaration(NamedTuple):
    """What a dataset shall be."""

    name: str
    columns: tuple[Column, ...]
    buckets_per_user: int  # in how many buckets of one answer a user counts at most


class Dataset(NamedTuple):
    """A declared dataset."""

    name: str
    columns: tuple[Column, ...]
    buckets_per_user: int
    version: int  # grows whenever rows come or go
    create_time: int  # microseconds since 1970
    budget: Budget


def faults_of(declaration: Declaration) -> Iterable[Fault]:
    """Yield what is wrong with a declaration, by field paths inside it."""
    if fault := name_fault(declaration.name):
        yield Fault("name", fault)
    if not 1 <= len(declaration.columns) <= MAX_COLUMNS:
        yield Fault("columns", f"must be 1 to {MAX_COLUMNS}")
    seen = set()
    for number, column in enumerate(declaration.columns):
        if fault := name_fault(column.name):
            yield Fault(f"columns[{number}].name", fault)
        elif column.name in seen:
            yield Fault(f"columns[{number}].name", f'"{column.name}" is the name of an earlier column')
        seen.add(column.name)
    if not 1 <= declaration.buckets_per_user <= MAX_BUCKETS_PER_USER:
        yield Fault("buckets_per_user", f"must be 1 to {MAX_BUCKETS_PER_USER}")


def faults_of_all(declarations: Sequence[Declaration]) -> Iterable[Fault]:
    """Yield what is wrong with declarations that are made together, by field paths such as `datasets[0].name`."""
    for number, declaration in enumerate(declarations):
        for fault in faults_of(declaration):
            yield Fault(f"datasets[{number}].{fault.field}", fault.description)
        if any(earlier.name == declaration.name for earlier in declarations[:number]):
            yield Fault(f"datasets[{number}].name", f'"{declaration.name}" is the name of an earlier dataset')


async def create(tx: Tx, *, caller: Caller, declaration: Declaration) -> Dataset:
    """Declare a dataset; declaring it again, alike, returns it unchanged. Raises InvalidFields, DatasetExists."""
    if faults := tuple(Fault(f"dataset.{fault.field}", fault.description) for fault in faults_of(declaration)):
        raise InvalidFields(faults)
    dataset, _ = await _declare(tx, actor=caller, organization_id=caller.tenant, declaration=declaration)
    return dataset


async def apply(
    tx: Tx, *, actor: Caller, organization_id: int, declarations: Sequence[Declaration]
) -> list[tuple[Dataset, bool]]:
    """Declare all or none, and return each with whether it is new. Raises InvalidFields, DatasetExists."""
    if faults := tuple(faults_of_all(declarations)):
        raise InvalidFields(faults)
    return [await _declare(tx, actor=actor, organization_id=organization_id, declaration=one) for one in declarations]


async def get(tx: Tx, *, caller: Caller, name: str) -> Dataset:
    """Return the caller's dataset. Raises DatasetNotFound."""
    # A name that no dataset can have is not looked up: engines differ in what text they take.
    found = None if name_fault(name) else await store.by_name(tx, organization_id=caller.tenant, name=name)
    if found is None:
        raise DatasetNotFound(name)
    return _dataset(found)


async def page(tx: Tx, *, caller: Caller, page_size: int, page_token: str) -> Page[Dataset]:
    """Return the caller's datasets in order of their names. Raises InvalidFields."""
    asked = read_page(page_size, page_token)
    found = await store.page(tx, organization_id=caller.tenant, after=asked.after, most=asked.most)
    return asked.of([_dataset(one) for one in found], key=attrgetter("name"))


async def of_organization(tx: Tx, *, organization_id: int) -> list[Dataset]:
    """Return all datasets of an organization, in order of their names."""
    datasets: list[Dataset] = []
    after = ""
    while found := await store.page(tx, organization_id=organization_id, after=after, most=1000):
        datasets += map(_dataset, found)
        after = found[-1].name
    return datasets


async def erase_user(
    tx: Tx, *, actor: Caller, organization_id: int, name: str, user_id: str, goes_on: bool = False
) -> Dataset | None:
    """Erase rows of a user, and return the dataset when none is left; None: call again, to go on with the rest.

    Each of these calls moves the dataset to its next version: no version has rows that others of the same version have
    not. The first tells of it in an event, which does not name the user. All that depends on whether there were rows is
    how many calls it takes. Raises InvalidFields (user), DatasetNotFound.
    """
    if fault := user_fault(user_id):
        raise invalid("user", fault)
    found = None if name_fault(name) else await store.by_name(tx, organization_id=organization_id, name=name)
    if found is None:
        raise DatasetNotFound(name)
    await store.next_version(tx, dataset_id=found.id)
    now = await store.by_name(tx, organization_id=organization_id, name=name)
    assert now is not None  # noqa: S101 - the statement before has locked it.
    if not goes_on:
        await events.record(
            tx,
            organization_id=organization_id,
            actor=actor,
            action="dataset.user_erased",
            object=events.Object("dataset", name),
            before={"version": now.version - 1},
            after={"version": now.version},
        )
    erased = await store.erase_rows(tx, dataset_id=found.id, user_id=user_id, most=ERASED_AT_ONCE)
    return None if erased == ERASED_AT_ONCE else _dataset(now)


async def ask(tx: Tx, *, caller: Caller, lease: tuple[str, int] | None, asking: Asking) -> Answer | Unanswered:
    """Return the answer to a question about users, if it has one.

    A worker asks by its lease (task, attempt), for that task's organization; others ask for their own.

    Raises InvalidFields, DatasetNotFound, LeaseEnded, BudgetExhausted.
    """
    organization_id = await _counting_for(tx, caller=caller, lease=lease)
    return await counts.ask(tx, organization_id=organization_id, asking=asking)


async def _counting_for(tx: Tx, *, caller: Caller, lease: tuple[str, int] | None) -> int:
    if caller.organization_id is not None:
        if lease:
            raise invalid("lease", "is for workers of the house")
        return caller.organization_id
    if not lease:
        raise invalid("lease", "is required of a worker")
    task_id, attempt = lease
    return await lease_holder(tx, caller=caller, task_id=task_id, attempt=attempt)


async def _declare(tx: Tx, *, actor: Caller, organization_id: int, declaration: Declaration) -> tuple[Dataset, bool]:
    name, columns = declaration.name, columns_.to_json(declaration.columns)
    found = await store.by_name(tx, organization_id=organization_id, name=name)
    if found is None:
        added = await store.add(
            tx,
            organization_id=organization_id,
            name=name,
            columns=columns,
            buckets_per_user=declaration.buckets_per_user,
            budget_epsilon=budgets.DEFAULT.epsilon_units,
            secret=secrets.token_bytes(SECRET_BYTES),
        )
        await events.record(
            tx,
            organization_id=organization_id,
            actor=actor,
            action="dataset.declared",
            object=events.Object("dataset", name),
            after={"columns": orjson.loads(columns), "buckets_per_user": declaration.buckets_per_user},
        )
        return _dataset(added), True
    if (found.columns, found.buckets_per_user) != (columns, declaration.buckets_per_user):
        raise DatasetExists(name)
    return _dataset(found), False


def _dataset(found: store.Declared) -> Dataset:
    return Dataset(
        found.name,
        columns_.from_json(found.columns),
        found.buckets_per_user,
        found.version,
        found.create_time,
        budgets.budget_of(found),
    )
