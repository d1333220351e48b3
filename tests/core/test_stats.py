"""Stats: who sees which, retrying, changing one's own, and how long a search may take."""

import asyncio
from functools import partial

import pytest

from server.core import organizations, stats
from server.core.caller import Role
from server.core.errors import InvalidFields, SearchTooLong, StatExists, StatNotFound
from server.core.stats import Asked
from server.core.stats_content import read_changes, time_of, time_text
from server.core.stats_filters import Condition, Operator, values_of
from server.core.stats_searching import Searching
from tests.core import scenes
from tests.core.measured import EVERYBODY, UUID, content, found, stored, where
from tests.store.names import names_for_ever


@pytest.fixture
async def acme(store):
    return await scenes.organization(store, "acme", Role.MONARC_WRITE)


@pytest.fixture
async def other(store):
    return await scenes.organization(store, "other", Role.MONARC_WRITE)


async def test_ids_have_24_digits_and_grow_with_every_stat(store, acme):
    made = await stored(store, acme, *(content(day=day) for day in range(300)))
    made += await stored(store, acme, content())
    ids = [stat.id for stat in made]
    assert ids == sorted(set(ids))
    assert all(len(each) == 24 and set(each) <= set("0123456789abcdef") for each in ids)
    page = await found(store, acme, limit=1000)
    assert [stat.id for stat in page.stats] == ids


async def test_a_stat_that_is_sent_again_is_told_again_and_another_is_refused(store, acme, other):
    [first] = await stored(store, acme, content(uuid=UUID.upper(), year=2020))
    assert first.uuid == UUID
    assert await stored(store, acme, content(uuid=UUID, year=2020)) == [first]
    for changes in ({"year": 2021}, {}, {"year": 2020, "quarter": 1}, {"year": 2020, "data": {"what": "else"}}):
        with pytest.raises(StatExists) as raised:
            await stored(store, acme, content(day=9), content(uuid=UUID, **changes))
        assert raised.value.stat_id == first.id
    assert len((await found(store, acme)).stats) == 1
    [theirs] = await stored(store, other, content(uuid=UUID))
    assert theirs.id != first.id


async def test_the_order_of_members_is_no_other_content_but_digits_are(store, acme):
    [first] = await stored(store, acme, content(uuid=UUID, data={"a": {"x": 1, "y": [1.5]}, "b": True}))
    assert await stored(store, acme, content(uuid=UUID, data={"b": True, "a": {"y": [1.5], "x": 1}})) == [first]
    for data in ({"b": True, "a": {"y": [1.5], "x": 2}}, {"b": 1, "a": {"y": [1.5], "x": 1}}, {"a": {"x": 1}}):
        with pytest.raises(StatExists):
            await stored(store, acme, content(uuid=UUID, data=data))


async def test_of_a_batch_that_need_not_be_whole_the_good_ones_are_stored(store, acme):
    contents = [content(uuid=UUID), content(uuid=UUID), content(uuid=UUID, day=9), content(day=3)]
    results = await store.write(stats.create, caller=acme, contents=contents, whole=False)
    assert [type(result).__name__ for result in results] == ["Stat", "Stat", "StatExists", "Stat"]
    assert results[0] == results[1]
    assert len((await found(store, acme)).stats) == 2


async def test_an_organization_sees_its_own_and_what_others_share(store, acme, other):
    [mine], [theirs] = await stored(store, acme, content()), await stored(store, other, content())
    assert (await found(store, acme)).stats == [mine]
    for stat_id in (theirs.id, "0" * 24, "xyz", ""):
        with pytest.raises(StatNotFound):
            await store.read(stats.get, caller=acme, stat_id=stat_id)
    await store.write(
        organizations.update, caller=scenes.HOUSE, name="other", settings=organizations.Settings(sharing=True)
    )
    assert (await found(store, acme)).stats == [mine, theirs]
    assert await store.read(stats.get, caller=acme, stat_id=theirs.id) == theirs
    assert (await found(store, other)).stats == [theirs]
    for verb, asked in ((stats.delete, {}), (stats.update, {"values": read_changes({"day": 2})})):
        with pytest.raises(StatNotFound):
            await store.write(verb, caller=acme, stat_id=theirs.id, **asked)
    await store.write(
        organizations.update, caller=scenes.HOUSE, name="other", settings=organizations.Settings(sharing=False)
    )
    assert (await found(store, acme)).stats == [mine]


async def test_a_caller_of_the_house_sees_everything_and_names_whose_new_stats_are(store, acme, other):
    [mine], [theirs] = await stored(store, acme, content()), await stored(store, other, content())
    assert (await found(store, EVERYBODY)).stats == [mine, theirs]
    with pytest.raises(InvalidFields) as raised:
        await stored(store, EVERYBODY, content())
    assert [fault.field for fault in raised.value.faults] == ["organization"]
    [made] = await store.write(stats.create, caller=EVERYBODY, contents=[content()], organization="other")
    assert made.organization == "other"


