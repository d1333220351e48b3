"""What uploads are held against, and that a user's rows are stored whole."""

import json

import orjson
import pytest

from server.core import datasets, uploads
from server.core.errors import DatasetNotFound
from tests.core.filled import checked, dataset, upload
from tests.core.scenes import organization

EVERY = {"i": "integer?", "b": "bigint?", "f": "float?", "d": "double?", "o": "boolean?", "t": "text?"}


STORED = "SELECT user_id, data FROM dataset_rows ORDER BY id"


async def faults(store, caller, given, **options) -> dict:
    return (await checked(store, caller, given, **options)).faults.listing(max_bytes=4096).by_user


async def test_values_are_stored_in_the_order_of_the_columns(store, rows):
    acme = await organization(store)
    await dataset(store, acme, "d", **EVERY)
    row = {"t": 'é"\n', "o": False, "d": 1e300, "f": 170.2, "b": -(2**63), "i": 2**31 - 1}
    await upload(store, acme, {"u": {"d": [row, {"i": None}, {}]}})
    assert [json.loads(values) for _, values in await rows(STORED)] == [
        [2147483647, -9223372036854775808, 170.2, 1e300, False, 'é"\n'], [None] * 6, [None] * 6,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "shown", "type_"),
    [
        ("i", [1], "[1]", "int4"),
        ("i", 1.0, "[1.0]", "int4"),
        ("i", True, "[true]", "int4"),
        ("i", "1", '["1"]', "int4"),
        ("i", 2**31, "[2147483648]", "int4"),
        ("i", -(2**31) - 1, "[-2147483649]", "int4"),
        ("b", 2**63, "[9223372036854775808]", "int8"),
        ("b", 1.8446744073709552e19, "[1.8446744073709552e+19]", "int8"),
        ("f", 3.5e38, "[3.5e+38]", "float4"),
        ("f", -3.4028235677973366e38, "[-3.4028235677973366e+38]", "float4"),
        ("f", "170", '["170"]', "float4"),
        ("d", False, "[false]", "float8"),
        ("d", {"a": 1}, '[{"a":1}]', "float8"),
        ("o", 1, "[1]", "bool"),
        ("t", 1, "[1]", "text"),
        ("t", "a\0b", '["a\\u0000b"]', "text"),
    ],
)
async def test_a_value_that_its_type_cannot_hold_is_told_in_the_documented_words(store, column, value, shown, type_):
    acme = await organization(store)
    await dataset(store, acme, "d", **EVERY)
    text = f"d: {column}: invalid value {shown} for type {type_}"
    assert await faults(store, acme, {"u": {"d": [{column: value}]}}) == {"u": [text]}


@pytest.mark.parametrize("value", [3.4028235677973362e38, 2**64 - 1, -0.0, 5e-324])
async def test_numbers_at_the_limits_are_taken(store, value):
    acme = await organization(store)
    await dataset(store, acme, "d", **EVERY)
    assert await faults(store, acme, {"u": {"d": [{"f": value, "d": value}]}}) == {}


@pytest.mark.parametrize("types", [{"height": "float"}, {"height": "float", "sex": "text?"}])
@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ({"nothing": [{"height": 1}]}, ["nothing: table does not exist"]),
        ({"a\0": []}, ["a\0: table does not exist"]),
        ({"heights": [{"height": 1, "x": 1}]}, ["heights: x: column does not exist"]),
        ({"heights": [{}]}, ["heights: height: no value for a column that is NOT NULL"]),
        ({"heights": [{"height": None}]}, ["heights: height: null for a column that is NOT NULL"]),
        (
            {"heights": [{"x": 1}]},
            ["heights: height: no value for a column that is NOT NULL", "heights: x: column does not exist"],
        ),
        ({"heights": [7, {"height": 1}]}, ["heights: [7] is not a row, which is an object of columns"]),
        ({"heights": {"height": 1}}, ["heights: not a list of rows"]),
        ([], ["not an object of tables"]),
    ],
)
async def test_what_is_no_row_of_a_table_is_told(store, types, given, texts):
    acme = await organization(store)
    await dataset(store, acme, **types)
    assert await faults(store, acme, {"u": given}) == {"u": texts}


async def test_all_rows_of_a_user_are_taken_or_none(store):
    acme = await organization(store)
    await dataset(store, acme)
    await dataset(store, acme, "weights", weight="float")
    spoiled = {"heights": [{"height": 1}], "weights": [{"weight": "x"}, {"weight": 1}]}
    found = await checked(store, acme, {"good": {"heights": [{"height": 1}]}, "bad": spoiled})
    assert [user for _, user, _ in found.rows] == ["good"]
    assert [table.name for table in found.tables.values()] == ["heights"]
    loose = await checked(store, acme, {"bad": spoiled}, whole=False)
    assert [data for _, _, data in loose.rows] == ["[1]", "[1]"]


@pytest.mark.parametrize("user", ["", "x" * 256, "a\0b"])
async def test_a_user_s_name_has_limits(store, user):
    acme = await organization(store)
    await dataset(store, acme)
    found = await checked(store, acme, {user: {"heights": [{"height": 1}]}})
    assert found.faults
    assert found.rows == []


