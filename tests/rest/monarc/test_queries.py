"""Queries of the monarc API as text, on both engines, against a filter in plain Python."""

import random

import pytest

from server.core import organizations, stats
from server.core.caller import Caller, Role
from server.core.stats_content import read_new
from server.core.stats_searching import Searching
from server.rest.monarc_query import asking
from tests.core import scenes

EVERYBODY = Caller("h", Role.MONARC_ADMIN, None, "", "")
ROUNDS = 150
COMPARED = {
    "": lambda x, v: x == v,
    "__ne": lambda x, v: x != v,
    "__not": lambda x, v: x != v,
    "__gt": lambda x, v: x is not None and x > v,
    "__not__lte": lambda x, v: x is None or x > v,
    "__lt": lambda x, v: x is not None and x < v,
    "__gte": lambda x, v: x is not None and x >= v,
    "__in": lambda x, v: x == v,
    "__nin": lambda x, v: x != v,
}
VALUES = {
    "day": lambda chance: chance.randint(0, 9),
    "year": lambda chance: chance.choice([2019, 2020, 2021]),
    "type": lambda chance: chance.choice(["risk", "threat", "vulnerability"]),
    "data__a__b": lambda chance: chance.choice([-1.5, 0, 3, 2**60]),
    "organization": lambda chance: chance.choice(["one", "two", "three"]),
}


@pytest.mark.parametrize("seed", [1, 2])
async def test_texts_of_queries_find_what_plain_python_finds(store, seed):
    chance = random.Random(seed)  # noqa: S311 - no secret.
    shared = organizations.Settings(sharing=True)
    made = []
    for name in ("one", "two", "three"):
        caller = await scenes.organization(store, name, Role.MONARC_WRITE)
        await store.write(organizations.update, caller=scenes.HOUSE, name=name, settings=shared)
        for _ in range(8):
            given = [
                {"anr": 1, "type": VALUES["type"](chance), "day": VALUES["day"](chance), "week": 1, "month": 1,
                 "data": {"a": {"b": VALUES["data__a__b"](chance)}}}
                | ({"year": VALUES["year"](chance)} if chance.random() < 0.7 else {})
                for _ in range(9)
            ]  # fmt: skip
            stored = await store.write(stats.create, caller=caller, contents=[read_new(one) for one in given])
            made += zip(stored, given, strict=True)
    for _ in range(ROUNDS):
        filters = [
            (field, operator, VALUES[field](chance))
            for field in chance.sample(sorted(VALUES), chance.randint(0, 2))
            for operator in [chance.choice(sorted(COMPARED))]
        ]
        order = chance.choice(["", "day", "-day", "type", "-type", "id", "-id"])
        skip, limit = chance.choice([0, 0, 3, 60]), chance.choice([1, 5, 50, 100])
        parameters = {f"{field}{operator}": str(value) for field, operator, value in filters}
        parameters |= {"_order_by": order, "_skip": str(skip), "_limit": str(limit)}
        found = [stat for stat, given in made if all(holds(stat, given, *one) for one in filters)]
        key = order.removeprefix("-") or "id"
        found.sort(key=lambda stat, key=key: (getattr(stat, key), stat.id), reverse=order.startswith("-"))
        asked = asking(parameters, strict=True).asked
        page = await Searching(store).page(caller=EVERYBODY, asked=asked)
        assert [stat.id for stat in page.stats] == [stat.id for stat in found[skip : skip + limit]], parameters
        assert page.has_more == (len(found) > skip + limit), parameters


def holds(stat, given, field, operator, value):
    actual = given["data"]["a"]["b"] if field == "data__a__b" else getattr(stat, field)
    return COMPARED[operator](actual, value)