async def test_the_organization_is_a_filter_like_any_other(store, acme, other):
    await stored(store, acme, content())
    await stored(store, other, content())
    for operator, value, names in (
        (Operator.EXACT, "acme", ["acme"]),
        (Operator.EXACT, "nobody", []),
        (Operator.ICONTAINS, "CM", ["acme"]),
        (Operator.GT, "b", ["other"]),
        (Operator.ENDSWITH, "r", ["other"]),
    ):
        asked = (where("organization", operator, value),)
        assert [stat.organization for stat in (await found(store, EVERYBODY, conditions=asked)).stats] == names
    asked = (where("organization", Operator.EXACT, "other"),)
    assert (await found(store, acme, conditions=asked)).stats == []


async def test_a_stat_is_changed_and_tells_when(store, acme):
    [first, second] = await stored(store, acme, content(type="été"), content(uuid=UUID))
    changes = read_changes({"day": "7", "data": {"x": [1, 2]}, "year": 2021, "unknown": 1})
    changed = await store.write(stats.update, caller=acme, stat_id=first.id, values=changes)
    assert (changed.day, changed.data, changed.year, changed.type) == (7, '{"x": [1, 2]}', 2021, "été")
    assert changed.update_time >= first.update_time
    assert await store.read(stats.get, caller=acme, stat_id=first.id) == changed
    leaf = (Condition("data", ("x",), Operator.SIZE, False, (2,)), where("type", Operator.ICONTAINS, "ÉT"))
    assert (await found(store, acme, conditions=leaf)).stats == [changed]
    with pytest.raises(StatExists) as raised:
        await store.write(stats.update, caller=acme, stat_id=first.id, values=read_changes({"uuid": UUID}))
    assert raised.value.stat_id == second.id
    again = await store.write(stats.update, caller=acme, stat_id=first.id, values=read_changes({"year": None}))
    assert again.year is None
    assert (await found(store, acme, conditions=leaf)).stats == [again]
    for changes in ({"type": "plain"}, {"type": "ÎLE"}, {"data": {"x": [3, 4]}}, {"type": "ça", "data": {"x": [5, 6]}}):
        again = await store.write(stats.update, caller=acme, stat_id=first.id, values=read_changes(changes))
        kind = where("type", Operator.ICONTAINS, again.type[:2].swapcase())
        assert (await found(store, acme, conditions=(leaf[0], kind))).stats == [again]
        assert not (await found(store, acme, conditions=(leaf[1],))).stats


async def test_in_the_transaction_of_a_change_no_data_is_read(store, acme, monkeypatch):
    [made] = await stored(store, acme, content(type="été"))
    changes = [read_changes(one) for one in ({"day": 2}, {"type": "ÉTÉ", "data": [1]})]
    monkeypatch.setattr(stats, "leaves_of", None)
    for values in changes:
        await store.write(stats.update, caller=acme, stat_id=made.id, values=values)


async def test_purging_deletes_one_s_own_old_stats_slice_by_slice(store, acme, other, monkeypatch):
    monkeypatch.setattr(stats, "SLICE", 3)
    await store.write(
        organizations.update, caller=scenes.HOUSE, name="other", settings=organizations.Settings(sharing=True)
    )
    old, new = content(created_at="2019-01-01"), content(created_at="2021-01-01")
    await stored(store, acme, *([old] * 7), new)
    await stored(store, other, old)
    age = (where("created_at", Operator.LT, time_of("2020-01-01")),)
    deleted = []
    purge = stats.purge

    async def purged(*asked, **more):
        deleted.append(await purge(*asked, **more))
        return deleted[-1]

    monkeypatch.setattr(stats, "purge", purged)
    assert await Searching(store).purge(caller=acme, conditions=age) == (7, False)
    assert deleted == [3, 3, 1]
    assert [stat.organization for stat in (await found(store, acme)).stats] == ["acme", "other"]


async def test_what_was_changed_or_is_another_s_is_not_purged(store, acme, other):
    old = [content(created_at="2019-01-01", data={"n": number}) for number in range(3)]
    made, [theirs] = await stored(store, acme, *old), await stored(store, other, old[0])
    conditions = (
        where("created_at", Operator.LT, time_of("2020-01-01")),
        Condition("data", ("n",), Operator.LT, False, (2,)),
        where("type", Operator.IN, "risk", "threat"),
        where("month", Operator.IN, 7, negated=True),
    )
    ids = await store.search(stats.own, caller=acme, conditions=conditions, after="")
    assert ids == [made[0].id, made[1].id]
    changes = read_changes({"created_at": "2021-01-01"})
    await store.write(stats.update, caller=acme, stat_id=made[0].id, values=changes)
    ids.append(theirs.id)
    assert await store.write(stats.purge, caller=acme, conditions=conditions, ids=ids) == 1
    assert [stat.data for stat in (await found(store, EVERYBODY)).stats] == ['{"n": 0}', '{"n": 2}', '{"n": 0}']


