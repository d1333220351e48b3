from typing import Any, NamedTuple

import orjson
from sqlalchemy import BigInteger, Float, Integer, String, insert, select, update

from server.store.columns import table_of
from server.store.engine import Command, Query, Store, Tx
from server.store.lists import records, texts
from server.store.organizations import OrganizationRow

ORGANIZATIONS = table_of(OrganizationRow)
_O = ORGANIZATIONS.c


class Text(NamedTuple):
    value: str


class Object(NamedTuple):
    name: str | None
    count: int | None
    large: int | None
    ratio: float | None


GIVEN = texts("given")
OBJECTS = records("objects", name=String, count=Integer, large=BigInteger, ratio=Float(53))
NEW = records("new", name=String, time=BigInteger)
ALL_TEXTS = Query(select(GIVEN.c.value), Text)
ALL_OBJECTS = Query(select(*OBJECTS.c), Object)
NAMED = Query(select(_O.name).where(_O.name.in_(select(GIVEN.c.value))), Text)
ADD = Command(insert(ORGANIZATIONS).from_select(["name", "create_time"], select(NEW.c.name, NEW.c.time)))
RENAME = Query(
    update(ORGANIZATIONS).values(name=NEW.c.name).where(_O.create_time == NEW.c.time).returning(ORGANIZATIONS.c.name),
    Text,
)


def as_json(values: list[Any]) -> str:
    return orjson.dumps(values).decode()


async def all_of(tx: Tx, query: Query[Any], **values: str) -> list[Any]:
    return await tx.all(query, **values)


async def add(tx: Tx, *names: str) -> int:
    return await tx.run(ADD, new=as_json([{"name": name, "time": time} for time, name in enumerate(names)]))


async def test_texts_come_as_they_are(store: Store) -> None:
    given = ["", "a", "ü ☃ 😀", "'\"\\ \n\t", "7", "null", "a" * 100_000]
    found = await store.read(all_of, ALL_TEXTS, given=as_json(given))
    assert sorted(row.value for row in found) == sorted(given)


async def test_an_empty_list_has_no_rows(store: Store) -> None:
    assert await store.read(all_of, ALL_TEXTS, given="[]") == []
    assert await store.read(all_of, ALL_OBJECTS, objects="[]") == []


async def test_members_have_their_types_and_missing_ones_are_null(store: Store) -> None:
    objects = [
        {"name": "7", "count": -1, "large": 2**62, "ratio": 0.1},
        {"name": None, "ratio": None},
        {"ratio": 1e300, "name": "ü", "other": "ignored"},
    ]
    found = await store.read(all_of, ALL_OBJECTS, objects=as_json(objects))
    assert set(found) == {("7", -1, 2**62, 0.1), (None,) * 4, ("ü", None, None, 1e300)}


async def test_ten_thousand_texts_choose_rows_in_one_statement(store: Store) -> None:
    assert await store.write(add, "one", "two", "three") == 3
    given = as_json(["two", "three", *(f"other {number}" for number in range(10_000))])
    found = await store.read(all_of, NAMED, given=given)
    assert {row.value for row in found} == {"two", "three"}


async def test_each_row_is_changed_to_the_values_of_its_own_object(store: Store) -> None:
    await store.write(add, "one", "two", "three")
    new = as_json([{"time": 0, "name": "eins"}, {"time": 2, "name": "drei"}, {"time": 9, "name": "neun"}])
    changed = await store.write_guarded(all_of, RENAME, new=new)
    assert {row.value for row in changed} == {"eins", "drei"}
    found = await store.read(all_of, NAMED, given=as_json(["eins", "two", "three", "drei", "neun"]))
    assert {row.value for row in found} == {"eins", "two", "drei"}
