"""Organizations, and who may see which."""

import pytest

from server.core import organizations
from server.core.caller import Caller, Role
from server.core.errors import InvalidFields, OrganizationExists, OrganizationNotFound

OPERATOR = Caller("c", Role.OPERATOR, None, "", "")


async def admin_of(store, name) -> Caller:
    organization = await store.write(organizations.create, name=name)
    return Caller("c", Role.ADMIN, organization.id, name, "")


async def every_name(store, caller, page_size) -> list[str]:
    names, token = [], ""
    while True:
        page = await store.read(organizations.page, caller=caller, page_size=page_size, page_token=token)
        assert len(page.items) <= page_size
        names += [each.name for each in page.items]
        token = page.next_page_token
        if not token:
            return names


async def test_an_organization_is_found_by_the_name_it_was_created_with(store):
    created = await store.write(organizations.create, name="Ünal & Söhne")
    assert await store.read(organizations.get, caller=OPERATOR, name="Ünal & Söhne") == created
    assert created.create_time > 1_700_000_000_000_000


async def test_a_name_is_taken_once(store):
    await store.write(organizations.create, name="acme")
    with pytest.raises(OrganizationExists, match="There is an organization acme already"):
        await store.write(organizations.create, name="acme")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 101, "a\nb", "a\x00", "a\u2028b", "\ud800"])
async def test_a_name_that_no_organization_can_have_is_refused(store, name):
    with pytest.raises(InvalidFields) as raised:
        await store.write(organizations.create, name=name)
    assert [fault.field for fault in raised.value.faults] == ["organization.name"]


async def test_a_name_may_have_a_hundred_characters_of_any_script(store):
    name = "組" * 99 + " "
    assert (await store.write(organizations.create, name=name)).name == name


@pytest.mark.parametrize("name", ["nobody", "", "\ud800"])
async def test_an_unknown_name_is_told(store, name):
    with pytest.raises(OrganizationNotFound):
        await store.read(organizations.get, caller=OPERATOR, name=name)


async def test_another_organization_answers_as_an_unknown_one(store):
    acme = await admin_of(store, "acme")
    await admin_of(store, "other")
    assert (await store.read(organizations.get, caller=acme, name="acme")).name == "acme"
    refusals = []
    for name in ("other", "nobody"):
        with pytest.raises(OrganizationNotFound) as raised:
            await store.read(organizations.get, caller=acme, name=name)
        refusals.append(str(raised.value).replace(name, "…"))
    assert refusals[0] == refusals[1]


async def test_pages_hold_every_organization_once_in_order_of_names(store):
    names = ["b", "a", "ü", "c", "A"]
    for name in names:
        await store.write(organizations.create, name=name)
    for size in (1, 2, 5, 6):
        assert await every_name(store, OPERATOR, size) == sorted(names)


async def test_an_admin_s_list_is_its_own_organization(store):
    acme = await admin_of(store, "acme")
    await admin_of(store, "other")
    assert await every_name(store, acme, 1) == ["acme"]


@pytest.mark.parametrize("asked", [{"page_size": -1, "page_token": ""}, {"page_size": 1, "page_token": "?"}])
async def test_a_page_that_cannot_be_is_refused(store, asked):
    with pytest.raises(InvalidFields):
        await store.read(organizations.page, caller=OPERATOR, **asked)
