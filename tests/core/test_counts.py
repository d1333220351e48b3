"""Counts of users: which bin a value is in, who counts where, and that answers are noisy, suppressed and kept."""

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import orjson
import pytest
from hypothesis import given, strategies

from server.core import counts, datasets
from server.core.errors import DatasetNotFound, InvalidFields, LeaseEnded
from server.core.noise import cost
from server.core.questions import Asking, BinWidth
from server.store.sqlite import exact_bin
from server.worker.kit import MAX_RESULT_BYTES, Result
from tests.core.asked import answer_to, counted, exact_counts
from tests.core.filled import dataset, fill, upload
from tests.core.scenes import ACTION, Worker, organization, task, worker

QUESTION = {"dataset": "heights", "column": "height", "bin_width": "10"}


async def exact(store, caller, width) -> dict[str, int]:
    return await exact_counts(store, caller, **(QUESTION | {"bin_width": width}))


async def draw(store, caller, **changes):
    found = await counted(store, caller, Asking(**(QUESTION | changes)))
    return counts.anonymise(found) if isinstance(found, counts.Exact) else found


async def keep(store, drawn):
    return await store.write(counts.keep, drawn=drawn)


async def answer(store, caller, **changes):
    return await answer_to(store, caller, Asking(**(QUESTION | changes)))


# Bins


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("10", (10, 1)), ("10.0", (10, 1)), ("1e1", (10, 1)), ("0010", (10, 1)), ("100E-1", (10, 1)),
        ("0.5", (5, 10)), ("2.50", (25, 10)), ("5e-1", (5, 10)), ("1e-9", (1, 10**9)),
        ("999999999000000", (999999999000000, 1)),
    ],
)  # fmt: skip
def test_a_width_is_one_number_however_it_is_written(text, width):
    assert BinWidth.read(text) == width


@pytest.mark.parametrize(
    "text",
    ["", "0", "0.0", "-1", "+1", " 1", "1 ", "1,5", ".5", "5.", "nan", "inf", "1e400", "1e-10", "1e15",
     "1234567891", "0x1", "1_0", "\u0663", "1e99999999999", "9" * 100_000],
)  # fmt: skip
def test_what_is_no_width_is_refused(text):
    assert BinWidth.read(text) is None


def test_edges_are_written_in_plain_digits():
    tenth = BinWidth.read("0.1")
    assert [tenth.edge(number) for number in (-10, -3, 0, 3, 10, 123)] == ["-1", "-0.3", "0", "0.3", "1", "12.3"]
    assert BinWidth.read("1e-9").edge(1) == "0.000000001"


async def test_a_value_on_an_edge_is_in_the_upper_bin(store):
    acme = await organization(store)
    await dataset(store, acme, height="double")
    await fill(store, acme, [0.3, 0.29999999999999993, 0.7, 1.1, -0.1, -0.05, 0, 170.2, 1e5 + 0.1])
    assert await exact(store, acme, "0.1") == {
        "-0.1": 2, "0": 1, "0.2": 1, "0.3": 1, "0.7": 1, "1.1": 1, "170.2": 1, "100000.1": 1,
    }  # fmt: skip


@pytest.mark.parametrize("width", ["10", "0.1", "0.7", "1000000", "0.000000001", "123456789", "2.5"])
async def test_each_number_is_in_the_bin_that_decimal_arithmetic_says(store, width):
    acme = await organization(store)
    await dataset(store, acme, height="double")
    steps = [float(Decimal(width) * number) for number in (1, 3, 7, 11, 29, 1001, 99999, -1, -3, -7, -99999)]
    values = [*steps, 1e300, -1e300, 5e-324, 0.1, 123.456, 1e15, 1e15 + 1, -4503599627370497.5, 2**53, 1.8e19]
    await fill(store, acme, values)
    expected: dict[str, int] = {}
    for value in values:
        edge = _edge(str(value) if isinstance(value, int) else repr(value), width)
        expected[edge] = expected.get(edge, 0) + 1
    assert await exact(store, acme, width) == expected


@pytest.mark.parametrize("width", ["10", "1", "0.1", "2.5", "7", "0.000000001", "999999999000000"])
async def test_whole_numbers_of_64_bits_are_counted_to_the_last_digit(store, width):
    acme = await organization(store)
    await dataset(store, acme, height="bigint")
    values = [0, 1, -1, 9, 10, -10, -11, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 922337203685477581]
    await fill(store, acme, values)
    expected: dict[str, int] = {}
    for value in values:
        edge = _edge(str(value), width)
        expected[edge] = expected.get(edge, 0) + 1
    assert await exact(store, acme, width) == expected


