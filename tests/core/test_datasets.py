"""Declarations of datasets."""

import pytest

from server.core import datasets
from server.core.columns import Column, ColumnType
from server.core.errors import DatasetExists, DatasetNotFound, InvalidFields
from tests.core.filled import dataset, declaration, fill
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
            datasets.apply, organization_id=acme.tenant, declarations=[declaration("a"), declaration("b")]
        )
    assert [one.name for one in await store.read(datasets.of_organization, organization_id=acme.tenant)] == ["b"]


async def test_one_application_cannot_name_a_dataset_twice(store):
    acme = await organization(store)
    with pytest.raises(InvalidFields) as refusal:
        await store.write(
            datasets.apply, organization_id=acme.tenant, declarations=[declaration("a"), declaration("a")]
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
