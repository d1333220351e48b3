"""What `taskhouse keys` and `taskhouse tokens` share: finding, listing and revoking."""

import time
from collections.abc import Callable

from server.cli.house import COMMAND_LINE, all_of, as_item, in_house, print_json, print_table, time_text
from server.core import credentials
from server.core.credentials import Credential
from server.core.errors import CredentialNotFound
from server.core.pages import MAX_PAGE
from server.services.credentials import credential_to_proto
from server.settings import Settings
from server.store.engine import Store

OF_HOUSE = "(the house)"
Cells = Callable[[Credential], tuple[str, ...]]


def list_credentials(
    settings: Settings, whose: str | None, *, tokens: bool, titles: tuple[str, ...], cells: Cells, as_json: bool
) -> None:
    """Print the keys or the tokens of an organization ("": the house; None: everybody), newest first.

    `titles` and `cells` are of the columns that only one type has.
    """
    found = [each for each in in_house(settings, lambda store: _every(store, whose)) if each.is_token is tokens]
    if as_json:
        print_json(as_item(credential_to_proto(each)) for each in found)
        return
    rows = [
        (
            each.id,
            each.organization or OF_HOUSE,
            *cells(each),
            each.display_name,
            time_text(each.create_time),
            _state(each),
        )
        for each in found
    ]
    print_table(("ID", "ORGANIZATION", *titles, "NAME", "CREATED", "STATE"), rows)


def revoke_credential(settings: Settings, credential_id: str, *, tokens: bool, as_json: bool) -> None:
    """Revoke a key or a token, and print it."""

    async def revoked(store: Store) -> Credential:
        await existing(store, credential_id, tokens=tokens)
        return await store.write(credentials.revoke, caller=COMMAND_LINE, credential_id=credential_id)

    credential = in_house(settings, revoked)
    if as_json:
        print_json([as_item(credential_to_proto(credential))])
    else:
        print_table(("ID", "STATE"), [(credential.id, _state(credential))])


async def existing(store: Store, credential_id: str, *, tokens: bool) -> Credential:
    """Return the key or the token with this id. Raises CredentialNotFound, also for one of the other type."""
    found = await store.read(credentials.get, caller=COMMAND_LINE, credential_id=credential_id)
    if found.is_token is not tokens:
        raise CredentialNotFound(credential_id)
    return found


async def _every(store: Store, whose: str | None) -> list[Credential]:
    if whose is None:
        return await all_of(lambda token: store.scan(credentials.page_of_all, page_token=token))
    return await all_of(
        lambda token: store.scan(
            credentials.page, caller=COMMAND_LINE, organization=whose, page_size=MAX_PAGE, page_token=token
        )
    )


def _state(credential: Credential) -> str:
    if credential.revoke_time is not None:
        return f"revoked {time_text(credential.revoke_time)}"
    if credential.expire_time is None:
        return "good"
    state = "expired" if credential.expire_time <= time.time_ns() // 1000 else "good until"
    return f"{state} {time_text(credential.expire_time)}"
