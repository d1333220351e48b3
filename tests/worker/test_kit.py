"""The worker kit: against a house that is played by hand."""

import logging
import sys
import threading
import time

import grpc
import pytest

from server.worker.houses import HouseAway, WorkerRefused
from server.worker.kit import Bucket, NonRetryable, Result, Task, Worker
from taskhouse.v1 import results_pb2
from taskhouse.v1 import work_pb2 as pb
from tests.worker.played import PATIENCE_SECONDS, PlayedHouse, PlayedStream, Running, soon, until

worker = Worker(service="test")


@worker.action("once")
def once(task: Task) -> Result:
    return Result.histogram([("height", task.parameters.get("value"), 5)])


@worker.action("thrice")
def thrice(task: Task):
    for number in range(1, 4):
        yield Result.histogram([Bucket("number", None, number)])


@worker.action("raise")
def raise_(task: Task) -> Result:
    raise RuntimeError("the device is off")


@worker.action("exit")
def exit_(task: Task) -> Result:
    sys.exit("enough")


@worker.action("undecodable")
def undecodable(task: Task) -> Result:
    raise ValueError("bad name: \udc80")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@worker.action("mute")
def mute(task: Task) -> Result:
    raise Mute


@worker.action("stubborn")
def stubborn(task: Task):
    try:
        yield "no result"
    finally:
        yield "nor this"


@worker.action("empty")
def empty(task: Task):
    return iter(())


@worker.action("deaf")
def deaf(task: Task) -> Result:
    """Work until the gate opens, whatever becomes of the lease."""
    NOTES[task.parameters["gate"]].append("began")
    assert GATES[task.parameters["gate"]].wait(PATIENCE_SECONDS)
    return Result.histogram([])


@worker.action("nothing")
def nothing(task: Task):
    return None


GATES: dict[str, threading.Event] = {}
NOTES: dict[str, list[str]] = {}


@worker.action("wait")
def wait(task: Task) -> Result:
    """Work until the gate opens, or until it is in vain."""
    gate, notes = GATES[task.parameters["gate"]], NOTES[task.parameters["gate"]]
    notes.append("began")
    end = time.monotonic() + PATIENCE_SECONDS
    while not gate.wait(0.005):
        assert time.monotonic() < end
        if task.cancelled:
            notes.append("cancelled")
            break
    return Result.histogram([])


@pytest.fixture
def gate(request):
    name = request.node.nodeid
    GATES[name], NOTES[name] = threading.Event(), []
    yield name
    GATES[name].set()


@pytest.fixture
def running(house):
    started = Running(house, worker)
    yield started
    started.session.stop(0)


@pytest.fixture
def stream(house, running) -> PlayedStream:
    taken = house.stream()
    taken.hear_hello()
    return taken


def test_a_worker_introduces_itself(house, running):
    hello = house.stream().hear_hello()
    assert (hello.worker, hello.session_id, hello.capacity) == ("w", "", 5)
    assert {(one.service, one.action) for one in hello.actions} == {("test", slug) for slug in worker.actions}


def test_a_result_and_the_completion_are_reported_together(stream):
    lease = stream.lease("once", value="160")
    publication, completion = stream.hear("reports").reports
    assert publication.lease == completion.lease == lease
    assert publication.publication.number == 1
    assert list(publication.publication.histogram.buckets) == [results_pb2.Bucket(label="height", value="160", count=5)]
    assert completion.HasField("completion")
    stream.acknowledge([publication, completion])


def test_a_generator_publishes_several_results_in_their_order(stream):
    stream.lease("thrice")
    reports = stream.hear_reports(4)
    assert [report.publication.number for report in reports[:3]] == [1, 2, 3]
    assert [report.publication.histogram.buckets[0].count for report in reports[:3]] == [1, 2, 3]
    assert reports[3].HasField("completion")
    stream.acknowledge(reports)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("raise", "RuntimeError: the device is off"),
        ("nothing", "NoneType, not a Result"),
        ("exit", "SystemExit: enough"),
        ("undecodable", r"ValueError: bad name: \udc80"),
        ("mute", "Mute"),
        ("stubborn", "generator ignored GeneratorExit"),
    ],
)
def test_an_action_that_raises_or_returns_no_result_fails_the_attempt(stream, action, text, caplog):
    caplog.set_level(logging.ERROR, "taskhouse.worker")  # Else pytest-xdist fails to send a lone surrogate.
    stream.lease(action)
    [report] = stream.hear_reports(1)
    assert text in report.failure.error
    stream.acknowledge([report])
    stream.lease("once")
    assert stream.hear_reports(2)[1].HasField("completion")


def test_a_worker_renews_its_session(house, running):
    stream = house.stream()
    stream.hear_hello(renew_seconds=0.02)
    stream.hear("renewal")
    stream.hear("renewal")


def test_a_stale_acknowledgement_ends_the_attempt_and_nothing_more_is_said_of_it(stream):
    stream.lease("once")
    reports = stream.hear_reports(2)
    stream.acknowledge(reports, "LEASE_ENDED", "LEASE_ENDED")
    later = stream.lease("once", attempt=2)
    assert stream.hear_reports(2)[0].lease == later


def test_a_refused_result_fails_the_attempt(stream):
    stream.lease("once")
    reports = stream.hear_reports(2)
    stream.acknowledge(reports, "INVALID_FIELD", "INVALID_FIELD")
    [failure] = stream.hear_reports(1)
    assert "INVALID_FIELD" in failure.failure.error


