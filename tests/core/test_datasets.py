"""Declarations of datasets."""

from collections import Counter

import pytest

from server.core import datasets, events, uploading
from server.core.columns import Column, ColumnType
from server.core.errors import DatasetExists, DatasetNotFound, InvalidFields
from server.store import counts
from server.store import datasets as stored_datasets
from tests.core.filled import dataset, declaration, fill, kept_rows, upload
from tests.core.scenes import organization


def paths(refusal) -> list[str]:
    return [fault.field for fault in refusal.value.faults]


async def test_a_declared_dataset_is_found_by_its_name(store):
    acme = await organization(store)
    declared = await dataset(store, acme, height="float", sex="text?")
    assert declared.columns == (Column("height", ColumnType.FLOAT, False), Column("sex", ColumnType.TEXT, True))
    assert (declared.version, declared.buckets_per_user) == (0, 1)
    assert await store.read(datasets.get, caller=acme, name="heights") == declared


async def test_declaring_it_again_alike_changes_nothing(store):
    acme = await organization(store)
    first = await dataset(store, acme)
    await fill(store, acme, [170.5])
    again = await dataset(store, acme)
    assert again == first._replace(version=1)


@pytest.mark.parametrize(
    "other",
    [
        declaration(height="double"),
        declaration(height="float?"),
        declaration(size="float"),
        declaration(height="float", sex="text"),
        declaration(buckets_per_user=2),
    ],
)
async def test_a_name_keeps_its_columns_and_settings(store, other):
    acme = await organization(store)
    first = await dataset(store, acme)
    with pytest.raises(DatasetExists):
        await store.write(datasets.create, caller=acme, declaration=other)
    assert await store.read(datasets.get, caller=acme, name="heights") == first


async def test_all_faults_of_a_declaration_are_told_together(store):
    acme = await organization(store)
    wrong = declaration("ac_x", 101, **{"1st": "float", "a b": "text"})
    with pytest.raises(InvalidFields) as refusal:
        await store.write(datasets.create, caller=acme, declaration=wrong)
    assert paths(refusal) == [
        "dataset.name", "dataset.columns[0].name", "dataset.columns[1].name", "dataset.buckets_per_user",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "1", "_a", "a-b", "a" * 64, "AC_x", "é", "a\n"])
async def test_a_name_that_no_dataset_can_have_is_refused(store, name):
    acme = await organization(store)
    with pytest.raises(InvalidFields) as refusal:
        await dataset(store, acme, name)
    assert paths(refusal) == ["dataset.name"]


@pytest.mark.parametrize("count", [0, 101])
async def test_a_dataset_has_one_to_a_hundred_columns(store, count):
    acme = await organization(store)
    many = datasets.Declaration("d", tuple(Column(f"c{i}", ColumnType.TEXT, False) for i in range(count)), 1)
    with pytest.raises(InvalidFields) as refusal:
        await store.write(datasets.create, caller=acme, declaration=many)
    assert paths(refusal) == ["dataset.columns"]


async def test_two_columns_cannot_share_a_name(store):
    acme = await organization(store)
    column = Column("c", ColumnType.TEXT, False)
    with pytest.raises(InvalidFields) as refusal:
        await store.write(datasets.create, caller=acme, declaration=datasets.Declaration("d", (column, column), 1))
    assert paths(refusal) == ["dataset.columns[1].name"]


async def test_several_are_declared_all_or_none(store):
    acme = await organization(store)
    await dataset(store, acme, "b", size="float")
    with pytest.raises(DatasetExists):
        await store.write(
            datasets.apply, actor=acme, organization_id=acme.tenant, declarations=[declaration("a"), declaration("b")]
        )
    assert [one.name for one in await store.read(datasets.of_organization, organization_id=acme.tenant)] == ["b"]


async def test_one_application_cannot_name_a_dataset_twice(store):
    acme = await organization(store)
    with pytest.raises(InvalidFields) as refusal:
        await store.write(
            datasets.apply, actor=acme, organization_id=acme.tenant, declarations=[declaration("a"), declaration("a")]
        )
    assert paths(refusal) == ["datasets[1].name"]


@pytest.mark.parametrize("name", ["nothing", "", "a\0"])
async def test_an_unknown_name_is_told(store, name):
    acme = await organization(store)
    with pytest.raises(DatasetNotFound):
        await store.read(datasets.get, caller=acme, name=name)


async def test_another_organization_s_dataset_answers_as_an_unknown_one(store):
    acme, other = await organization(store), await organization(store, "other")
    await dataset(store, acme)
    with pytest.raises(DatasetNotFound):
        await store.read(datasets.get, caller=other, name="heights")
    page = await store.read(datasets.page, caller=other, page_size=0, page_token="")
    assert page.items == []


async def test_pages_go_through_all_datasets_by_name(store):
    acme = await organization(store)
    for name in ("c", "a", "b"):
        await dataset(store, acme, name)
    first = await store.read(datasets.page, caller=acme, page_size=2, page_token="")
    second = await store.read(datasets.page, caller=acme, page_size=2, page_token=first.next_page_token)
    assert [[one.name for one in page.items] for page in (first, second)] == [["a", "b"], ["c"]]
    assert second.next_page_token == ""


