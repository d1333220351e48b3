"""The filter `where`: what it means, that all ways to say the same are one question, and what is refused."""

import json
import operator
from decimal import Decimal

import orjson
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from server.core import where
from server.core.where import FALSE, MAX_BYTES, MAX_COMPARISONS, MAX_DEPTH, TRUE, read_where, text_of
from tests.core.asked import exact_counts
from tests.core.filled import columns, dataset, upload
from tests.core.scenes import organization

COLUMNS = columns(row="integer", age="integer?", far="bigint?", height="double?", weight="float?", sex="text?",
                  town="text?", new="boolean?", old="boolean?")  # fmt: skip
NAMES = {
    "number": ["age", "far", "height", "weight"],
    "text": ["sex", "town"],
    "boolean": ["new", "old"],
}
VALUES = {
    "age": [None, 0, 17, 18, -(2**31), 2**31 - 1],
    "far": [None, 0, 18, 2**53 + 1, -(2**63), 2**63 - 1],
    "height": [None, 0.0, -0.0, 0.1, 170, 170.5, 1e300, 5e-324, 2**53 + 1],
    "weight": [None, 17, 18.0, 70.25, -1e38],
    "sex": [None, "", "female", "male", "Male", "é", "e\u0301", "𐍈", "\uffff", "it's", '"; DROP TABLE tasks; --'],
    "town": [None, "", "male", "é", "a\tb", "\\", "%"],
    "new": [None, True, False],
    "old": [None, True, False],
}
ROWS = [
    {"row": number, **{name: values[number * step % len(values)] for step, (name, values) in enumerate(VALUES.items())}}
    for number in range(90)
]
COMPARE = {"$eq": operator.eq, "$neq": operator.ne, "$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt,
           "$lte": operator.le}  # fmt: skip


def holds(said, row, name="") -> bool | None:
    """Evaluate a filter as SQL would, in three values, from its meaning and nothing else."""
    if isinstance(said, list):
        return every([holds(one, row, name) for one in said])
    parts = []
    for key, value in said.items():
        if key == "$or":
            parts.append(negated(every([negated(holds(one, row, name)) for one in value])))
        elif key == "$not":
            parts.append(negated(holds(value, row, name)))
        elif key in COMPARE:
            parts.append(compared(key, row, name, value))
        else:
            parts.append(holds(value, row, key[2:]))
    return every(parts)


def every(parts) -> bool | None:
    return False if False in parts else None if None in parts else True


def negated(part) -> bool | None:
    return None if part is None else not part


def compared(key, row, name, value) -> bool | None:
    left = row[name]
    right = row[value[2:]] if isinstance(value, str) and value.startswith("$$") else value
    if left is None or right is None:
        return None
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    elif name in ("height", "weight") or value in ("$$height", "$$weight"):
        left, right = float(left), float(right)
    elif isinstance(right, float):
        right = Decimal(repr(right))
    return COMPARE[key](left, right)


def comparisons():
    def of(kind):
        names = NAMES[kind]
        values = [value for name in names for value in VALUES[name] if value is not None]
        values += {"number": [17.5, -1, 1e40, -1e40, 10**30, 0.30000000000000004], "text": ["z"], "boolean": []}[kind]
        operators = ["$eq", "$neq"] if kind == "boolean" else list(COMPARE)
        return strategies.builds(
            lambda name, operator_, value: (name, {operator_: value}),
            strategies.sampled_from(names),
            strategies.sampled_from(operators),
            strategies.sampled_from(values + [f"$${name}" for name in names]),
        ).filter(lambda one: one[1] != {next(iter(one[1])): f"$${one[0]}"})

    return strategies.one_of(*map(of, NAMES)).map(lambda one: {f"$${one[0]}": one[1]})


filters = strategies.recursive(
    comparisons(),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3),
        strategies.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=8,
)


@pytest.fixture
async def acme(store):
    caller = await organization(store)
    await dataset(store, caller, "people", **{one.name: one.type.value + "?" * one.nullable for one in COLUMNS})
    await upload(store, caller, {f"user-{row['row']}": {"people": [row]} for row in ROWS})
    return caller


async def rows_where(store, caller, said) -> set[int]:
    """Return the numbers of the rows for which a filter is true."""
    text = said if isinstance(said, str) else json.dumps(said)
    found = await exact_counts(store, caller, dataset="people", column="row", bin_width="1", where=text)
    assert set(found.values()) <= {1}
    return set(map(int, found))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # One dataset serves them all.
)
@given(said=filters)
async def test_a_filter_means_what_its_words_say_in_sql_s_logic(store, acme, said):
    assert await rows_where(store, acme, said) == {row["row"] for row in ROWS if holds(said, row) is True}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=filters)