def test_a_refused_completion_ends_the_attempt(house):
    running = Running(house, worker, capacity=1)
    stream = house.stream()
    stream.hear_hello()
    stream.lease("empty")
    stream.acknowledge(stream.hear_reports(1), "INVALID_FIELD")
    stream.say(leases=pb.Leases(leases=[pb.Lease(task_id="next", attempt=1, service="test", action="once")]))
    stream.acknowledge(stream.hear_reports(2))
    running.session.stop(60)
    stream.hear("drain")
    until(lambda: running.is_over)  # Nothing is held any more.


def test_no_more_actions_run_at_a_time_than_the_capacity_even_if_their_leases_are_lost(house, gate):
    """What finds no thread goes back to the house, and the thread that gets free takes what comes then."""
    running = Running(house, worker, capacity=1)
    stream = house.stream()
    stream.hear_hello(renew_seconds=0.2)
    first = stream.lease("deaf", gate=gate)
    until(lambda: NOTES[gate] == ["began"])
    stream.say(revocations=pb.Revocations(leases=[first]))
    stream.lease("once")
    [returned] = stream.hear_reports(1, past="renewal")
    assert (returned.lease.task_id, returned.WhichOneof("outcome")) == ("once", "return")
    stream.acknowledge([returned])
    GATES[gate].set()
    stream.lease("thrice")
    assert [report.lease.task_id for report in stream.hear_reports(4, past="renewal")] == ["thrice"] * 4
    running.session.stop(0)


def test_a_revoked_lease_stops_its_action(stream, gate):
    lease = stream.lease("wait", gate=gate)
    until(lambda: NOTES[gate] == ["began"])
    stream.say(revocations=pb.Revocations(leases=[lease]))
    until(lambda: NOTES[gate] == ["began", "cancelled"])
    next_ = stream.lease("once")
    assert stream.hear_reports(2)[0].lease == next_, "the revoked attempt said something"


def test_after_a_lost_connection_the_session_goes_on_and_unacknowledged_reports_are_said_again(house, stream, gate):
    waiting = stream.lease("wait", gate=gate)
    stream.lease("once")
    reports = stream.hear_reports(2)
    stream.end(grpc.StatusCode.UNAVAILABLE)
    again = house.stream()
    assert again.hear_hello().session_id == "s1"
    assert again.hear_reports(2) == reports
    again.acknowledge(reports)
    again.lease("wait", gate=gate)  # The house says leases again; this one is at work.
    GATES[gate].set()
    assert [report.lease for report in again.hear_reports(2)] == [waiting, waiting]
    assert NOTES[gate] == ["began"]


def test_when_the_session_has_ended_its_leases_are_given_up(house, stream, gate):
    stream.lease("wait", gate=gate)
    stream.lease("once")
    stream.hear_reports(2)
    stream.end()
    again = house.stream()
    again.hear_hello("s2")
    until(lambda: NOTES[gate] == ["began", "cancelled"])
    lease = again.lease("once", attempt=2)
    assert again.hear_reports(2)[0].lease == lease


def test_a_stopping_worker_finishes_what_it_has(stream, running, gate):
    stream.lease("wait", gate=gate)
    until(lambda: NOTES[gate] == ["began"])
    running.session.stop(PATIENCE_SECONDS)
    stream.hear("drain")
    GATES[gate].set()
    reports = stream.hear_reports(2)
    assert reports[1].HasField("completion")
    stream.acknowledge(reports)
    soon(stream.rpc.requests_closed)
    stream.end()
    running.result()


def test_a_stopping_worker_hands_back_what_it_cannot_finish(stream, running, gate):
    lease = stream.lease("wait", gate=gate)
    until(lambda: NOTES[gate] == ["began"])
    running.session.stop(0.05)
    stream.hear("drain")
    [report] = stream.hear_reports(1)
    assert report.lease == lease
    assert report.WhichOneof("outcome") == "return"
    stream.acknowledge([report])
    soon(stream.rpc.requests_closed)
    stream.end()
    running.result()


def test_a_stopping_worker_hands_back_what_comes_late(stream, running, gate):
    stream.lease("wait", gate=gate)
    until(lambda: NOTES[gate] == ["began"])
    running.session.stop(PATIENCE_SECONDS)
    stream.hear("drain")
    late = stream.lease("once")
    [report] = stream.hear_reports(1)
    assert (report.lease, report.WhichOneof("outcome")) == (late, "return")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION]
)
def test_a_worker_that_is_refused_ends(house, running, code):
    house.stream().end(code, "no")
    with pytest.raises(WorkerRefused, match="refuses this worker"):
        running.result()


def test_while_the_house_is_away_the_worker_tries_again_and_says_so_once(house, running, caplog):
    for _ in range(3):
        house.stream().end(grpc.StatusCode.UNAVAILABLE, "connection refused")
    house.stream().hear_hello()
    until(lambda: "the house is back" in caplog.text)
    assert caplog.text.count("it is away") == 1


def test_a_worker_ends_that_is_stopped_while_the_house_is_away():
    class Nowhere(PlayedHouse):
        def open(self):
            raise HouseAway("no server runs here")

    running = Running(Nowhere(), worker)
    running.session.stop(0)
    running.result()


def test_an_action_says_itself_that_another_attempt_would_be_in_vain(house):
    worker = Worker(service="test")

    @worker.action("hopeless")
    def hopeless(task: Task) -> Result:
        raise NonRetryable("the account is closed")

    running = Running(house, worker)
    stream = house.stream()
    stream.hear_hello()
    stream.lease("hopeless")
    [failure] = stream.hear_reports(1)
    assert failure.failure == pb.Failure(error="the account is closed", non_retryable=True)
    running.session.stop(0)
