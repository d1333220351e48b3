"""Accounts: whom of a service's users an organization may ask about."""

from typing import NamedTuple

import uuid_utils

from server.core import catalogue, events, tasks
from server.core.allowances import Allowances
from server.core.caller import Caller
from server.core.errors import AccountExists, AccountNotFound, Fault, FaultKind, InvalidFields
from server.core.pages import Page, read_page
from server.store import accounts as store
from server.store.engine import Tx

MAX_USERNAME = 255


class Account(NamedTuple):
    """A user of a service, registered by an organization."""

    id: str
    service: str  # slug
    username: str
    create_time: int  # microseconds since 1970


async def register(tx: Tx, *, caller: Caller, service: str, username: str) -> Account:
    """Register a user of a service, which is named by slug or display name.

    Raises InvalidFields (account.service, account.username), AccountExists.
    """
    slug = await _service(tx, caller, service)
    faults = _faults(service, slug, username)
    if faults or slug is None:
        raise InvalidFields(faults)
    if await store.by_username(tx, organization_id=caller.tenant, service=slug, username=username):
        raise AccountExists(slug, username)
    account = store.Stored(str(uuid_utils.uuid7()), slug, username, tx.now)
    await store.add(tx, organization_id=caller.tenant, account=account)
    await _tell(tx, caller, "account.registered", account)
    return Account(*account)


async def get(tx: Tx, *, caller: Caller, account_id: str) -> Account:
    """Return one account. Raises AccountNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, account_id=account_id)
    if found is None:
        raise AccountNotFound(account_id)
    return Account(*found)


async def find(tx: Tx, *, caller: Caller, service: str, username: str) -> Account | None:
    """Return the account of this username; the service is named by its slug."""
    found = await store.by_username(tx, organization_id=caller.tenant, service=service, username=username)
    return Account(*found) if found else None


async def page(tx: Tx, *, caller: Caller, page_size: int, page_token: str) -> Page[Account]:
    """Return the organization's accounts, the oldest first. Raises InvalidFields."""
    asked = read_page(page_size, page_token)
    found = await store.page(tx, organization_id=caller.tenant, after=asked.after, most=asked.most)
    return asked.of([Account(*one) for one in found], lambda account: account.id)


async def deregister(tx: Tx, *, caller: Caller, account_id: str) -> None:
    """Remove an account, and end its tasks that no worker has. Raises AccountNotFound."""
    removed = await store.remove(tx, organization_id=caller.tenant, account_id=account_id)
    if removed is None:
        raise AccountNotFound(account_id)
    await tasks.fail_of_account(tx, caller=caller, service=removed.service, account=removed.username)
    await _tell(tx, caller, "account.deregistered", removed)


async def deregister_username(tx: Tx, *, caller: Caller, service: str, username: str) -> None:
    """As deregister, for a username of a service, which is named by slug or display name.

    A service that the catalogue does not have any more is known by its slug. Raises InvalidFields (account.service,
    account.username).
    """
    slug = await _service(tx, caller, service)
    found = await find(tx, caller=caller, service=slug or service.casefold(), username=username)
    if found is None or not Allowances(caller.allowed).has_service(found.service):
        unknown = Fault("account.username", "is no registered account", FaultKind.UNKNOWN_ACCOUNT)
        raise InvalidFields(_faults(service, slug, username) or (unknown,))
    await deregister(tx, caller=caller, account_id=found.id)


async def _service(tx: Tx, caller: Caller, name: str) -> str | None:
    """Return the slug of a service that the caller may ask something of."""
    slug = await catalogue.find_service(tx, name)
    return slug if slug and Allowances(caller.allowed).has_service(slug) else None


def _faults(service: str, slug: str | None, username: str) -> tuple[Fault, ...]:
    faults = []
    if not service:
        faults.append(Fault("account.service", "is required", FaultKind.MISSING))
    elif slug is None:
        faults.append(Fault("account.service", "is no service of the catalogue", FaultKind.UNKNOWN_SERVICE))
    if not username:
        faults.append(Fault("account.username", "is required", FaultKind.MISSING))
    elif len(username) > MAX_USERNAME or not username.isprintable():
        faults.append(Fault("account.username", f"must be 1 to {MAX_USERNAME} printable characters"))
    return tuple(faults)


async def _tell(tx: Tx, caller: Caller, action: str, account: store.Stored) -> None:
    about = events.Object("account", account.id)
    await events.record(tx, organization_id=caller.tenant, actor=caller, action=action, object=about)
