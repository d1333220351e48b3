"""The worker kit: what is wrong with workers, actions and results is told where they are written."""

import pytest

from server.worker.houses import SocketHouse, WorkerRefused
from server.worker.kit import BadResult, Bucket, ExceptionCount, Result, Task, Worker
from server.worker.session import Session

worker = Worker(service="test")


@worker.action("once")
def once(task: Task) -> Result:
    return Result.histogram([("height", "140", 1)], [])


@pytest.mark.parametrize(
    "bad",
    [
        {"buckets": [("", None, 1)]},
        {"buckets": [("x" * 201, None, 1)]},
        {"buckets": [("x", "y" * 2001, 1)]},
        {"buckets": [("x", None, -1)]},
        {"buckets": [("x", None, 2**31)]},
        {"buckets": [("x", None)]},
        {"buckets": [("x" * 200, None, 1)] * 2100},
        {"buckets": [("7", None, 1)] * 40_000},  # As a message it would fit.
        {"buckets": [], "exceptions": [("", 1)]},
        {"buckets": [], "exceptions": [("x", -1)]},
    ],
)
def test_what_the_house_would_refuse_is_refused_where_it_is_made(bad):
    with pytest.raises(BadResult):
        Result.histogram(**bad)


def test_a_histogram_takes_named_and_plain_tuples():
    named = Result.histogram([Bucket("height", "160", 35)], [ExceptionCount("oops", 5)])
    assert named == Result.histogram([("height", "160", 35)], [("oops", 5)])


def test_an_action_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        worker.action("once")(once)
    with pytest.raises(WorkerRefused, match="two actions test/once"):
        Session([worker, worker], SocketHouse(list, ""), capacity=1)


@pytest.mark.parametrize("slug", ["", "a b", "Once", "x" * 64, "é", "once\n", None])
def test_what_is_no_slug_is_refused_where_it_is_written(slug):
    with pytest.raises(ValueError, match="a service is named by 1 to 63 of a-z"):
        Worker(service=slug)
    with pytest.raises(ValueError, match="an action is named by 1 to 63 of a-z"):
        worker.action(slug)


def test_a_worker_without_actions_is_refused():
    with pytest.raises(WorkerRefused, match="the Worker of idle has no actions"):
        Session([Worker(service="idle")], SocketHouse(list, ""), capacity=1)
