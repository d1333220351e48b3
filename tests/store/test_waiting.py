"""In which order, and how many at a time, jobs go to the embedded engine's writer."""

import asyncio
from collections.abc import Iterator
from math import inf

import pytest

from server.store import waiting
from server.store.waiting import MAX_BATCH, Job, Waiting
from tests.store.names import now


@pytest.fixture(autouse=True)
def endless_batches(monkeypatch) -> None:
    """Have no batch be cut short because the machine is slow."""
    monkeypatch.setattr(waiting, "BATCH_SECONDS", inf)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def names(jobs: Iterator[Job]) -> list[str]:
    return [job.args[0] for job in jobs]


@pytest.fixture
def put(loop):
    def put(queue: Waiting, *names: str, soon: bool = False) -> list[asyncio.Future[object]]:
        jobs = [Job(now, (name,), {}, loop.create_future(), soon) for name in names]
        for job in jobs:
            queue.put(job)
        return [job.answer for job in jobs]

    return put


def test_what_is_to_be_soon_goes_first_also_when_it_comes_meanwhile(put):
    queue = Waiting()
    put(queue, "a", "b", "c")
    put(queue, "x", soon=True)
    batch = queue.batch()
    assert [next(batch).args[0] for _ in range(2)] == ["x", "a"]
    put(queue, "y", soon=True)
    assert names(batch) == ["y", "b", "c"]


def test_the_rest_is_never_left_out(put):
    queue = Waiting()
    put(queue, "a", "b")
    put(queue, *map(str, range(MAX_BATCH + 50)), soon=True)
    assert names(queue.batch()) == [*map(str, range(MAX_BATCH)), "a"]
    assert names(queue.batch()) == [*map(str, range(MAX_BATCH, MAX_BATCH + 50)), "b"]


def test_none_is_added_when_the_time_is_over(put, monkeypatch):
    monkeypatch.setattr(waiting, "BATCH_SECONDS", 0)
    queue = Waiting()
    put(queue, "a", "b")
    put(queue, "x", "y", soon=True)
    assert [names(queue.batch()) for _ in range(3)] == [["x", "a"], ["y", "b"], []]


def test_what_nobody_waits_for_any_more_is_not_run(put):
    queue = Waiting()
    first, _ = put(queue, "a", "b")
    first.cancel()
    assert names(queue.batch()) == ["b"]


def test_of_the_rest_one_is_run_for_which_somebody_waits(put):
    queue = Waiting()
    first, second, _, fourth = put(queue, "a", "b", "c", "d")
    put(queue, *map(str, range(MAX_BATCH)), soon=True)
    for answer in (first, second, fourth):
        answer.cancel()
    assert names(queue.batch()) == [*map(str, range(MAX_BATCH)), "c"]
    assert names(queue.batch()) == []


def test_a_closed_queue_ends_after_all_that_came_before(put):
    queue = Waiting()
    put(queue, "a")
    queue.close()
    assert queue.wait()
    assert names(queue.batch()) == ["a"]
    assert not queue.wait()