def _edge(value: str, width: str) -> str:
    edge = (Fraction(value) / Fraction(width)).__floor__() * Fraction(width)
    sign, whole, decimals = "-" if edge < 0 else "", abs(edge).__floor__(), abs(edge) - abs(edge).__floor__()
    digits = f"{int(decimals * 10**9):09d}".rstrip("0")
    return f"{sign}{whole}{'.' if digits else ''}{digits}"


@given(strategies.integers(-(10**12), 10**12), strategies.integers(1, 10**9 - 1), strategies.integers(0, 9))
def test_an_edge_is_in_its_own_bin(number, digits, decimals):
    width = BinWidth.read(f"{digits}e-{decimals}")
    assert int(exact_bin(float(width.edge(number)), *width)) == number or abs(number * width.p) >= 10**15


async def test_nulls_count_nowhere(store):
    acme = await organization(store)
    await dataset(store, acme, height="float?")
    await fill(store, acme, [None, 170.5, [None, 180], {}.get("nothing")])
    assert await exact(store, acme, "10") == {"170": 1, "180": 1}


# Who counts where


async def test_a_user_counts_once_however_many_rows_say_the_same(store):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [[170, 171, 172], 175])
    assert await exact(store, acme, "10") == {"170": 2}


@pytest.mark.parametrize("bound", [1, 2, 3])
async def test_a_user_counts_in_no_more_bins_than_the_dataset_says(store, bound):
    acme = await organization(store)
    await dataset(store, acme, buckets_per_user=bound)
    await fill(store, acme, [[150, 160, 170, 180]] * 40 + [[150, 160]] * 7 + [150] * 5)
    found = await exact(store, acme, "10")
    assert sum(found.values()) == 40 * bound + 7 * min(bound, 2) + 5
    assert await exact(store, acme, "10") == found
    if bound == 1:
        assert len(found) == 4  # Which bin it is, is chance to whoever has not the dataset's key.


@pytest.mark.parametrize("bound", [1, 2, 4])
@pytest.mark.parametrize(("type_", "width"), [("double", "10"), ("double", "0.3"), ("bigint", "10"), ("bigint", "0.3")])
async def test_values_too_large_for_the_engine_s_arithmetic_are_bounded_too(store, bound, type_, width):
    acme = await organization(store)
    await dataset(store, acme, height=type_, buckets_per_user=bound)
    far = [9.9e299, 1e300, -1e300] if type_ == "double" else [2**63 - 1, 2**63 - 21, -(2**63)]
    people = [[*far, 1], [far[0], 2, 1], [far[1]] * 3, [*far, 1, 2, 3, 4, 5, 6]]
    await fill(store, acme, people)
    found = await exact(store, acme, width)
    keys = [{_edge(repr(value), width) for value in person} for person in people]
    assert sum(found.values()) == sum(min(bound, len(one)) for one in keys)
    assert found.keys() <= set().union(*keys)
    assert max(found.values()) <= len(people)


async def test_a_user_counts_once_in_the_bin_where_the_engine_s_arithmetic_ends(store):
    acme = await organization(store)
    await dataset(store, acme, "real", 3, height="double")
    await dataset(store, acme, "whole", 3, height="bigint")
    for name, width, values in (
        ("real", "7", [1e15 - 1, 1e15 - 3, 1e15 + 1, 1e15 + 3, -1e15 + 3, -1e15, -1e15 - 1]),
        ("real", "0.7", [1e14 - 0.125, 1e14, 1e14 + 0.25, -1e14, -1e14 + 0.25]),
        ("whole", "7", [2**63 - 1, 2**63 - 3, 2**63 - 6, 2**63 - 8, -(2**63), -(2**63) + 1, -(2**63) + 5]),
        ("whole", "0.7", [(2**63 - 1) // 10, (2**63 - 1) // 10 + 1, -(2**63) // 10, -(2**63) // 10 - 1]),
    ):
        await fill(store, acme, [[one, other] for one in values for other in values], name)
        expected = Counter(
            edge for one in values for other in values for edge in {_edge(repr(one), width), _edge(repr(other), width)}
        )
        question = {"dataset": name, "column": "height", "bin_width": width, "where": _between(values)}
        assert await exact_counts(store, acme, **question) == expected


def _between(values) -> str:
    return f'{{"$$height": {{"$gte": {min(values)!r}, "$lte": {max(values)!r}}}}}'


async def test_all_that_comes_from_the_store_is_counts(store):
    acme = await organization(store)
    await dataset(store, acme, height="double", sex="text?")
    await fill(store, acme, [[float(one) for one in range(100)] + [1e300 * one for one in range(9)]] * 50)
    found = await counted(store, acme, Asking(**(QUESTION | {"bin_width": "50"})))
    assert len(found.counted) < 20


async def test_none_of_a_user_s_bins_is_preferred(store):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [[10, 20]] * 400)
    assert all(120 < users < 280 for users in (await exact(store, acme, "10")).values())  # Eight standard deviations.


# Answers


async def test_the_same_question_has_the_same_answer_however_it_is_written(store, rows):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [150 + number % 50 for number in range(5000)])
    first = await answer(store, acme)
    assert len(first.buckets) == 5
    for width in ("10", "10.0", "1e1", "010"):
        assert await answer(store, acme, bin_width=width) == first
    assert await rows("SELECT count(*) FROM answers") == [(1,)]


