"""The event log."""

import asyncio
from hashlib import sha256

import pytest

from server.core import credentials, events
from server.core.caller import Caller, Role
from server.core.events import Object
from tests.core.scenes import HOUSE, organization

ANNA = Caller("c1", Role.ADMIN, 1, "acme", "", "Anna")


async def record(tx, organization_id, object_id="heights", **more):
    heights = Object("dataset", object_id)
    return await events.record(
        tx, organization_id=organization_id, actor=ANNA, action="dataset.user_erased", object=heights, **more
    )


async def log(store, organization_id, after=0, most=1000):
    return await store.read(events.page, organization_id=organization_id, after=after, most=most)


async def test_an_event_tells_who_did_what_when_and_why(store):
    acme = await organization(store)
    said = {"before": {"version": 1}, "after": {"version": 2}, "reason": "asked to"}
    assert await store.write(record, acme.tenant, **said) == 1
    (event,) = await log(store, acme.tenant)
    assert event.event_time > 0
    assert event[:9] == (
        *(1, event.event_time, "c1", "Anna", "dataset.user_erased", Object("dataset", "heights")),
        *({"version": 1}, {"version": 2}, "asked to"),
    )


async def test_what_is_not_said_of_an_event_is_empty(store):
    await store.write(record, None)
    (event,) = await log(store, None)
    assert (event.before, event.after, event.reason) == (None, None, "")


async def test_each_organization_and_the_house_have_logs_of_their_own(store):
    acme, other = await organization(store), await organization(store, "other")
    for owner in (acme.tenant, other.tenant, None, acme.tenant):
        await store.write(record, owner, f"of {owner}")
    for owner, numbers in ((acme.tenant, [1, 2]), (other.tenant, [1]), (None, [1])):
        found = await log(store, owner)
        assert [event.sequence for event in found] == numbers
        assert {event.object.id for event in found} == {f"of {owner}"}


async def test_events_are_read_in_their_order_and_by_pages(store):
    for number in range(5):
        await store.write(record, None, str(number))
    assert [event.object.id for event in await log(store, None, after=1, most=3)] == ["1", "2", "3"]
    assert await log(store, None, after=5) == []


async def test_a_change_that_fails_leaves_no_event_and_no_gap(store):
    async def fails(tx):
        await record(tx, None, "lost")
        raise KeyError

    with pytest.raises(KeyError):
        await store.write(fails)
    await store.write(record, None, "kept")
    assert [(event.sequence, event.object.id) for event in await log(store, None)] == [(1, "kept")]


async def test_many_at_once_are_numbered_without_gaps(store):
    given = await asyncio.gather(*(store.write(record, None, str(number)) for number in range(30)))
    assert sorted(given) == list(range(1, 31))
    assert {event.sequence: event.object.id for event in await log(store, None)} == {
        sequence: str(number) for number, sequence in enumerate(given)
    }


async def test_the_actor_s_name_is_that_of_the_credential(store):
    digest = sha256(b"t").digest()
    wanted = credentials.NewToken(organization="", kind=Role.TOKEN_ADMIN, display_name="night shift")
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    found = await store.read(credentials.by_digest, digest=digest, token=True)
    assert found.caller.name == "night shift"
