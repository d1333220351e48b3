"""`taskhouse tokens`: what callers send as `Authorization`."""

from datetime import timedelta

import click

from server.cli.credentials import OF_HOUSE, existing, list_credentials, revoke_credential
from server.cli.house import (
    COMMAND_LINE,
    Period,
    as_item,
    house_options,
    in_house,
    json_option,
    owner_of,
    owner_options,
    print_facts,
    print_json,
    time_text,
    token_option,
)
from server.core import credentials
from server.core.caller import TOKENS
from server.core.credentials import Credential, NewToken
from server.services.credentials import credential_to_proto
from server.settings import Settings
from server.store.engine import Store

_NAMES = {role: (api, name) for api, roles in TOKENS.items() for name, role in roles.items()}
"""By roles: the API, and the access or, for asapi, the retrieval."""


@click.group()
def tokens() -> None:
    """Create, list, renew and revoke tokens."""


@tokens.command()
@house_options
@owner_options
@click.option("--api", type=click.Choice(list(TOKENS)), required=True, help="The API that it opens.")
@click.option("--access", type=click.Choice(list(TOKENS["grpc"])), help="How much it may do; default: write.")
@click.option(
    "--retrieval", type=click.Choice(list(TOKENS["asapi"])), help="asapi: how results come back; it has no --access."
)
@click.option(
    "--allow",
    metavar="SERVICE/ACTION[:PARAMETER=VALUE,…]",
    multiple=True,
    help="asapi: what it may ask for; repeatable. Default: the whole catalogue.",
)
@click.option("--name", default="", help="What people call it.")
@token_option
@click.option("--expires", type=Period(), metavar="90d", help="How long it is good; default: for ever.")
@json_option
def create(
    settings: Settings,
    org: str | None,
    api: str,
    access: str | None,
    retrieval: str | None,
    allow: tuple[str, ...],
    name: str,
    token: str | None,
    expires: timedelta | None,
    *,
    house: bool,
    as_json: bool,
) -> None:
    """Create a token and show it, this once: the house keeps only its hash.

    A grpc token of the house does tasks (--access write) or operates the house (--access admin); a monarc token of the
    house is good for the stats of every organization.
    """
    if api == "asapi" and access:
        raise click.UsageError("tokens of asapi have no --access")
    if api == "asapi" and house:
        raise click.UsageError("a token of asapi belongs to an organization: give --org NAME")
    if api != "asapi" and retrieval:
        raise click.UsageError("only tokens of asapi have --retrieval")
    wanted = NewToken(
        organization=owner_of(org, house=house),
        kind=TOKENS[api].get((retrieval or "") if api == "asapi" else (access or "write")),
        api=api,
        allowed=allow,
        display_name=name,
        valid_seconds=None if expires is None else expires.total_seconds(),
    )
    credentials.refuse_if(wanted.faults(COMMAND_LINE))
    secret = credentials.make_token(api) if token is None else token
    digest = credentials.token_digest(secret)
    credential = in_house(
        settings,
        lambda store: store.write(credentials.create_token, caller=COMMAND_LINE, wanted=wanted, digest=digest),
    )
    _print(credential, secret, as_json=as_json)


@tokens.command("list")
@house_options
@owner_options
@json_option
def list_(settings: Settings, org: str | None, *, house: bool, as_json: bool) -> None:
    """List tokens, newest first: everybody's, an organization's, or those of the house."""
    list_credentials(
        settings,
        owner_of(org, house=house) if org or house else None,
        tokens=True,
        titles=("API", "ACCESS OR RETRIEVAL"),
        cells=lambda token: _NAMES[token.kind],
        as_json=as_json,
    )


@tokens.command()
@house_options
@click.argument("credential_id", metavar="ID")
@json_option
def revoke(settings: Settings, credential_id: str, *, as_json: bool) -> None:
    """Refuse the token ID from its next call on, for ever."""
    revoke_credential(settings, credential_id, tokens=True, as_json=as_json)


@tokens.command()
@house_options
@click.argument("credential_id", metavar="ID")
@json_option
def regenerate(settings: Settings, credential_id: str, *, as_json: bool) -> None:
    """Give the token ID another secret and show it, this once. The old one is refused from its next call on."""

    async def regenerated(store: Store) -> tuple[Credential, str]:
        found = await existing(store, credential_id, tokens=True)
        secret = credentials.make_token(_NAMES[found.kind][0])
        digest = credentials.token_digest(secret)
        renewed = await store.write(
            credentials.regenerate, caller=COMMAND_LINE, credential_id=credential_id, digest=digest
        )
        return renewed, secret

    _print(*in_house(settings, regenerated), as_json=as_json)


def _print(credential: Credential, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json([{"credential": as_item(credential_to_proto(credential)), "token": secret}])
        return
    print_facts(
        {
            "id": credential.id,
            "organization": credential.organization or OF_HOUSE,
            "api": _NAMES[credential.kind][0],
            "retrieval" if _NAMES[credential.kind][0] == "asapi" else "access": _NAMES[credential.kind][1],
            "allow": " ".join(credential.allowed),
            "name": credential.display_name,
            "expires": time_text(credential.expire_time),
            "token (shown once)": secret,
        }
    )
