"""Results, as their organization sees them."""

import pytest

from server.core import pages, results
from server.core.errors import InvalidFields, ResultNotFound, TaskNotFound
from server.core.reports import Publication, Report
from server.core.results import Histogram
from tests.core.scenes import Worker, histogram, organization, task


async def published(store, caller, count: int) -> str:
    """Create a task with this many results and return its id."""
    created = await task(store, caller)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    reports = [Report(lease, Publication(number, histogram(number))) for number in range(1, count + 1)]
    assert await worker.report(*reports) == [""] * count
    return created.id


def counts_of(page) -> list[int]:
    return [one.histogram.buckets[0][2] for one in page.items]


async def test_results_are_listed_newest_first_even_of_one_microsecond(store):
    caller = await organization(store)
    task_id = await published(store, caller, 5)
    page, total = await store.read(results.page, caller=caller, task_id=task_id, page_size=2, page_token="")
    assert (counts_of(page), total) == ([5, 4], 5)
    found, token = counts_of(page), page.next_page_token
    while token:
        page, _ = await store.read(results.page, caller=caller, task_id=task_id, page_size=2, page_token=token)
        found += counts_of(page)
        token = page.next_page_token
    assert found == [5, 4, 3, 2, 1]


async def test_one_result_is_found_by_its_id(store):
    caller = await organization(store)
    task_id = await published(store, caller, 1)
    page, _ = await store.read(results.page, caller=caller, task_id=task_id, page_size=0, page_token="")
    [only] = page.items
    assert await store.read(results.get, caller=caller, result_id=only.id) == only
    assert only.task_id == task_id


async def test_another_organization_s_results_are_as_unknown_as_none(store):
    one, two = await organization(store, "one"), await organization(store, "two")
    task_id = await published(store, two, 1)
    page, _ = await store.read(results.page, caller=two, task_id=task_id, page_size=0, page_token="")
    with pytest.raises(TaskNotFound):
        await store.read(results.page, caller=one, task_id=task_id, page_size=0, page_token="")
    with pytest.raises(TaskNotFound):
        await store.read(results.numbered_page, caller=one, task_id=task_id, number=1, size=1)
    for result_id in (page.items[0].id, "none"):
        with pytest.raises(ResultNotFound):
            await store.read(results.get, caller=one, result_id=result_id)


@pytest.mark.parametrize("token", ["x", "MS4x", "OTk5OTk5OTk5OTk5OTk5OTk5OTku", "ü"])
async def test_a_made_up_page_token_is_refused(store, token):
    caller = await organization(store)
    task_id = await published(store, caller, 1)
    with pytest.raises(InvalidFields, match="page_token"):
        await store.read(results.page, caller=caller, task_id=task_id, page_size=2, page_token=token)


async def test_numbered_pages_count_over_all_pages_and_end_empty(store):
    caller = await organization(store)
    task_id = await published(store, caller, 3)

    async def numbered(number: int) -> tuple[int, int]:
        page = await store.read(results.numbered_page, caller=caller, task_id=task_id, number=number, size=2)
        return page.tally.kept, len(page.items)

    assert [await numbered(number) for number in (1, 2, 3, 2**31 - 1)] == [(3, 2), (3, 1), (3, 0), (3, 0)]


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram([("", None, 1)], []),
        Histogram([("x" * 201, None, 1)], []),
        Histogram([("x", "x" * 2001, 1)], []),
        Histogram([("x", None, -1)], []),
        Histogram([], [("", 1)]),
        Histogram([], [("x", -1)]),
    ],
)
def test_a_malformed_histogram_is_known(histogram):
    assert histogram.fault()


def test_a_histogram_may_be_empty():
    assert Histogram([], []).fault() is None


async def test_a_numbered_page_that_would_be_too_large_is_refused_by_its_parameter(store, monkeypatch):
    caller = await organization(store)
    task_id = await published(store, caller, 30)
    monkeypatch.setattr(results, "MAX_NUMBERED_BYTES", 1000)
    monkeypatch.setattr(results, "MAX_CONTENT_BYTES", 100)
    asked = {"caller": caller, "task_id": task_id, "number": 1}
    with pytest.raises(InvalidFields) as refused:
        await store.read(results.numbered_page, **asked, size=30)
    assert refused.value.faults[0].field == "per_page"
    assert len((await store.read(results.numbered_page, **asked, size=10)).items) == 10


async def test_a_list_of_large_results_comes_in_shorter_pages_and_whole(store, monkeypatch):
    caller = await organization(store)
    task_id = await published(store, caller, 5)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 120)  # Two of them.
    found, token = [], ""
    while not found or token:
        page, _ = await store.read(results.page, caller=caller, task_id=task_id, page_size=100, page_token=token)
        assert len(page.items) <= 2
        found += counts_of(page)
        token = page.next_page_token
    assert found == [5, 4, 3, 2, 1]
