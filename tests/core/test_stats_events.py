"""What is told of stats that were deleted."""

import pytest

from server.core import events, stats
from server.core.caller import Caller, Role
from server.core.errors import StatNotFound
from server.core.events import Event
from server.core.stats_content import read_new, time_of
from server.core.stats_filters import Condition, Operator
from server.core.stats_searching import Purged, Searching
from tests.core import scenes

UUID = "76a3999f-ab22-4008-a540-f68082f44cb2"
EVERYBODY = Caller("h", Role.MONARC_ADMIN, None, "", "", "Hugo")


@pytest.fixture
async def acme(store):
    return await scenes.organization(store, "acme", Role.MONARC_WRITE)


async def stored(store, caller, **more):
    given = {"type": "risk", "anr": 2, "day": 1, "week": 1, "month": 1, "data": {"who": "Anna"}} | more
    [stat] = await store.write(stats.create, caller=caller, contents=[read_new(given)])
    return stat


async def told(store, organization_id, kind="stat") -> list[Event]:
    """The events of stats in a log."""
    found = await store.read(events.page, organization_id=organization_id, after=0, most=100)
    return [event for event in found if event.object.kind == kind]


async def test_a_stat_that_is_deleted_leaves_an_event_where_it_was(store, acme):
    stat = await stored(store, acme, uuid=UUID)
    await store.write(stats.delete, caller=EVERYBODY, stat_id=stat.id)
    [event] = await told(store, acme.tenant)
    assert (event.action, event.object.id, event.actor_name) == ("stat.deleted", stat.id, "Hugo")
    assert event.before == {"uuid": UUID, "type": "risk"}
    with pytest.raises(StatNotFound):
        await store.write(stats.delete, caller=acme, stat_id=stat.id)
    assert len(await told(store, acme.tenant)) == 1


async def test_a_purge_leaves_an_event_with_how_many_and_which_but_not_what_their_data_was_compared_with(store, acme):
    for day in range(3):
        await stored(store, acme, created_at="2019-01-01", day=day + 1)
    before = time_of("2020-01-01")
    conditions = (
        Condition("created_at", (), Operator.LT, False, (before,)),
        Condition("data", ("who",), Operator.EXACT, False, ("Anna",)),
        Condition("type", (), Operator.IN, True, ("x" * 1000, *map(str, range(30)), None)),
        Condition("day", (), Operator.LT, False, (10**400,)),
    )
    assert await Searching(store).purge(caller=acme, conditions=conditions) == Purged(3, has_more=False)
    [event] = await told(store, acme.tenant)
    assert (event.action, event.object.id) == ("stat.purged", "")
    assert event.after["deleted"] == 3
    created, data, kind, day = event.after["filters"]
    assert created == {"field": "created_at", "operator": "lt", "negated": False, "values": [str(before)]}
    assert data == {"field": "data.who", "operator": "exact", "negated": False}
    assert (kind["negated"], len(kind["values"]), len(kind["values"][0])) == (True, 20, 200)
    assert day["values"] == ["1" + "0" * 198 + "…"]


async def test_a_purge_that_finds_nothing_leaves_no_event(store, acme):
    await stored(store, acme)
    old = (Condition("created_at", (), Operator.LT, False, (time_of("2020-01-01"),)),)
    assert await Searching(store).purge(caller=acme, conditions=old) == Purged(0, has_more=False)
    assert await told(store, acme.tenant) == []


async def test_whoever_purges_for_the_house_is_told_in_its_log(store, acme):
    await stored(store, acme, created_at="2019-01-01")
    old = (Condition("created_at", (), Operator.LT, False, (time_of("2020-01-01"),)),)
    await Searching(store).purge(caller=EVERYBODY, conditions=old)
    assert [event.after["deleted"] for event in await told(store, None)] == [1]
