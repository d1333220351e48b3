"""Callers' JSON, read strictly and told again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import exactjson
from server.core.exactjson import MalformedJson

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.sampled_from(["", " ", "&x=1", "\n &", "{}", "x"]))
def test_what_follows_json_is_told_apart_from_it(value, rest):
    text = f" {json.dumps([value])}{rest}"
    first, more = exactjson.read_first(text)
    assert (exactjson.write(first), more) == (json.dumps([value]), rest.strip())


@given(VALUES)
def test_what_python_writes_is_told_again_letter_by_letter(value):
    text = json.dumps(value)
    assert exactjson.write(exactjson.read(text)) == text


@given(VALUES, st.randoms(use_true_random=False))
def test_members_in_another_order_are_the_same(value, chance):
    text, other = json.dumps(value), json.dumps(shuffled(value, chance))
    assert exactjson.same(text, other)
    assert exactjson.same(text, other.replace("1", "2", 1)) == ("1" not in other)


def shuffled(value, chance):
    if isinstance(value, dict):
        return {key: shuffled(value[key], chance) for key in chance.sample(sorted(value), len(value))}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "true"), ("1", "1.0"), ("1.10", "1.1"), ("1e2", "100"), ("[1, 2]", "[2, 1]"), ('"1"', "1"), ("[]", "{}")],
)
def test_what_is_not_written_alike_is_not_the_same(one, other):
    assert not exactjson.same(one, other)
    assert not exactjson.same(f'{{"a": {one}, "b": {other}}}', f'{{"b": {one}, "a": {other}}}')


@pytest.mark.parametrize(
    "number",
    [
        "-0",
        "1.0",
        "1.10",
        "1e5",
        "1E+5",
        "123456789012345678901234567890",
        "1e400",
        "-0.0",
        "0.1000",
        "9007199254740993",
    ],
)
def test_numbers_keep_their_digits(number):
    text = f'{{"n": [{number}, "x"], "m": {number}}}'
    assert exactjson.write(exactjson.read(text)) == text


def test_members_keep_their_order_and_their_names():
    text = '{"z": 1, "a.b": 2, "$where": 3, "_cls": 4, "": 5}'
    assert exactjson.write(exactjson.read(text)) == text


def test_blanks_between_parts_become_those_that_are_documented():
    assert exactjson.write(exactjson.read('{"a":[1,2 ,{}],\n"b" :"x, y: z"}')) == '{"a": [1, 2, {}], "b": "x, y: z"}'


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", "-Infinity", "01", "1.", "'a'", "[1,]", '{"a":1,}', "1 2", '"\t"', "\ufeff1"]
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(MalformedJson):
        exactjson.read(text)


def test_a_member_that_stands_twice_is_refused():
    with pytest.raises(MalformedJson, match="stands twice"):
        exactjson.read('{"a": {"b": 1, "b": 1}}')


@pytest.mark.parametrize(("depth", "good"), [(100, True), (101, False), (200_000, False)])
def test_a_hundred_levels_are_deep_enough(depth, good):
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = opening * depth + "1" + closing * depth
        if good:
            assert exactjson.write(exactjson.read(text)).replace(" ", "") == text
        else:
            with pytest.raises(MalformedJson, match="deeper than 100"):
                exactjson.read(text)
    many = "[" + ",".join(["[]"] * 1000) + ', "[[["]'
    assert exactjson.write(exactjson.read(many)).count("[]") == 1000


def test_a_number_of_a_million_digits_costs_little():
    text = "1" * 1_000_000
    assert exactjson.write(exactjson.read(text)) == text


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("1e0000000000000005", (False, 6, "1")),
        ("-1.20e+0000000000000002", (True, 3, "12")),
        ("12e-0000000000000003", (False, -1, "12")),
        ("1e000000000000000", (False, 1, "1")),
        ("1e-99999999999999999999", (False, -999_999_999_998, "1")),
    ],
)
def test_an_exponent_is_a_number_however_many_zeros_it_begins_with(number, expected):
    assert exactjson.point_and_digits(exactjson.read(number)) == expected
