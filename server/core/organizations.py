"""Organizations: the tenants. Every row of the house belongs to one, and nothing crosses."""

import unicodedata
from typing import NamedTuple

from server.core import events
from server.core.caller import Caller
from server.core.errors import OrganizationExists, OrganizationNotFound, invalid
from server.core.pages import Page, read_page
from server.store import organizations as store
from server.store.engine import Tx

MAX_NAME = 100  # characters


class Organization(NamedTuple):
    """A tenant."""

    id: int
    name: str
    create_time: int  # microseconds since 1970
    sharing: bool  # whether all others may read its stats


async def create(tx: Tx, *, name: str) -> Organization:
    """Add an organization. Raises InvalidFields, OrganizationExists."""
    check_name(name)
    if await store.by_name(tx, name):
        raise OrganizationExists(name)
    await store.add(tx, name)
    return await _existing(tx, name)


async def get(tx: Tx, *, caller: Caller, name: str) -> Organization:
    """Return an organization that the caller may see: any for the house, else its own. Raises OrganizationNotFound."""
    if caller.organization_id is not None and name != caller.organization:
        raise OrganizationNotFound(name)
    return await _existing(tx, name)


async def page(tx: Tx, *, caller: Caller, page_size: int, page_token: str) -> Page[Organization]:
    """Return the organizations that the caller may see, in order of their names. Raises InvalidFields."""
    asked = read_page(page_size, page_token)
    if caller.organization_id is None:
        found = list(map(_organization, await store.page(tx, after=asked.after, most=asked.most)))
    else:
        own = await _existing(tx, caller.organization)
        found = [own] if own.name > asked.after else []
    return asked.of(found, lambda organization: organization.name)


async def share(tx: Tx, *, caller: Caller, name: str, sharing: bool) -> Organization:
    """Let all others read the stats of an organization that the caller may see, or not. Raises OrganizationNotFound."""
    found = await get(tx, caller=caller, name=name)
    if found.sharing is sharing:
        return found
    await store.share(tx, found.id, sharing=sharing)
    await events.record(
        tx,
        organization_id=found.id,
        actor=caller,
        action="organization.updated",
        object=events.Object("organization", name),
        before={"sharing": found.sharing},
        after={"sharing": sharing},
    )
    return found._replace(sharing=sharing)


async def readable(tx: Tx, *, caller: Caller) -> dict[int, str]:
    """Return the names of the organizations whose stats the caller may read, by their ids.

    These are its own and those that share; to whoever calls for no organization, all of them.
    """
    own = caller.organization_id
    found = await (store.every(tx) if own is None else store.readable(tx, own=own))
    return {each.id: each.name for each in found}


async def names(tx: Tx, *, caller: Caller, every: bool, skip: int, most: int) -> list[str]:
    """Return up to `most` names in their order, without the first `skip`: of all organizations, or of the readable."""
    found = [each.name for each in await store.every(tx)] if every else (await readable(tx, caller=caller)).values()
    return sorted(found)[skip : skip + most]


async def is_readable(tx: Tx, *, caller: Caller, every: bool, name: str) -> bool:
    """Say whether `names` has this one."""
    if every:
        return is_one_line(name) and await store.by_name(tx, name) is not None
    return name in (await readable(tx, caller=caller)).values()


async def owner(tx: Tx, *, caller: Caller, name: str) -> Organization | None:
    """Return the organization that a request means by `name`; None is the house.

    An empty name is the caller's own organization; to a caller of the house, the house. Raises OrganizationNotFound.
    """
    if caller.organization_id is None and not name:
        return None
    return await get(tx, caller=caller, name=name or caller.organization)


def check_name(name: str) -> None:
    """Raise InvalidFields unless an organization can have this name."""
    if not 1 <= len(name) <= MAX_NAME or "/" in name or not is_one_line(name):
        raise invalid("organization.name", f'must be 1 to {MAX_NAME} characters, no control characters and no "/"')


def is_one_line(text: str) -> bool:
    """Say whether the text has no control characters, line ends or broken code points, and can stand in any list."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


async def _existing(tx: Tx, name: str) -> Organization:
    # A name that cannot be stored (such as half a surrogate pair from a command line) cannot be looked up either.
    found = await store.by_name(tx, name) if is_one_line(name) else None
    if found is None:
        raise OrganizationNotFound(name)
    return _organization(found)


def _organization(stored: store.Stored) -> Organization:
    return Organization(stored.id, stored.name, stored.create_time, bool(stored.sharing))