def test_the_one_form_of_a_filter_is_its_own(said):
    condition = read_where(json.dumps(said), COLUMNS)
    if condition != FALSE:
        assert read_where(json.dumps(text_of(condition, COLUMNS)), COLUMNS) == condition


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=filters, other=filters)
def test_however_it_is_put_it_is_the_same_question(said, other):
    same = read_where(json.dumps(said), COLUMNS)
    for rephrased in (
        [said], [[said], []], {"$not": {"$not": said}}, {"$or": [said]}, {"$or": [said, said]},
        [said, {"$not": {"$or": [{"$not": said}]}}],
    ):  # fmt: skip
        assert read_where(json.dumps(rephrased), COLUMNS) == same
    both = read_where(json.dumps([said, other]), COLUMNS)
    assert read_where(json.dumps([other, [said]]), COLUMNS) == both
    assert read_where(json.dumps({"$not": {"$or": [{"$not": other}, {"$not": said}]}}), COLUMNS) == both
    one = read_where(json.dumps({"$or": [said, other]}), COLUMNS)
    assert read_where(json.dumps({"$or": [{"$or": [other, said]}, said]}), COLUMNS) == one
    assert read_where(json.dumps({"$not": [{"$not": other}, {"$not": said}]}), COLUMNS) == one


@pytest.mark.parametrize(
    "same",
    [
        ["", "[]", "{}", " [ [], {} ] ", '[{"$not": {"$not": []}}]', '{"$$age": []}', '{"$$row": {"$lt": 1e10}}'],
        ['{"$$height": {"$eq": 1}}', '{"$$height": {"$eq": 1.0}}', '{"$$height": [{"$eq": 1e0}]}',
         '{"$not": {"$$height": {"$neq": 10e-1}}}', '{"$$height": {"$not": {"$neq": 1.00}}}',
         '[{"$$height":{"$eq":1}},{"$$height":{"$eq":1.0}}]'],
        ['{"$$height": {"$eq": 0}}', '{"$$height": {"$eq": -0.0}}', '{"$$height": {"$eq": 0e5}}'],
        ['{"$$age": {"$gt": 17}}', '{"$$age": {"$gte": 18}}', '{"$$age": {"$gt": 17.5}}',
         '{"$not": {"$$age": {"$lt": 18}}}', '{"$$age": {"$gte": 17.0000001}}'],
        ['{"$$age": {"$gte": 18, "$lt": 65}}', '[{"$$age": {"$lt": 65}}, {"$$age": {"$gte": 18}}]',
         '{"$$age": [{"$lte": 64}, {"$gt": 17}]}', '{"$not": {"$$age": {"$or": [{"$lt": 18}, {"$gt": 64}]}}}'],
        ['{"$$age": {"$eq": 1.5}}', '{"$$age": {"$gt": 1e30}}', '{"$$age": {"$lt": -1e300}}', '{"$not": []}',
         '{"$$row": {"$gt": 2147483647}}'],
        ['{"$$age": {"$neq": 1.5}}', '{"$$age": {"$lt": 1e30}}', '{"$not": {"$$age": {"$eq": -1e300}}}'],
        ['{"$$new": {"$eq": true}}', '{"$$new": {"$neq": false}}'],
        ['{"$$age": {"$lt": "$$height"}}', '{"$$height": {"$gt": "$$age"}}',
         '{"$not": {"$$age": {"$gte": "$$height"}}}'],
        ['{"$$sex": {"$eq": "é"}}', '{"$$sex": {"$eq": "\\u00e9"}}'],
        ['{"$$sex": {"$eq": "x"}, "$$new": {"$eq": true}}', '[{"$$new": {"$eq": true}}, {"$$sex": {"$eq": "x"}}]'],
    ],
)  # fmt: skip
def test_ways_to_say_the_same_are_one(same):
    forms = {repr(read_where(text, COLUMNS)) for text in same}
    assert len(forms) == 1, forms
    assert "Fault" not in forms.pop()


