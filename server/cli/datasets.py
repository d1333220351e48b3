"""`taskhouse datasets`: what organizations collect about their users."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from server.cli.house import (
    COMMAND_LINE,
    as_item,
    house_options,
    in_house,
    json_option,
    print_json,
    print_table,
    time_text,
)
from server.core import budgets, organizations
from server.core import datasets as verbs
from server.core.budgets import Budget
from server.core.columns import Column, ColumnType
from server.core.datasets import DEFAULT_BUCKETS_PER_USER, Dataset, Declaration
from server.core.errors import DatasetExists, DatasetNotFound, Fault
from server.core.pages import MAX_PAGE
from server.core.uploads import user_fault
from server.services.datasets import budget_to_proto, dataset_to_proto
from server.services.datasets import erase_user as erase
from server.settings import Settings
from server.store.engine import Store

_TEXT = "tag:yaml.org,2002:str"
_WHOLE_NUMBER = "tag:yaml.org,2002:int"
_BOOLEAN = "tag:yaml.org,2002:bool"
_WRITTEN = {
    _TEXT: re.compile(".*", re.DOTALL),
    _WHOLE_NUMBER: re.compile("[0-9]{1,9}"),
    _BOOLEAN: re.compile("true|false"),
}
_MUST_BE = {
    _TEXT: "must be text; put it in quotes",
    _WHOLE_NUMBER: "must be a whole number",
    _BOOLEAN: "must be true or false",
}
_TYPES = {type_.value: type_ for type_ in ColumnType}


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
    sheet = _Sheet(file)

    async def declared(store: Store) -> list[tuple[Dataset, bool]]:
        organization = await store.read(organizations.get, caller=COMMAND_LINE, name=org)
        return await store.write(verbs.apply, organization_id=organization.id, declarations=sheet.declarations)

    try:
        applied = in_house(settings, declared)
    except DatasetExists as refusal:
        number = next(i for i, one in enumerate(sheet.declarations) if one.name == refusal.dataset)
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
    found: list[organizations.Organization] = []
    token = ""
    while True:
        page = await store.scan(organizations.page, caller=COMMAND_LINE, page_size=MAX_PAGE, page_token=token)
        found += page.items
        token = page.next_page_token
        if not token:
            return found


def _column_text(column: Column) -> str:
    return f"{column.name} {column.type.value}{'' if column.nullable else ' NOT NULL'}"


class _Sheet:
    """A file of datasets, read strictly: whatever is not understood is a fault of its line, and nothing is guessed."""

    def __init__(self, file: Path) -> None:
        """Read it. Raises click.ClickException, one line on the first fault."""
        self._file = file
        self._lines: dict[str, int] = {"": 1}
        self._faults: list[Fault] = []
        self.declarations = self._read()
        faults = self._faults or list(verbs.faults_of_all(self.declarations))
        if faults:
            first = min(faults, key=lambda fault: self._line(fault.field))
            others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise self.fault(first.field, first.description + others)

    def fault(self, field: str, description: str) -> click.ClickException:
        """Return what is told of a fault in a field: its file, line, path and text."""
        where = f"{field}: " if field else ""
        return click.ClickException(f"{self._file}:{self._line(field)}: {where}{description}")

    def _line(self, field: str) -> int:
        while field not in self._lines:  # A missing field is where the one around it is.
            field = re.sub(r"(\.|^)?[^.\[]+$|\[[0-9]+\]$", "", field)
        return self._lines[field]

    def _read(self) -> list[Declaration]:
        try:
            root = yaml.compose(self._file.read_bytes(), Loader=yaml.SafeLoader)
        except OSError as error:
            raise click.ClickException(f"cannot read {self._file}: {error.strerror}") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise click.ClickException(f"{self._file}:{line}: not YAML: {error.problem}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise click.ClickException(f"{self._file}: not YAML: {error}") from error
        top = self._mapping(root, "", required=("datasets",))
        return [self._declaration(*item) for item in self._items(top.get("datasets"), "datasets")]

    def _declaration(self, node: yaml.Node, path: str) -> Declaration:
        parts = self._mapping(node, path, required=("name", "columns"), optional=("buckets_per_user",))
        columns = tuple(self._column(*item) for item in self._items(parts.get("columns"), f"{path}.columns"))
        buckets = self._scalar(parts.get("buckets_per_user"), f"{path}.buckets_per_user", _WHOLE_NUMBER)
        return Declaration(
            self._scalar(parts.get("name"), f"{path}.name", _TEXT) or "",
            columns,
            DEFAULT_BUCKETS_PER_USER if buckets is None else int(buckets),
        )

    def _column(self, node: yaml.Node, path: str) -> Column:
        parts = self._mapping(node, path, required=("name", "type"), optional=("nullable",))
        name = self._scalar(parts.get("name"), f"{path}.name", _TEXT) or ""
        type_ = self._scalar(parts.get("type"), f"{path}.type", _TEXT)
        nullable = self._scalar(parts.get("nullable"), f"{path}.nullable", _BOOLEAN)
        if type_ is not None and type_ not in _TYPES:
            self._wrong(f"{path}.type", f'unknown type "{type_}"; known: {", ".join(_TYPES)}')
        return Column(name, _TYPES.get(type_ or "", ColumnType.TEXT), nullable=nullable == "true")

    def _mapping(
        self, node: yaml.Node | None, path: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(path, f"must have the parts {', '.join(required)}")
            return {}
        parts: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            field = f"{path}.{name}" if path else name
            known = name in required or name in optional
            if not known or name in parts:
                self._lines[field] = key.start_mark.line + 1
                known_parts = ", ".join((*required, *optional))
                self._wrong(field, "stands twice" if known else f"is unknown here; known: {known_parts}")
                continue
            self._lines[field] = value.start_mark.line + 1
            parts[name] = value
        for name in required:
            if name not in parts:
                self._wrong(f"{path}.{name}" if path else name, "is missing")
        return parts

    def _items(self, node: yaml.Node | None, path: str) -> Iterator[tuple[yaml.Node, str]]:
        if node is None:  # Missing, and told so already.
            return
        if not isinstance(node, yaml.SequenceNode):
            self._wrong(path, "must be a list")
            return
        for number, item in enumerate(node.value):
            self._lines[f"{path}[{number}]"] = item.start_mark.line + 1
            yield item, f"{path}[{number}]"

    def _scalar(self, node: yaml.Node | None, path: str, tag: str) -> str | None:
        """Return a value as it is written; None if it is missing or of another kind."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag == tag and _WRITTEN[tag].fullmatch(node.value):
            return str(node.value)
        self._wrong(path, _MUST_BE[tag])
        return None

    def _wrong(self, path: str, description: str) -> None:
        self._faults.append(Fault(path, description))