async def test_askers_at_the_same_time_get_one_answer(store, elsewhere):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [150 + number % 200 for number in range(5000)])
    answers = await asyncio.gather(*(answer(one, acme) for one in (store, elsewhere) * 5))
    assert len({each.buckets for each in answers}) == 1


async def test_of_what_several_drew_the_first_that_is_kept_is_everybody_s_answer(store, elsewhere, rows):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [number % 200 * 10 for number in range(20_000)])
    drawn = [await draw(one, acme) for one in (store, elsewhere, store)]
    assert len({one.answer for one in drawn}) == 3
    answers = [await keep(one, each) for one, each in zip((elsewhere, store, store), drawn, strict=True)]
    answers.append(await draw(elsewhere, acme))  # Now there is nothing left to draw.
    assert len({each.buckets for each in answers}) == 1
    assert await rows("SELECT answer FROM answers") == [(drawn[0].answer,)]


async def test_an_answer_is_about_the_version_that_was_counted(store, rows):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [165] * 200)
    drawn = await draw(store, acme)
    await upload(store, acme, {f"later-{number}": {"heights": [{"height": 165}]} for number in range(200)})
    later = await answer(store, acme)
    earlier = await keep(store, drawn)
    assert earlier.buckets[0][1] < 300 < later.buckets[0][1]
    assert await rows("SELECT version FROM answers ORDER BY 1") == [(1,), (2,)]


async def test_what_is_exact_or_only_drawn_shows_nothing(store):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [165] * 203)
    exact = await counted(store, acme, Asking(**QUESTION))
    for shown in (repr(exact), repr(counts.anonymise(exact)), str(exact)):
        assert "203" not in shown.partition(" object at ")[0]
        assert " object at " in shown


async def test_an_upload_makes_a_new_question_of_it_and_the_old_answer_stays(store, rows):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [170] * 100)
    await answer(store, acme)
    await upload(store, acme, {"one-more": {"heights": [{"height": 170}]}})
    await answer(store, acme)
    assert await rows("SELECT version FROM answers ORDER BY 1") == [(1,), (2,)]


async def test_an_answer_has_labels_edges_and_its_cost(store):
    acme = await organization(store)
    await dataset(store, acme, buckets_per_user=2)
    await fill(store, acme, [165] * 500 + [-5] * 500)
    found = await answer(store, acme)
    assert found.label == "height"
    assert [edge for edge, _ in found.buckets] == ["-10", "160"]
    assert found.cost == cost(2)


async def test_an_answer_is_told_as_far_as_a_result_can_hold_it(store):
    acme = await organization(store)
    await dataset(store, acme, sex="text")
    question = {"dataset": "heights", "column": "sex", "categories": "*"}
    exact = await counted(store, acme, Asking(**question))
    many = [counts.store.Counted(f"={number:05}{'é' * 195}", None, 1000) for number in range(3000)]
    found = await keep(store, counts.anonymise(replace(exact, counted=many)))
    result = Result.histogram([(found.label, *one) for one in found.buckets], found.exceptions)
    assert 0.99 < result.content.ByteSize() / MAX_RESULT_BYTES < 1
    assert [value[:5] for value, _ in found.buckets] == [f"{number:05}" for number in range(len(found.buckets))]
    ((why, users),) = found.exceptions
    assert "beyond" in why
    assert users == pytest.approx(1000 * (3000 - len(found.buckets)), rel=0.01)


async def test_an_empty_dataset_has_no_buckets(store):
    acme = await organization(store)
    await dataset(store, acme)
    assert (await answer(store, acme)).buckets == ()