def test_what_is_always_or_never_so_is_known_without_rows():
    assert read_where('{"$$row": {"$gte": -1e99}}', COLUMNS) == TRUE
    assert read_where('{"$$age": {"$gte": -1e99}}', COLUMNS) not in (TRUE, FALSE)  # It may be missing.
    assert read_where('{"$or": [{"$$age": {"$eq": 0.5}}, {"$$row": {"$eq": 1e99}}]}', COLUMNS) == FALSE


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("x", ["where"]),
        ("NaN", ["where"]),
        ("[" * 5000, ["where"]),
        ('{"$$age": {"$eq": 1}', ["where"]),
        ("null", ["where"]),
        ("1", ["where"]),
        ('"x"', ["where"]),
        ("[1, null]", ["where[0]", "where[1]"]),
        ('{"age": {"$eq": 1}}', ["where.age"]),
        ('{"$$nothing": {"$eq": 1}}', ["where.$$nothing"]),
        ('{"$and": []}', ["where.$and"]),
        ('{"$or": []}', ["where.$or"]),
        ('{"$or": {"$$age": {"$eq": 1}}}', ["where.$or"]),
        ('{"$eq": 1}', ["where.$eq"]),
        ('{"$$age": 1}', ["where.$$age"]),
        ('{"$$age": {"$like": 1}}', ["where.$$age.$like"]),
        ('{"$$age": {"$$height": {"$eq": 1}}}', ["where.$$age.$$height"]),
        ('{"$$age": {"$eq": null}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": "1"}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": true}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": [1]}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": "$$age"}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": "$$sex"}}', ["where.$$age.$eq"]),
        ('{"$$age": {"$eq": "$$nothing"}}', ["where.$$age.$eq"]),
        ('{"$$height": {"$eq": 1e400}}', ["where.$$height.$eq"]),
        ('{"$$height": {"$eq": 1e99999999999999999999}}', ["where.$$height.$eq"]),
        ('{"$$age": {"$eq": %s}}' % ("1" * 5000), ["where.$$age.$eq"]),
        ('{"$$sex": {"$eq": 1}}', ["where.$$sex.$eq"]),
        ('{"$$sex": {"$eq": "a\\u0000"}}', ["where.$$sex.$eq"]),
        ('{"$$sex": {"$eq": "\\ud800"}}', ["where.$$sex.$eq"]),
        ('{"$$new": {"$eq": 1}}', ["where.$$new.$eq"]),
        ('{"$$new": {"$gt": false}}', ["where.$$new.$gt"]),
        ('{"$$age": {"$eq": 1, "$eq": 2}}', ["where"]),
        ('{"$$\\ud800": {"$eq": 1}}', ["where.$$\\ud800"]),
        ('{"$or": [{"$$age": {"$eq": 1}}, {"$$age": [{"$gt": "x"}]}]}', ["where.$or[1].$$age[0].$gt"]),
        ('{"$not": {"$$sex": {"$eq": 1}}, "$$x": {}}', ["where.$not.$$sex.$eq", "where.$$x"]),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_by_its_place(text, faults):
    assert [fault.field for fault in read_where(text, COLUMNS)] == faults


def test_the_size_of_a_filter_is_bounded():
    comparison = {"$$age": {"$eq": 1}}
    deep = comparison
    while len(str(deep)) < 2 * MAX_DEPTH + 100:
        deep = [deep]
    for said in ([comparison] * (MAX_COMPARISONS + 1), {"$$sex": {"$eq": "x" * MAX_BYTES}}, deep):
        faults = read_where(json.dumps(said), COLUMNS)
        assert len(faults) == 1
        assert faults[0].field.startswith("where")
    assert read_where(json.dumps([comparison] * MAX_COMPARISONS), COLUMNS) == read_where(
        json.dumps(comparison), COLUMNS
    )


@pytest.mark.parametrize(
    "hostile", ["' OR 1=1 --", "x'; DROP TABLE dataset_rows; --", "\\'; --", "%", "?", ":p", "$1", "\x1b"]
)
async def test_no_text_is_anything_but_a_value(store, acme, hostile):
    assert await rows_where(store, acme, {"$$sex": {"$eq": hostile}}) == set()
    assert await rows_where(store, acme, []) == {row["row"] for row in ROWS}


def test_every_operator_has_its_negation_and_its_mirror():
    assert {where._NEGATED[where._NEGATED[one]] for one in where.OPERATORS} == set(where.OPERATORS)
    assert {where._MIRRORED[where._MIRRORED[one]] for one in where.OPERATORS} == set(where.OPERATORS)
    assert orjson.dumps(text_of(FALSE, COLUMNS)) == b'{"$or":[]}'


@pytest.mark.parametrize(
    "zero", ["0", "-0.0", "0e9999", "0.000e-1001", "0e99999999999999999999", "0e-0000000000000000001"]
)
@pytest.mark.parametrize("name", ["age", "height"])
def test_zero_is_zero_however_it_is_written(zero, name):
    plain, written = (read_where(f'{{"$${name}": {{"$lt": {number}}}}}', COLUMNS) for number in ("0", zero))
    assert written == plain != FALSE


@pytest.mark.parametrize("number", ["1e-1001", "1e1001", "-1e99999999999999999999"])
@pytest.mark.parametrize("name", ["age", "height"])
def test_a_number_beyond_all_columns_is_refused_with_the_range(number, name):
    (fault,) = read_where(f'{{"$${name}": {{"$lt": {number}}}}}', COLUMNS)
    assert "0 or a number from 1e-1000 to 1e1000 in size" in fault.description
    condition = read_where(f'{{"$${name}": {{"$lt": 1e-0000000000000000001000}}}}', COLUMNS)
    assert not isinstance(condition, tuple)
