"""Pages of stats: their order, where they go on and end, and what is looked at for them."""

import itertools

import pytest

from server.core import organizations, pages, stats
from server.core.caller import Role
from server.core.errors import InvalidFields
from server.core.stats import Asked, Effort
from server.core.stats_filters import Condition, Operator, clauses_of
from server.store import stats_filters
from server.store.stats_filters import Order
from tests.core import scenes
from tests.core.measured import EVERYBODY, content, found, stored, where


@pytest.fixture
async def acme(store):
    return await scenes.organization(store, "acme", Role.MONARC_WRITE)


@pytest.fixture
async def other(store):
    return await scenes.organization(store, "other", Role.MONARC_WRITE)


@pytest.mark.parametrize("sharing", [2, 20], ids=["few", "many"])
@pytest.mark.parametrize("order", [Order(), Order("id", True), Order("month"), Order("month", True), Order("type")])
async def test_pages_of_many_organizations_hold_every_stat_once_in_its_order(store, sharing, order):
    callers = [await scenes.organization(store, f"o{number}", Role.MONARC_WRITE) for number in range(sharing)]
    for caller in callers:
        await store.write(
            organizations.update,
            caller=scenes.HOUSE,
            name=caller.organization,
            settings=organizations.Settings(sharing=True),
        )
    for number in range(3):
        for caller in callers:
            values = [content(month=(number * 7 + each) % 5, day=each, type="ab"[each % 2]) for each in range(4)]
            await stored(store, caller, *values)
    caller = callers[0]
    every = (await found(store, caller, limit=1000, order=order)).stats
    column = {"id": "id"}.get(order.column, order.column)
    expected = sorted(every, key=lambda stat: (getattr(stat, column), stat.id), reverse=order.descending)
    assert len(every) == sharing * 12
    assert every == expected
    asked = (where("day", Operator.GT, 0), where("type", Operator.EXACT, "b"))
    wanted = [stat for stat in expected if stat.day > 0 and stat.type == "b"]
    for size in (1, 5, 50):
        after, pages = None, []
        for number in itertools.count():
            page = await found(store, caller, limit=size, order=order, after=after, conditions=asked)
            skipped = await found(store, caller, limit=size, order=order, skip=number * size, conditions=asked)
            assert (skipped.stats, skipped.has_more) == (page.stats, page.has_more)
            pages += page.stats
            if not page.has_more:
                break
            after = page.stats[-1].id
        assert pages == wanted


async def test_a_page_goes_on_after_a_stat_that_is_gone(store, acme):
    made = await stored(store, acme, *(content(day=day) for day in range(5)))
    await store.write(stats.delete, caller=acme, stat_id=made[2].id)
    assert (await found(store, acme, after=made[2].id)).stats == made[3:]


async def test_in_another_order_a_page_goes_on_only_after_a_stat_that_is_there(store, acme):
    made = await stored(store, acme, *(content(day=day) for day in range(3)))
    await store.write(stats.delete, caller=acme, stat_id=made[1].id)
    with pytest.raises(InvalidFields) as raised:
        await found(store, acme, after=made[1].id, order=Order("day"))
    [fault] = raised.value.faults
    assert (fault.field, fault.description.endswith("if that is gone, only the order of id can go on")) == (
        "_after",
        True,
    )
    assert (await found(store, acme, after=made[0].id, order=Order("day"))).stats == [made[2]]


async def test_a_limit_of_nothing_tells_whether_there_is_something(store, acme):
    assert not (await found(store, acme, limit=0)).has_more
    await stored(store, acme, content())
    page = await found(store, acme, limit=0)
    assert (page.stats, page.has_more) == ([], True)


async def test_what_is_rare_is_found_however_far_it_is(store, acme):
    made = await stored(store, acme, *(content(day=day, data={"n": day}) for day in range(2500)))
    asked = (where("day", Operator.GT, 2498),)
    assert await store.read(stats.page, caller=acme, asked=Asked(asked), effort=Effort.QUICK) is None
    assert (await found(store, acme, conditions=asked)).stats == made[2499:]
    leaf = (Condition("data", ("n",), Operator.EXACT, False, (2400,)),)
    assert (await found(store, acme, conditions=leaf)).stats == [made[2400]]
    assert (await found(store, acme, conditions=(where("day", Operator.EXACT, 2000),))).stats == [made[2000]]


def test_the_shapes_of_searches_that_were_seen_last_are_kept():
    fields = ("day", "week", "month", "quarter", "year", "anr")

    def query_of(operators):
        asked = (where(field, operator, 1) for field, operator in zip(fields, operators, strict=True))
        search = stats_filters.led(tuple(clause for each in asked for clause in clauses_of(each)), Order())
        return stats_filters.keys(search, organizations=1, after=None, up_to=None, most=1, skip=0)[0]

    shapes = itertools.product((Operator.EXACT, Operator.GT, Operator.LT), repeat=len(fields))
    first, *others = itertools.islice(shapes, stats_filters.MAX_SHAPES + 1)
    kept = query_of(first)
    assert query_of(first) is kept
    made = [query_of(shape) for shape in others]
    assert query_of(others[-1]) is made[-1]
    assert query_of(first) is not kept


async def test_a_page_that_is_too_large_is_refused_or_ends_early(store, acme, monkeypatch):
    monkeypatch.setattr(stats, "MAX_PAGE_BYTES", 1000)
    made = await stored(store, acme, *(content(data="x" * 400) for _ in range(30)))
    with pytest.raises(InvalidFields) as raised:
        await found(store, acme, limit=30)
    assert raised.value.faults[0].field == "_limit"
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 500)
    page = await found(store, acme, limit=30, cut=True)
    assert (page.stats, page.has_more) == (made[:1], True)
    with pytest.raises(InvalidFields):
        await found(store, acme, limit=3)
    page = await found(store, acme, limit=3, cut=True)
    assert (page.stats, page.has_more) == (made[:1], True)


async def test_what_is_skipped_in_several_organizations_is_not_fetched(store, acme, other, monkeypatch):
    made = []
    for caller in (acme, other):
        made += await stored(store, caller, *(content(day=day) for day in range(30)))
    fetched = []
    for name in ("keys", "rows_of"):
        build = getattr(stats, name)

        def counting(*asked, build=build, **limits):
            fetched.append(limits["most"])
            return build(*asked, **limits)

        monkeypatch.setattr(stats, name, counting)
    monkeypatch.setattr(stats, "QUICK_SKIP", 40)
    for order in (Order(), Order("day", descending=True)):
        every = (await found(store, EVERYBODY, order=order, limit=60)).stats
        for skip in (0, 18, 19, 35, 40, 41, 55, 60, 999_999_999_999):
            fetched.clear()
            page = await found(store, EVERYBODY, order=order, skip=skip, limit=3)
            assert (page.stats, page.has_more) == (every[skip : skip + 3], skip + 3 < 60)
            assert max(fetched) <= 44
