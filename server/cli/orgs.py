"""`taskhouse orgs`: the organizations of the house."""

import click

from server.cli.house import (
    COMMAND_LINE,
    all_organizations,
    as_item,
    house_options,
    in_house,
    json_option,
    print_facts,
    print_json,
    print_table,
    time_text,
    token_option,
)
from server.core import credentials, organizations
from server.core.organizations import Organization, ReasonMode
from server.services.organizations import organization_to_proto
from server.settings import Settings

_SWITCH = click.Choice(["on", "off"])


@click.group()
def orgs() -> None:
    """Create, list and change organizations."""


@orgs.command()
@house_options
@click.argument("name")
@token_option
@json_option
def create(settings: Settings, name: str, token: str | None, *, as_json: bool) -> None:
    """Create the organization NAME and its token of the monarc API, which is shown this once.

    Give it other credentials with `taskhouse keys` and `taskhouse tokens`.
    """
    secret = credentials.make_token("monarc") if token is None else token
    digest = credentials.token_digest(secret)
    created = in_house(
        settings,
        lambda store: store.write(credentials.found_organization, caller=COMMAND_LINE, name=name, digest=digest),
    )
    if as_json:
        print_json([as_item(organization_to_proto(created)) | {"token": secret}])
    else:
        print_facts({"Name": created.name, "Token": secret})


@orgs.command("set")
@house_options
@click.argument("name")
@click.option("--sharing", type=_SWITCH, help="Whether all other organizations may read its stats.")
@click.option("--workflow", type=_SWITCH, help="Whether changes of its rules wait until somebody accepts them.")
@click.option(
    "--reason",
    type=click.Choice([mode.value for mode in ReasonMode]),
    help="Whether those who change its rules say why.",
)
@json_option
def set_(
    settings: Settings, name: str, sharing: str | None, workflow: str | None, reason: str | None, *, as_json: bool
) -> None:
    """Change settings of the organization NAME."""
    if sharing is workflow is reason is None:
        raise click.UsageError("give what is to be set, for example --sharing on")
    wanted = organizations.Settings(_is_on(sharing), _is_on(workflow), ReasonMode(reason) if reason else None)
    changed = in_house(
        settings,
        lambda store: store.write(organizations.update, caller=COMMAND_LINE, name=name, settings=wanted),
    )
    _print([changed], as_json=as_json)


def _is_on(switch: str | None) -> bool | None:
    return None if switch is None else switch == "on"


@orgs.command("list")
@house_options
@json_option
def list_(settings: Settings, *, as_json: bool) -> None:
    """List all organizations by name."""
    _print(in_house(settings, all_organizations), as_json=as_json)


def _print(found: list[Organization], *, as_json: bool) -> None:
    if as_json:
        print_json(as_item(organization_to_proto(each)) for each in found)
    else:
        on = ("off", "on")
        rows = [
            (each.name, time_text(each.create_time), on[each.sharing], on[each.workflow], each.reason_mode)
            for each in found
        ]
        print_table(("NAME", "CREATED", "SHARING", "WORKFLOW", "REASON"), rows)
