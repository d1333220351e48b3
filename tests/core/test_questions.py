"""Questions by categories: what they count, that all ways to ask the same are one, and what is refused."""

import pytest

from server.core.counts import Answer
from server.core.errors import FaultKind, InvalidFields
from server.core.questions import ALL, MAX_CATEGORIES, MAX_CATEGORY, Asking, Question, read_question
from server.store.counts import TOO_LONG
from tests.core.asked import answer_to, counted, exact_counts
from tests.core.filled import columns, dataset, fill, upload
from tests.core.scenes import organization

COLUMNS = columns(height="float", age="integer", far="bigint", sex="text?", new="boolean")


def question(column, **asked) -> Question:
    read = read_question(Asking("people", column, **asked), COLUMNS)
    assert isinstance(read, Question), read
    return read


async def exact(store, caller, **asked) -> dict[str, int]:
    return await exact_counts(store, caller, **({"dataset": "people", "column": "x", "categories": ALL} | asked))


async def people(store, values, *, type_="text?", buckets_per_user=1):
    caller = await organization(store)
    await dataset(store, caller, "people", buckets_per_user=buckets_per_user, x=type_)
    await fill(store, caller, values, "people", "x")
    return caller


# What is counted


async def test_users_are_counted_by_the_values_of_a_text_column(store):
    texts = ["female", "male", "male", "", "Male", " male", "é", "e\u0301", "𐍈", "it's", '"', "a\tb", "=x", "!", None]
    acme = await people(store, texts)
    expected = {text: texts.count(text) for text in texts if text is not None}
    found = await exact(store, acme)
    assert found == expected
    assert list(found) == sorted(expected)  # By their bytes, which is the order of the characters.


async def test_users_are_counted_by_true_and_false(store):
    acme = await people(store, [True, True, False, None], type_="boolean?")
    assert await exact(store, acme) == {"false": 1, "true": 2}
    assert await exact(store, acme, categories="[true]") == {"true": 2}
    assert await exact(store, acme, categories="[false]") == {"false": 1}


async def test_users_are_counted_by_the_values_of_whole_numbers(store):
    acme = await people(store, [-3, 0, 7, 7, 2**63 - 1, -(2**63)], type_="bigint")
    every = {str(-(2**63)): 1, "-3": 1, "0": 1, "7": 2, str(2**63 - 1): 1}
    assert await exact(store, acme) == every
    listed = await exact(store, acme, categories=f"[7, -3.0, 1e0, {2**63 - 1}]")
    assert listed == {key: every[key] for key in ("-3", "7", str(2**63 - 1))}


async def test_listed_values_are_counted_and_no_others(store):
    acme = await people(store, [["a", "b"], "a", "c", "d", "it's"])
    assert await exact(store, acme, categories='["c", "it\'s", "nobody", "?"]') == {"c": 1, "it's": 1}
    # Who has another value besides is counted under the listed one.
    assert await exact(store, acme, categories='["a"]') == {"a": 2}
    many = [f"v{number}" for number in range(MAX_CATEGORIES - 1)]
    assert await exact(store, acme, categories=str(["c", *many]).replace("'", '"')) == {"c": 1}


@pytest.mark.parametrize("bound", [1, 2])
async def test_a_user_counts_under_as_many_values_as_the_dataset_says(store, bound):
    acme = await people(store, [["a", "b", "c", "x" * 500]] * 60, buckets_per_user=bound)
    found = await exact(store, acme)
    assert sum(found.values()) == 60 * bound
    assert await exact(store, acme) == found


async def test_values_too_long_to_name_a_bucket_are_one_exception(store):
    longest = "é" * MAX_CATEGORY
    acme = await people(store, [longest] * 60 + [longest + "a", longest + "b"] * 40)
    assert await exact(store, acme) == {longest: 60, TOO_LONG: 80}
    answer = await answer_to(store, acme, Asking("people", "x", categories=ALL))
    assert [value for value, _ in answer.buckets] == [longest]
    [(error, users)] = answer.exceptions
    assert error == "The value has more than 200 characters."
    assert abs(users - 80) <= 40  # Chance takes it farther about once in a hundred million times.
    assert users % 5 == 0


async def test_what_few_users_met_is_no_exception(store):
    acme = await people(store, ["a"] * 60 + ["x" * 300])
    # Chance lets 28 in a million through.
    assert (await answer_to(store, acme, Asking("people", "x", categories=ALL))).exceptions == ()


async def test_a_listed_value_that_few_have_looks_like_one_that_nobody_has(store):
    acme = await people(store, ["a"] * 60 + ["b"])
    answer = await answer_to(store, acme, Asking("people", "x", categories='["a", "b", "c"]'))
    assert [value for value, _ in answer.buckets] == ["a"]