async def test_a_single_person_does_not_show(store):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [165] * 200 + [205])
    # Chance lets 28 in a million through.
    assert [edge for edge, _ in (await answer(store, acme)).buckets] == ["160"]


# Who asks


async def test_a_worker_asks_for_the_organization_of_its_lease(store):
    acme, other = await organization(store), await organization(store, "other")
    await dataset(store, acme)
    await fill(store, acme, [165] * 500)
    await task(store, acme, service=ACTION[0], action=ACTION[1])
    seated = await Worker.seated(store)
    [lease] = await seated.lease()
    asked = {"caller": seated.caller, "lease": tuple(lease), "asking": Asking(**QUESTION)}
    unanswered = await store.read(datasets.ask, **asked)
    assert unanswered.organization_id == acme.tenant
    assert await store.read(datasets.ask, **asked) == unanswered
    answered = await answer(store, acme)
    assert await store.read(datasets.ask, **asked) == answered
    stranger = await worker(store)
    for changes in ({"lease": (lease.task_id, lease.attempt + 1)}, {"lease": ("x", 1)}, {"caller": stranger}):
        with pytest.raises(LeaseEnded):
            await store.read(datasets.ask, **(asked | changes))
    await seated.complete(lease)
    with pytest.raises(LeaseEnded):
        await store.read(datasets.ask, **asked)
    with pytest.raises(DatasetNotFound):
        await store.read(datasets.ask, caller=other, lease=None, asking=Asking(**QUESTION))


async def test_workers_need_a_lease_and_nobody_else_has_one(store):
    acme = await organization(store)
    for caller, lease in ((await worker(store), None), (acme, ("x", 1))):
        with pytest.raises(InvalidFields) as refusal:
            await store.read(datasets.ask, caller=caller, lease=lease, asking=Asking(**QUESTION))
        assert [fault.field for fault in refusal.value.faults] == ["lease"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"column": "sex"}, ["column"]),
        ({"column": "weight"}, ["column"]),
        ({"bin_width": "0"}, ["bin_width"]),
        ({"column": "sex", "bin_width": "x", "where": "x"}, ["column", "bin_width", "where"]),
        ({"bin_width": ""}, ["bin_width"]),
        ({"column": "sex", "bin_width": ""}, ["categories"]),
        ({"categories": "*"}, ["categories"]),
        ({"bin_width": "", "categories": "*"}, ["categories"]),
        ({"column": "weight", "where": "[1]"}, ["column", "where[0]"]),
    ],
)
async def test_bad_questions_are_refused_by_field(store, changes, fields):
    acme = await organization(store)
    await dataset(store, acme, height="float", sex="text")
    with pytest.raises(InvalidFields) as refusal:
        await answer(store, acme, **changes)
    assert [fault.field for fault in refusal.value.faults] == fields
    faults = await store.read(counts.check_question, organization_id=acme.tenant, parameters=QUESTION | changes)
    assert [fault.field for fault in faults] == [f"task.parameters.{field}" for field in fields]


@pytest.mark.parametrize("name", ["nothing", "", "a\0"])
async def test_an_unknown_dataset_is_not_found(store, name):
    acme = await organization(store)
    with pytest.raises(DatasetNotFound):
        await answer(store, acme, dataset=name)


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({}, ["dataset", "column"]),
        (QUESTION | {"dataset": "nothing"}, ["dataset"]),
        (QUESTION | {"dataset": "a\0"}, ["dataset"]),
        (QUESTION | {"where": "x"}, ["where"]),
        (QUESTION | {"when": "x"}, ["when"]),
        (QUESTION, []),
    ],
)
async def test_a_task_s_parameters_are_checked_before_it_is_taken(store, parameters, fields):
    acme = await organization(store)
    await dataset(store, acme)
    faults = await store.read(counts.check_question, organization_id=acme.tenant, parameters=parameters)
    assert [fault.field for fault in faults] == [f"task.parameters.{field}" for field in fields]


async def test_a_kept_answer_holds_nothing_exact(store, rows):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [165] * 503 + [175] * 7)
    await answer(store, acme)
    [(question, kept)] = await rows("SELECT question, answer FROM answers")
    assert orjson.loads(question) == {"bin_width": "10", "column": "height"}
    assert set(orjson.loads(kept)) == {"buckets", "exceptions", "epsilon", "delta"}
    assert all(users % 5 == 0 for _, users in orjson.loads(kept)["buckets"])