async def test_a_search_that_takes_too_long_is_given_up_and_a_purge_says_how_far_it_came(store, acme, monkeypatch):
    await stored(store, acme, *(content(day=day, created_at="2019-01-01") for day in range(5)))
    monkeypatch.setattr("server.core.stats_searching.SEARCH_SECONDS", 1)
    monkeypatch.setattr(stats, "SLICE", 2)
    searching, real = Searching(store), store.search
    begun = []

    async def endless_after(first, verb, **asked):
        begun.append(verb)
        return await (real(verb, **asked) if len(begun) <= first else real(names_for_ever))

    asked = Asked((where("day", Operator.GT, 1),), limit=1000)
    monkeypatch.setattr(store, "search", partial(endless_after, 0))
    with pytest.raises(SearchTooLong):
        await searching.page(caller=acme, asked=asked)
    age = (where("created_at", Operator.LT, time_of("2020-01-01")),)
    with pytest.raises(SearchTooLong):
        await searching.purge(caller=acme, conditions=age)
    begun.clear()
    monkeypatch.setattr(store, "search", partial(endless_after, 1))
    assert await searching.purge(caller=acme, conditions=age) == (2, True)
    monkeypatch.undo()
    assert len((await searching.page(caller=acme, asked=asked)).stats) == 3


async def test_an_organization_s_long_searches_wait_for_each_other_and_keep_nobody_else(
    store, acme, other, monkeypatch
):
    await stored(store, acme, *(content(day=day) for day in range(5)))
    searching, real = Searching(store), store.search
    hard = Asked((where("day", Operator.GT, 1),), limit=1000)

    async def endless(verb, *, caller, **asked):
        return await (real(names_for_ever) if caller is acme else real(verb, caller=caller, **asked))

    monkeypatch.setattr(store, "search", endless)
    searches = [asyncio.ensure_future(searching.page(caller=acme, asked=hard)) for _ in range(5)]
    async with asyncio.timeout(5):
        assert (await searching.page(caller=other, asked=hard)).stats == []
        assert len((await searching.page(caller=acme, asked=Asked(limit=1000))).stats) == 5
    assert not any(search.done() for search in searches)
    for search in searches:
        search.cancel()
    await asyncio.gather(*searches, return_exceptions=True)
    monkeypatch.undo()
    async with asyncio.timeout(5):
        assert len((await searching.page(caller=acme, asked=hard)).stats) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2019-01-01", "2019-01-01T00:00:00"),
        ("2020-05-12T22:29:42.362000", "2020-05-12T22:29:42.362000"),
        ("2020-05-12 22:29", "2020-05-12T22:29:00"),
        ("2020-05-12T22:29:42Z", "2020-05-12T22:29:42"),
        ("2020-05-12T22:29:42.5+02:00", "2020-05-12T20:29:42.500000"),
        ("2020-05-12T22:29:42-0130", "2020-05-12T23:59:42"),
        ("1969-12-31T23:59:59.999", "1969-12-31T23:59:59.999000"),
        ("0001-01-01", "0001-01-01T00:00:00"),
    ],
)
def test_times_are_told_as_documented(text, told):
    assert time_text(time_of(text)) == told


@pytest.mark.parametrize(
    "text", ["", "garbage", "2020-13-01", "2020-02-30", "0001-01-01T00:00+01:00", "2020-05-12T25:00"]
)
def test_what_is_no_time_is_none(text):
    assert time_of(text) is None


@pytest.mark.parametrize(
    ("field", "operator", "text", "values"),
    [
        ("month", Operator.IN, "1,3", (1, 3)),
        ("month", Operator.EXACT, "", (None,)),
        ("type", Operator.EXACT, "", (None,)),
        ("type", Operator.EXACT, '""', ("",)),
        ("type", Operator.IN, "risk,''", ("risk", "")),
        ("anr", Operator.EXACT, UUID.upper(), (UUID,)),
        ("anr", Operator.EXACT, "-2", (-2,)),
        ("id", Operator.EXACT, "ABCDEF" * 4, ("abcdef" * 4,)),
        ("data", Operator.EXACT, "1", (1,)),
        ("data", Operator.EXACT, '"1"', ("1",)),
        ("data", Operator.EXACT, "true", (True,)),
        ("data", Operator.EXACT, "null", (None,)),
        ("data", Operator.EXACT, "you want", ("you want",)),
        ("data", Operator.IN, '1,"a,b",c', (1, "a,b", "c")),
        ("data", Operator.CONTAINS, "1", ("1",)),
        ("data", Operator.EXISTS, "false", (False,)),
        ("data", Operator.SIZE, "2", (2,)),
    ],
)
def test_values_of_queries_are_of_their_field_s_kind(field, operator, text, values):
    assert values_of(field, operator, text) == values


def test_long_names_above_many_members_are_refused_and_deep_data_is_not():
    for data in (
        {"k" * 10_000: {str(number): 0 for number in range(8000)}},
        {"é" * 4000: dict.fromkeys("abcdefgh", 1)},
    ):
        with pytest.raises(InvalidFields) as raised:
            content(data=data)
        assert [fault.field for fault in raised.value.faults] == ["data"]
    deep = {f"level{n}": {f"name{m}": {"value": m, "text": "é" * 20} for m in range(300)} for n in range(30)}
    assert content(data=deep)["leaves"]
