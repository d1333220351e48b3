"""Organizations: the tenants. Every row of the house belongs to one, and nothing crosses."""

import unicodedata
from enum import StrEnum
from typing import NamedTuple

from server.core import events
from server.core.caller import Caller
from server.core.errors import OrganizationExists, OrganizationNotFound, invalid
from server.core.pages import Page, read_page
from server.store import organizations as store
from server.store.engine import Tx

MAX_NAME = 100  # characters


class ReasonMode(StrEnum):
    """Whether those who change rules say why."""

    DISABLED = "disabled"  # Reasons are not read.
    OPTIONAL = "optional"
    MANDATORY = "mandatory"


class Review(NamedTuple):
    """How changes of an organization's rules are reviewed."""

    workflow: bool  # They wait as change requests until somebody accepts them.
    reason_mode: ReasonMode


class Settings(NamedTuple):
    """What of an organization is to be set; None: nothing."""

    sharing: bool | None = None
    workflow: bool | None = None
    reason_mode: ReasonMode | None = None


class Organization(NamedTuple):
    """A tenant."""

    id: int
    name: str
    create_time: int  # microseconds since 1970
    sharing: bool  # whether all others may read its stats
    workflow: bool  # whether changes of its rules wait as change requests
    reason_mode: ReasonMode  # of changes of its rules


async def establish(tx: Tx, *, caller: Caller, name: str) -> Organization:
    """Add an organization, and tell of it in the house's log. Raises InvalidFields, OrganizationExists."""
    created = await create(tx, name=name)
    about = events.Object("organization", name)
    await events.record(tx, organization_id=None, actor=caller, action="organization.created", object=about)
    return created


async def create(tx: Tx, *, name: str) -> Organization:
    """Add an organization, without an event. Raises InvalidFields, OrganizationExists."""
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


async def update(tx: Tx, *, caller: Caller, name: str, settings: Settings) -> Organization:
    """Change settings of an organization that the caller may see. Raises OrganizationNotFound."""
    old = await get(tx, caller=caller, name=name)
    new = old._replace(**{field: value for field, value in settings._asdict().items() if value is not None})
    names = [field for field in Settings._fields if getattr(old, field) != getattr(new, field)]
    if not names:
        return old
    await store.put(tx, store.Stored(*new)._replace(sharing=int(new.sharing), workflow=int(new.workflow)))
    await events.record(
        tx,
        organization_id=old.id,
        actor=caller,
        action="organization.updated",
        object=events.Object("organization", name),
        before={field: getattr(old, field) for field in names},
        after={field: getattr(new, field) for field in names},
    )
    return new


async def review_of(tx: Tx, organization_id: int, *, in_turn: bool = False) -> Review:
    """Return how changes of the organization's rules are reviewed.

    A verb that changes rules begins with this, in turn: whoever else does waits until its commit, and sees then what it
    has changed.
    """
    stored = await store.review(tx, organization_id, in_turn=in_turn)
    assert stored is not None  # noqa: S101 - organizations are never deleted.
    return Review(bool(stored.workflow), ReasonMode(stored.reason_mode))


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
    return Organization(
        stored.id,
        stored.name,
        stored.create_time,
        bool(stored.sharing),
        bool(stored.workflow),
        ReasonMode(stored.reason_mode),
    )
