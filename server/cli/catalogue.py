"""`taskhouse catalogue`: what can be asked."""

from pathlib import Path

import click
import yaml

from server.cli.house import COMMAND_LINE, as_item, house_options, in_house, json_option, print_json, print_table
from server.cli.sheet import BOOLEAN, TEXT, Sheet
from server.core import catalogue as verbs
from server.core.catalogue import Action, Parameter, ParameterType, Permission, Service
from server.services.catalogue import catalogue_to_proto
from server.settings import Settings


@click.group()
def catalogue() -> None:
    """Declare and show what can be asked."""


@catalogue.command()
@house_options
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def apply(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Make FILE the catalogue, all or nothing. What it leaves out takes no new tasks; those there are go on.

    \b
    services:
      - slug: icloud
        name: iCloud
        actions:
          - slug: fetch-data
            name: Fetch Data
            parameters:
              - {slug: since, name: Since, type: date, optional: true}
            permissions: {data: [sms, photos]}

    Types are string, date, integer, boolean and list. Each permission is a required list of some of its values.
    """  # noqa: D301 - \b tells click to keep the lines.
    services = _read(file)
    applied = in_house(settings, lambda store: store.write(verbs.apply, caller=COMMAND_LINE, services=services))
    _print(applied, as_json=as_json)


@catalogue.command()
@house_options
@json_option
def show(settings: Settings, *, as_json: bool) -> None:
    """Show the catalogue."""
    _print(in_house(settings, lambda store: store.read(verbs.get)), as_json=as_json)


def _print(services: tuple[Service, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(as_item(service) for service in catalogue_to_proto(services).services)
        return
    rows = [
        (
            service.slug,
            action.slug,
            ", ".join((*map(_parameter_text, action.parameters), *map(_list_text, action.permissions))),
        )
        for service in services
        for action in service.actions
    ]
    print_table(("SERVICE", "ACTION", "PARAMETERS"), rows)


def _parameter_text(parameter: Parameter) -> str:
    return f"{parameter.slug} {parameter.type.value}{' (optional)' if parameter.optional else ''}"


def _list_text(permission: Permission) -> str:
    return f"{permission.slug} of {'|'.join(permission.values)}"


def _read(file: Path) -> tuple[Service, ...]:
    """Read a catalogue. Raises click.ClickException, one line on the first fault."""
    sheet = Sheet(file)
    services = tuple(_service(sheet, *item) for item in sheet.top("services"))
    sheet.done()
    sheet.done(verbs.faults_of(services))
    return services


def _service(sheet: Sheet, node: yaml.Node, path: str) -> Service:
    parts = sheet.mapping(node, path, required=("slug", "name"), optional=("actions",))
    return Service(
        _text(sheet, parts, path, "slug"),
        _text(sheet, parts, path, "name"),
        tuple(_action(sheet, *item) for item in sheet.items(parts.get("actions"), f"{path}.actions")),
    )


def _action(sheet: Sheet, node: yaml.Node, path: str) -> Action:
    optional = ("description", "parameters", "permissions")
    parts = sheet.mapping(node, path, required=("slug", "name"), optional=optional)
    return Action(
        _text(sheet, parts, path, "slug"),
        _text(sheet, parts, path, "name"),
        _text(sheet, parts, path, "description"),
        tuple(_parameter(sheet, *item) for item in sheet.items(parts.get("parameters"), f"{path}.parameters")),
        tuple(_permissions(sheet, parts.get("permissions"), f"{path}.permissions")),
    )


def _parameter(sheet: Sheet, node: yaml.Node, path: str) -> Parameter:
    parts = sheet.mapping(node, path, required=("slug", "name", "type"), optional=("optional", "description"))
    return Parameter(
        _text(sheet, parts, path, "slug"),
        _text(sheet, parts, path, "name"),
        sheet.choice(parts.get("type"), f"{path}.type", ParameterType) or ParameterType.STRING,
        sheet.scalar(parts.get("optional"), f"{path}.optional", BOOLEAN) == "true",
        _text(sheet, parts, path, "description"),
    )


def _permissions(sheet: Sheet, node: yaml.Node | None, path: str) -> list[Permission]:
    found = []
    for number, (slug, values) in enumerate(sheet.entries(node, path)):
        where = f"{path}[{number}].values"
        texts = (sheet.scalar(value, at, TEXT) or "" for value, at in sheet.items(values, where))
        found.append(Permission(slug, tuple(texts)))
    return found


def _text(sheet: Sheet, parts: dict[str, yaml.Node], path: str, name: str) -> str:
    return sheet.scalar(parts.get(name), f"{path}.{name}", TEXT) or ""
