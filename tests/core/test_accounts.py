"""Accounts, and whose they are."""

from dataclasses import replace

import pytest

from server.core import accounts, catalogue, events, organizations
from server.core.caller import Caller, Role
from server.core.errors import AccountExists, AccountNotFound, FaultKind, InvalidFields

OPERATOR = Caller("c", Role.OPERATOR, None, "", "")


@pytest.fixture
async def services(store):
    there_are = (catalogue.Service("icloud", "iCloud", ()), catalogue.Service("mail", "Mail", ()))
    await store.write(catalogue.apply, caller=OPERATOR, services=there_are)


async def admin_of(store, name) -> Caller:
    organization = await store.write(organizations.create, name=name)
    return Caller("c", Role.ADMIN, organization.id, name, "", "Ada")


@pytest.fixture
async def admin(store, services) -> Caller:
    return await admin_of(store, "acme")


async def register(store, caller, username="john@example.com", service="icloud"):
    return await store.write(accounts.register, caller=caller, service=service, username=username)


async def faults_of(call) -> list[tuple[str, FaultKind]]:
    with pytest.raises(InvalidFields) as raised:
        await call
    return [(fault.field, fault.kind) for fault in raised.value.faults]


@pytest.mark.parametrize("service", ["icloud", "iCloud", "ICLOUD"])
async def test_an_account_is_registered_under_any_name_of_its_service(store, admin, service):
    account = await register(store, admin, service=service)
    assert account.service == "icloud"
    assert await store.read(accounts.get, caller=admin, account_id=account.id) == account


async def test_a_username_is_registered_once_a_service(store, admin):
    await register(store, admin)
    await register(store, admin, service="mail")
    with pytest.raises(AccountExists):
        await register(store, admin)


async def test_organizations_register_the_same_username_and_see_only_their_own(store, admin):
    other = await admin_of(store, "other")
    mine, theirs = await register(store, admin), await register(store, other)
    for call in (accounts.get, accounts.deregister):
        with pytest.raises(AccountNotFound):
            await store.write(call, caller=admin, account_id=theirs.id)
    assert (await store.read(accounts.page, caller=admin, page_size=0, page_token="")).items == [mine]


async def test_an_account_that_was_deregistered_is_gone_and_can_be_registered_again(store, admin):
    first = await register(store, admin)
    await store.write(accounts.deregister_username, caller=admin, service="iCloud", username="john@example.com")
    with pytest.raises(AccountNotFound):
        await store.read(accounts.get, caller=admin, account_id=first.id)
    assert (await register(store, admin)).id != first.id


async def test_an_account_that_is_not_registered_cannot_be_deregistered(store, admin):
    call = store.write(accounts.deregister_username, caller=admin, service="icloud", username="nobody")
    assert await faults_of(call) == [("account.username", FaultKind.UNKNOWN_ACCOUNT)]


@pytest.mark.parametrize(
    ("service", "username", "faults"),
    [
        ("", "", [("account.service", FaultKind.MISSING), ("account.username", FaultKind.MISSING)]),
        ("nothing", "j", [("account.service", FaultKind.UNKNOWN_SERVICE)]),
        ("icloud", "x" * 256, [("account.username", FaultKind.INVALID)]),
        ("icloud", "a\x00b", [("account.username", FaultKind.INVALID)]),
    ],
)
async def test_every_fault_is_told(store, admin, service, username, faults):
    assert await faults_of(register(store, admin, username, service)) == faults
    call = store.write(accounts.deregister_username, caller=admin, service=service, username=username)
    assert await faults_of(call) == faults


async def test_an_account_whose_service_is_gone_is_deregistered_by_its_slug(store, admin):
    await register(store, admin)
    await store.write(catalogue.apply, caller=OPERATOR, services=())
    gone = {"service": "iCloud", "username": "john@example.com"}
    other = await admin_of(store, "other")
    limited = replace(admin, allowed=("mail/log-in",))
    for stranger in (other, limited):
        call = store.write(accounts.deregister_username, caller=stranger, **gone)
        assert await faults_of(call) == [("account.service", FaultKind.UNKNOWN_SERVICE)]
    await store.write(accounts.deregister_username, caller=admin, **gone)
    assert (await store.read(accounts.page, caller=admin, page_size=0, page_token="")).items == []


async def test_the_log_tells_who_registered_and_deregistered_and_names_no_user(store, admin):
    account = await register(store, admin)
    await store.write(accounts.deregister, caller=admin, account_id=account.id)
    told = await store.read(events.page, organization_id=admin.organization_id, after=0, most=10)
    assert [(one.action, one.object.id, one.actor_name) for one in told] == [
        ("account.registered", account.id, "Ada"),
        ("account.deregistered", account.id, "Ada"),
    ]
    assert "john" not in repr(told)


async def test_pages_go_through_all_accounts(store, admin):
    registered = [await register(store, admin, f"user{number}") for number in range(5)]
    found, token = [], ""
    while not found or token:
        page = await store.read(accounts.page, caller=admin, page_size=2, page_token=token)
        found += page.items
        token = page.next_page_token
    assert found == registered
