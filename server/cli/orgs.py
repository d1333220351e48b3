"""`taskhouse orgs`: the organizations of the house."""

import click

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
from server.core import organizations
from server.core.organizations import Organization
from server.core.pages import MAX_PAGE
from server.services.organizations import organization_to_proto
from server.settings import Settings
from server.store.engine import Store


@click.group()
def orgs() -> None:
    """Create and list organizations."""


@orgs.command()
@house_options
@click.argument("name")
@json_option
def create(settings: Settings, name: str, *, as_json: bool) -> None:
    """Create the organization NAME. Give it credentials with `taskhouse keys` and `taskhouse tokens`."""
    _print([in_house(settings, lambda store: store.write(organizations.create, name=name))], as_json=as_json)


@orgs.command("list")
@house_options
@json_option
def list_(settings: Settings, *, as_json: bool) -> None:
    """List all organizations by name."""
    _print(in_house(settings, _every), as_json=as_json)


async def _every(store: Store) -> list[Organization]:
    found: list[Organization] = []
    token = ""
    while True:
        page = await store.scan(organizations.page, caller=COMMAND_LINE, page_size=MAX_PAGE, page_token=token)
        found += page.items
        token = page.next_page_token
        if not token:
            return found


def _print(found: list[Organization], *, as_json: bool) -> None:
    if as_json:
        print_json(as_item(organization_to_proto(each)) for each in found)
    else:
        print_table(("NAME", "CREATED"), [(each.name, time_text(each.create_time)) for each in found])