async def test_a_filter_and_categories_go_together(store):
    acme = await organization(store)
    await dataset(store, acme, "people", x="text", age="integer")
    rows = [("a", 10), ("a", 30), ("b", 30), ("c", 40), ("b", 50)]
    await upload(
        store, acme, {f"u{number}": {"people": [{"x": x, "age": age}]} for number, (x, age) in enumerate(rows)}
    )
    where = '{"$$age": {"$gte": 30}}'
    assert await exact(store, acme, where=where) == {"a": 1, "b": 2, "c": 1}
    assert await exact(store, acme, where=where, categories='["a", "b"]') == {"a": 1, "b": 2}
    assert await exact(store, acme, column="age", categories="[30]", where='{"$$x": {"$neq": "a"}}') == {"30": 1}
    assert await exact(store, acme, column="age", categories="", bin_width="25", where=where) == {"25": 3, "50": 1}


# Ways to ask the same


@pytest.mark.parametrize(
    ("column", "same"),
    [
        ("sex", [{"categories": '["b", "a"]'}, {"categories": '["a","b","a"]'},
                 {"categories": '["\\u0061", "b"]', "where": "{}"}]),
        ("age", [{"categories": ALL}, {"bin_width": "1"}, {"bin_width": "1.0", "where": "[]"}]),
        ("age", [{"categories": "[2, 1]"}, {"categories": "[1.0, 2e0, 2]"}]),
        ("new", [{"categories": ALL}, {"categories": "[true, false]"}]),
        ("sex", [{"categories": ALL, "where": '{"$$age": {"$gt": 1}}'},
                 {"categories": ALL, "where": '[{"$$age": [{"$gte": 2.0}]}]'}]),
    ],
)  # fmt: skip
def test_ways_to_ask_the_same_are_one_question(column, same):
    asked = [question(column, **one) for one in same]
    assert len({one.canonical for one in asked}) == 1
    assert len({repr(one) for one in asked}) == 1


def test_other_questions_are_others():
    asked = [
        question("sex", categories=ALL), question("sex", categories='["*"]'), question("sex", categories='["a"]'),
        question("sex", categories='["a"]', where='{"$$sex": {"$eq": "a"}}'), question("age", categories="[1]"),
        question("age", bin_width="1"), question("age", bin_width="2"), question("far", bin_width="1"),
        question("new", categories="[true]"), question("new", categories=ALL),
    ]  # fmt: skip
    assert len({one.canonical for one in asked}) == len(asked)


def test_questions_without_a_filter_are_written_as_before_there_were_any():
    assert question("height", bin_width="10.0").canonical == '{"bin_width":"10","column":"height"}'


# What is refused


@pytest.mark.parametrize(
    ("column", "asked", "fields"),
    [
        ("sex", {}, ["categories"]),
        ("age", {}, ["bin_width"]),
        ("sex", {"bin_width": "1"}, ["column"]),
        ("new", {"bin_width": "1"}, ["column"]),
        ("age", {"bin_width": "1", "categories": ALL}, ["categories"]),
        ("height", {"categories": ALL}, ["categories"]),
        ("nothing", {"categories": ALL, "where": "x"}, ["column", "where"]),
        ("sex", {"categories": "a,b"}, ["categories"]),
        ("sex", {"categories": "a" * 70_000}, ["categories"]),
        ("sex", {"categories": "[]"}, ["categories"]),
        ("sex", {"categories": "{}"}, ["categories"]),
        ("sex", {"categories": '"a"'}, ["categories"]),
        ("sex", {"categories": "null"}, ["categories"]),
        ("sex", {"categories": "[" * 5000}, ["categories"]),
        ("sex", {"categories": str(list(range(MAX_CATEGORIES + 1)))}, ["categories"]),
        ("sex", {"categories": '["a", 1, null, true, ["b"]]'}, [f"categories[{number}]" for number in (1, 2, 3, 4)]),
        ("sex", {"categories": '["%s"]' % ("a" * (MAX_CATEGORY + 1))}, ["categories[0]"]),
        ("sex", {"categories": '["\\u0000", "\\udc00"]'}, ["categories[0]", "categories[1]"]),
        ("age", {"categories": f'[1.5, "1", true, 1e400, {2**63}, {-(2**63) - 1}]'},
         [f"categories[{number}]" for number in range(6)]),
        ("new", {"categories": '[1, "true", null]'}, [f"categories[{number}]" for number in range(3)]),
        ("sex", {"categories": "[1]", "where": '{"$$x": []}'}, ["categories[0]", "where.$$x"]),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused_by_field(column, asked, fields):
    faults = read_question(Asking("people", column, **asked), COLUMNS)
    assert not isinstance(faults, Question)
    assert [fault.field for fault in faults] == fields


async def test_a_refused_question_names_its_fields_and_costs_nothing(store):
    acme = await people(store, ["a"])
    with pytest.raises(InvalidFields) as refusal:
        await counted(store, acme, Asking("people", "x", categories="[1]"))
    assert [fault.field for fault in refusal.value.faults] == ["categories[0]"]
    assert isinstance(await answer_to(store, acme, Asking("people", "x", categories=ALL)), Answer)


@pytest.mark.parametrize("column", ["sex", "age"])
def test_what_was_left_out_is_missing_to_programs_too(column):
    assert [fault.kind for fault in read_question(Asking("people", column), COLUMNS)] == [FaultKind.MISSING]
    assert {fault.kind for fault in Asking.read({})} == {FaultKind.MISSING}
