"""`taskhouse datasets`: what organizations collect about their users."""

import sys
from pathlib import Path

import click
import yaml

from server.cli.house import (
    COMMAND_LINE,
    all_organizations,
    as_item,
    house_options,
    in_house,
    json_option,
    print_json,
    print_table,
    time_text,
)
from server.cli.sheet import BOOLEAN, TEXT, WHOLE_NUMBER, Sheet
from server.core import budgets, organizations
from server.core import datasets as verbs
from server.core.budgets import Budget
from server.core.columns import Column, ColumnType
from server.core.datasets import DEFAULT_BUCKETS_PER_USER, Dataset, Declaration
from server.core.errors import DatasetExists, DatasetNotFound
from server.core.uploads import user_fault
from server.services.datasets import budget_to_proto, dataset_to_proto
from server.services.datasets import erase_user as erase
from server.settings import Settings
from server.store.engine import Store


@click.group()
def datasets() -> None:
    """Declare and list datasets, erase users from them, and set their budgets."""


@datasets.command()
@house_options
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--org", metavar="NAME", required=True, help="Name of the organization.")
@json_option
def apply(settings: Settings, file: Path, org: str, *, as_json: bool) -> None:
    """Declare the datasets of FILE, all or none. Those that are declared already, alike, are left as they are.

    \b
    datasets:
      - name: heights
        buckets_per_user: 1        # in how many buckets of one answer a user counts at most
        columns:
          - {name: height, type: float, nullable: false}

    Types are integer, bigint, float, double, boolean and text. A column is NOT NULL unless it is nullable.
    """  # noqa: D301 - \b tells click to keep the lines.
    sheet = Sheet(file)
    declarations = _read(sheet)

    async def declared(store: Store) -> list[tuple[Dataset, bool]]:
        organization = await store.read(organizations.get, caller=COMMAND_LINE, name=org)
        return await store.write(
            verbs.apply, actor=COMMAND_LINE, organization_id=organization.id, declarations=declarations
        )

    try:
        applied = in_house(settings, declared)
    except DatasetExists as refusal:
        number = next(i for i, one in enumerate(declarations) if one.name == refusal.dataset)
        raise sheet.fault(
            f"datasets[{number}].name",
            f'there is a dataset "{refusal.dataset}" with other columns or settings already; choose another name',
        ) from refusal
    if as_json:
        print_json(as_item(dataset_to_proto(dataset)) for dataset, _ in applied)
    else:
        print_table(("NAME", ""), [(dataset.name, "created" if new else "unchanged") for dataset, new in applied])


@datasets.command("list")
@house_options
@click.option("--org", metavar="NAME", help="Name of the organization; default: all of them.")
@json_option
def list_(settings: Settings, org: str | None, *, as_json: bool) -> None:
    """List datasets by organization and name."""

    async def every(store: Store) -> list[tuple[str, Dataset]]:
        return [
            (owner.name, dataset)
            for owner in await _organizations(store, org)
            for dataset in await store.scan(verbs.of_organization, organization_id=owner.id)
        ]

    found = in_house(settings, every)
    if as_json:
        print_json({"organization": owner, **as_item(dataset_to_proto(dataset))} for owner, dataset in found)
    else:
        rows = [
            (
                owner,
                one.name,
                ", ".join(map(_column_text, one.columns)),
                str(one.version),
                f"{one.budget.spent.epsilon:g} of {one.budget.epsilon:g}",
                time_text(one.create_time),
            )
            for owner, one in found
        ]
        print_table(("ORGANIZATION", "NAME", "COLUMNS", "VERSION", "EPSILON SPENT", "CREATED"), rows)