async def erase(store, caller, user, name="heights", **options):
    erased = {"actor": caller, "organization_id": caller.tenant, "name": name, "user_id": user}
    return await store.write(datasets.erase_user, **erased, **options)


async def log(store, caller, *, action="dataset.user_erased"):
    told = await store.read(events.page, organization_id=caller.organization_id, after=0, most=100)
    return [event for event in told if event.action == action]


async def test_erasing_a_user_takes_all_of_its_rows_and_none_of_others(store):
    acme, other = await organization(store), await organization(store, "other")
    for caller, name in ((acme, "heights"), (acme, "weights"), (other, "heights")):
        await dataset(store, caller, name=name)
        await upload(store, caller, {user: {name: [{"height": 1}] * 3} for user in ("anna", "anna ", "Anna", "bert")})
    erased = await erase(store, acme, "anna")
    assert erased == await store.read(datasets.get, caller=acme, name="heights")
    assert Counter(row.user_id for row in await kept_rows(store)) == {"anna": 6, "anna ": 9, "Anna": 9, "bert": 9}


async def test_a_dataset_s_declaration_is_told_once(store):
    acme = await organization(store)
    for _ in range(2):
        await dataset(store, acme)
    (event,) = await log(store, acme, action="dataset.declared")
    assert (event.actor_id, event.object, event.before) == (
        acme.credential_id,
        events.Object("dataset", "heights"),
        None,
    )
    assert event.after["buckets_per_user"] == 1
    assert [column["name"] for column in event.after["columns"]] == ["height"]


async def test_erasing_moves_the_dataset_on_and_is_told_without_the_user(store):
    acme = await organization(store)
    await dataset(store, acme)
    await upload(store, acme, {"anna": {"heights": [{"height": 1}]}})
    assert (await erase(store, acme, "anna")).version == 2
    (event,) = await log(store, acme)
    assert (event.action, event.object) == ("dataset.user_erased", events.Object("dataset", "heights"))
    assert (event.actor_id, event.before, event.after) == (acme.credential_id, {"version": 1}, {"version": 2})
    assert "anna" not in repr(event)


async def test_erasing_somebody_unknown_cannot_be_told_from_erasing_a_user(store):
    acme = await organization(store)
    for name in ("one", "two"):
        await dataset(store, acme, name=name)
        await upload(store, acme, {"anna": {name: [{"height": 1}]}})
    known, unknown = await erase(store, acme, "anna", "one"), await erase(store, acme, "nobody", "two")
    nameless = {"name": "", "create_time": 0}
    assert known._replace(**nameless) == unknown._replace(**nameless)
    one, two = await log(store, acme)
    assert one[2:5] + one[6:-1] == two[2:5] + two[6:-1]
    assert (await erase(store, acme, "anna", "one")).version == 3


async def test_answers_that_were_given_stay(store):
    acme = await organization(store)
    await dataset(store, acme)
    await fill(store, acme, [170.5])
    (found,) = await store.read(stored_datasets.page, organization_id=acme.tenant, after="", most=1)
    question = {"dataset_id": found.id, "version": 1, "question": "q"}
    await store.write(counts.keep, **question, answer="a")
    await erase(store, acme, "user-0")
    assert await store.read(counts.kept, **question) == "a"


async def test_a_user_with_very_many_rows_is_erased_in_pieces(store, monkeypatch):
    monkeypatch.setattr(datasets, "ERASED_AT_ONCE", 10)
    acme = await organization(store)
    await dataset(store, acme)
    await upload(store, acme, {user: {"heights": [{"height": 1}] * 25} for user in ("anna", "bert")})
    assert await erase(store, acme, "anna") is None
    for left, version in ((40, 2), (30, 3)):
        # Whatever becomes of the rest, this much is told and is in no answer that is given from now on.
        assert len(await kept_rows(store)) == left
        assert (await store.read(datasets.get, caller=acme, name="heights")).version == version
        (event,) = await log(store, acme)
        assert (event.before, event.after) == ({"version": 1}, {"version": 2})
        erased = await erase(store, acme, "anna", goes_on=True)
    assert erased.version == 4
    assert {row.user_id for row in await kept_rows(store)} == {"bert"}
    assert len(await log(store, acme)) == 1


async def test_an_upload_that_goes_on_does_not_bring_an_erased_user_back(store):
    acme = await organization(store)
    await dataset(store, acme)
    named = {"dataset": "heights", "upload_id": "6b1f2a3c-7d52-4a0e-9b0f-0c1d2e3f4a5b"}
    for first_row, users in ((0, ["anna", "bert"]), (2, ["cleo"])):
        stream = await store.write(uploading.begin, caller=acme, **named)
        assert stream.first_row == first_row
        rows = [(stream.table.id, user, "[1]") for user in users]
        await store.write_guarded(uploading.put, stream=stream, first_row=first_row, rows=rows)
        await erase(store, acme, "anna")
    assert [row.user_id for row in await kept_rows(store)] == ["bert", "cleo"]


async def test_a_dataset_of_others_has_nobody_to_erase(store):
    acme, other = await organization(store), await organization(store, "other")
    await dataset(store, acme)
    for name in ("heights", "weights", "", "\0"):
        with pytest.raises(DatasetNotFound):
            await erase(store, other, "anna", name)
    assert await log(store, other) == []