async def test_an_upload_moves_each_of_its_datasets_one_version_on(store):
    acme = await organization(store)
    for name in ("a", "b", "c"):
        await dataset(store, acme, name, x="integer")
    await upload(store, acme, {f"u{i}": {"a": [{"x": 1}] * 3, "b": [{"x": 1}], "c": []} for i in range(10)})
    found = await store.read(datasets.of_organization, organization_id=acme.tenant)
    assert [(one.name, one.version) for one in found] == [("a", 1), ("b", 1), ("c", 0)]


async def test_nobody_uploads_into_another_organization_s_dataset(store, rows):
    acme, other = await organization(store), await organization(store, "other")
    await dataset(store, acme)
    given = {"u": {"heights": [{"height": 1}]}}
    assert await faults(store, other, given) == {"u": ["heights: table does not exist"]}
    with pytest.raises(DatasetNotFound):
        await store.write(uploads.put, caller=other, checked=await checked(store, acme, given))
    assert await rows(STORED) == []


async def test_rows_checked_against_other_columns_are_not_stored(store, rows):
    acme = await organization(store)
    await dataset(store, acme)
    found = await checked(store, acme, {"u": {"heights": [{"height": 1}]}})
    stale = {number: table._replace(declared="[]") for number, table in found.tables.items()}
    with pytest.raises(DatasetNotFound):
        await store.write(uploads.put, caller=acme, checked=found._replace(tables=stale))
    assert await rows(STORED) == []


async def test_many_made_up_tables_cost_one_look_at_the_declared_ones(store):
    acme = await organization(store)
    await dataset(store, acme)
    names = frozenset({"heights", *(f"t{i}" for i in range(1000))})
    assert list(await store.read(uploads.tables, caller=acme, names=names)) == ["heights"]


@pytest.mark.parametrize("user", ["u", "ü" * 255, "\x7f" * 255, "😀" * 255])
@pytest.mark.parametrize("max_bytes", [4096, 1024 * 1024])
def test_faults_fit_into_what_there_is_for_them_and_count_what_does_not(user, max_bytes):
    faults = uploads.Faults()
    for number in range(1000):
        faults.add(f"{user}{number}"[-255:], [f"heights: height: invalid value [{'é' * 60}] for type int4"] * 40)
    listed = faults.listing(max_bytes=max_bytes)
    # As refusals travel: ASCII, DEL escaped.
    body = {"success": False, "errors": listed.by_user, "more": listed.more}
    text = json.dumps(body, separators=(",", ":")).replace("\x7f", "\\u007f")
    assert len(text) <= max_bytes
    assert listed.more.startswith("not listed: at least ")


def test_users_are_told_apart_however_long_their_names():
    faults = uploads.Faults()
    for end in "abc":
        faults.add("x" * 254 + end, ["a"])
        faults.add("x" * 300 + end, ["b", "c"])
    assert faults.listing(max_bytes=4096) == (
        {"x" * 254 + end: ["a"] for end in "abc"}
        | {"x" * 255 + end: ["b", "c"] for end in ("...", "... (2)", "... (3)")},
        "",
    )
    short = faults.listing(max_bytes=200 + 2 * (255 + 5))
    assert short.more == "not listed: at least 8 more faults, and 5 more users with faults"


def test_a_user_with_endless_faults_costs_a_bounded_time():
    def endless():
        while True:
            yield "heights: not a list of rows"

    faults = uploads.Faults()
    faults.add("u", endless())
    assert faults.listing(max_bytes=4096).more


async def test_values_nested_too_deep_to_write_are_told_shortly(store):
    acme = await organization(store)
    await dataset(store, acme, "d", **EVERY)
    deep = orjson.loads("[" * 500 + "]" * 500)
    assert await faults(store, acme, {"u": {"d": [{"i": deep}]}}) == {"u": ["d: i: invalid value [...] for type int4"]}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"u":{"d":[{"t":"a"}]},"v":{"d":[{"t":"b"}]}}', None),
        ('{"u:v":{"d":[{"t":"a:b"}]}}', None),
        ('{"u\\u003a":{"d":[{"t":"\\u003a"}]}}', None),
        ('{"u":{"d":[{"t":"a"}]},"u":{"d":[{"t":"b"}]}}', "u"),
        ('{"u":{"d":[{"t":"a"}],"d":[]}}', "d"),
        ('{"u":{"d":[{"t":"a","t":"b"}]}}', "t"),
        ('{"u":{"d":[{"t":"a","\\u0074":"b"}]}}', "t"),
        ('{"u":{"d":[{"i":1,"t":"a\\u003ab","i":2}]}}', "i"),
        ('{"u":{"d":[{"i":1,"t":"a\\u003Ab","i":2}]}}', "i"),
        ('{"u\\u003a":{"d":[]},"v":{"d":[{"t":"a"}]},"v":{"d":[{"t":"b"}]}}', "v"),
    ],
)
async def test_a_key_that_stands_twice_is_found(store, text, key):
    acme = await organization(store)
    await dataset(store, acme, "d", **EVERY)
    given = orjson.loads(text)
    found = await checked(store, acme, given)
    colons = found.colons + len(given) + "".join(given).count(":")
    assert uploads.repeated_key(text.encode(), colons=colons) == key


def test_keys_cannot_be_told_apart_in_what_is_nested_too_deep():
    with pytest.raises(uploads.NestedTooDeep):
        uploads.repeated_key(b'{"u":' + b"[" * 1000 + b"]" * 1000 + b"}", colons=0)