@datasets.command("erase-user")
@house_options
@click.argument("name")
@click.argument("user")
@click.option("--org", metavar="NAME", help="Name of the organization; needed if several have such a dataset.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@json_option
def erase_user(settings: Settings, name: str, user: str, org: str | None, *, yes: bool, as_json: bool) -> None:
    """Erase all rows of USER from the dataset NAME, for ever. Answers that were given stay.

    Whether there were such rows is not told. An event tells that a user was erased, and not which.
    """
    if fault := user_fault(user):
        raise click.UsageError(fault)
    if sys.stdin.isatty() and not yes:
        click.confirm(f"Erase all rows of this user from {name}? Nothing brings them back.", abort=True, err=True)

    async def erased(store: Store) -> tuple[str, Dataset]:
        owner = await _owner(store, name, org)
        dataset = await erase(store, actor=COMMAND_LINE, organization_id=owner.id, name=name, user_id=user)
        return owner.name, dataset

    owner, dataset = in_house(settings, erased)
    if as_json:
        print_json([{"organization": owner, **as_item(dataset_to_proto(dataset))}])
    else:
        click.echo(f"erased; the dataset {name} of {owner} is at version {dataset.version}")


@datasets.command("set-budget")
@house_options
@click.argument("name")
@click.argument("epsilon", type=float)
@click.option("--org", metavar="NAME", help="Name of the organization; needed if several have such a dataset.")
@json_option
def set_budget(settings: Settings, name: str, epsilon: float, org: str | None, *, as_json: bool) -> None:
    """Let all answers about the dataset NAME cost EPSILON together, those that were given included.

    A new answer costs 0.5 for each bucket that a user may count in; a repeated question costs nothing. What is spent
    never comes back: whoever raises a budget gives away more of the users' privacy. An event tells of it.
    """

    async def changed(store: Store) -> tuple[str, Budget]:
        owner = (await _owner(store, name, org)).name
        return owner, await store.write(
            budgets.set_budget, caller=COMMAND_LINE, organization=owner, dataset=name, epsilon=epsilon
        )

    owner, budget = in_house(settings, changed)
    if as_json:
        print_json([{"organization": owner, "name": name, "budget": as_item(budget_to_proto(budget))}])
    else:
        click.echo(f"the dataset {name} of {owner} has spent {budget.spent.epsilon:g} of {budget.epsilon:g}")


async def _owner(store: Store, name: str, org: str | None) -> organizations.Organization:
    """Return the organization whose dataset is meant. Raises DatasetNotFound."""
    owners = await _organizations(store, org)
    if org is None:
        owners = [
            owner
            for owner in owners
            if any(one.name == name for one in await store.scan(verbs.of_organization, organization_id=owner.id))
        ]
    if not owners:
        raise DatasetNotFound(name)
    if len(owners) > 1:
        raise click.UsageError(f"several organizations have a dataset {name}: give --org NAME")
    return owners[0]


async def _organizations(store: Store, name: str | None) -> list[organizations.Organization]:
    if name is not None:
        return [await store.read(organizations.get, caller=COMMAND_LINE, name=name)]
    return await all_organizations(store)


def _column_text(column: Column) -> str:
    return f"{column.name} {column.type.value}{'' if column.nullable else ' NOT NULL'}"


def _read(sheet: Sheet) -> list[Declaration]:
    """Read a file of datasets. Raises click.ClickException, one line on the first fault."""
    found = [_declaration(sheet, *item) for item in sheet.top("datasets")]
    sheet.done()
    sheet.done(list(verbs.faults_of_all(found)))
    return found


def _declaration(sheet: Sheet, node: yaml.Node, path: str) -> Declaration:
    parts = sheet.mapping(node, path, required=("name", "columns"), optional=("buckets_per_user",))
    columns = tuple(_column(sheet, *item) for item in sheet.items(parts.get("columns"), f"{path}.columns"))
    buckets = sheet.scalar(parts.get("buckets_per_user"), f"{path}.buckets_per_user", WHOLE_NUMBER)
    return Declaration(
        sheet.scalar(parts.get("name"), f"{path}.name", TEXT) or "",
        columns,
        DEFAULT_BUCKETS_PER_USER if buckets is None else int(buckets),
    )


def _column(sheet: Sheet, node: yaml.Node, path: str) -> Column:
    parts = sheet.mapping(node, path, required=("name", "type"), optional=("nullable",))
    name = sheet.scalar(parts.get("name"), f"{path}.name", TEXT) or ""
    type_ = sheet.choice(parts.get("type"), f"{path}.type", ColumnType)
    nullable = sheet.scalar(parts.get("nullable"), f"{path}.nullable", BOOLEAN)
    return Column(name, type_ or ColumnType.TEXT, nullable=nullable == "true")
