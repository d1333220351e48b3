"""Counts that actions ask for, of a house that is played by hand."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from server.worker import actions
from taskhouse.v1 import datasets_pb2, results_pb2
from taskhouse.v1 import work_pb2 as pb
from tests.worker.played import OK, Running


def counting(house, stream, **asked) -> tuple[pb.LeaseName, datasets_pb2.CountUsersRequest, object]:
    asked = asked or {"dataset": "heights", "column": "height", "bin_width": "10"}
    lease = pb.Lease(task_id="t", attempt=3, service="cloak", action="histogram", parameters=asked)
    stream.say(leases=pb.Leases(leases=[lease]))
    _, request, rpc = house.take_count_users()
    return pb.LeaseName(task_id="t", attempt=3), request, rpc


@pytest.fixture
def cloak(house):
    started = Running(house, actions.worker)
    yield started
    started.session.stop(0)


def test_the_house_s_histogram_counts_users_in_the_name_of_its_lease(house, cloak):
    stream = house.stream()
    stream.hear_hello()
    lease, request, rpc = counting(house, stream)
    assert request == datasets_pb2.CountUsersRequest(dataset="heights", column="height", bin_width="10", lease=lease)
    bucket = results_pb2.Bucket(label="height", value="160", count=35)
    rpc.terminate(datasets_pb2.CountUsersResponse(buckets=[bucket], epsilon=1), (), OK, "")
    publication, _ = stream.hear_reports(2)
    assert list(publication.publication.histogram.buckets) == [bucket]


def test_the_house_s_histogram_asks_by_categories_and_filter_and_publishes_exceptions(house, cloak):
    stream = house.stream()
    stream.hear_hello()
    asked = {"dataset": "people", "column": "sex", "categories": "*", "where": '{"$$age": {"$gt": 30}}'}
    lease, request, rpc = counting(house, stream, **asked)
    assert request == datasets_pb2.CountUsersRequest(**asked, lease=lease)
    exception = results_pb2.ExceptionCount(error="The value has more than 200 characters.", count=30)
    rpc.terminate(datasets_pb2.CountUsersResponse(exceptions=[exception], epsilon=1), (), OK, "")
    publication, _ = stream.hear_reports(2)
    assert list(publication.publication.histogram.exceptions) == [exception]


def test_an_action_asks_again_when_counting_takes_longer_than_a_call(house, cloak):
    stream = house.stream()
    stream.hear_hello()
    _, request, rpc = counting(house, stream)
    rpc.terminate(None, (), grpc.StatusCode.DEADLINE_EXCEEDED, "")
    _, asked_again, again = house.take_count_users()
    assert asked_again == request
    again.terminate(datasets_pb2.CountUsersResponse(epsilon=1), (), OK, "")
    publication, completion = stream.hear_reports(2)
    assert (publication.WhichOneof("outcome"), completion.WhichOneof("outcome")) == ("publication", "completion")


def test_an_action_asks_again_when_the_house_was_away_and_fails_when_it_refuses(house, cloak):
    stream = house.stream()
    stream.hear_hello()
    _, _, rpc = counting(house, stream)
    rpc.terminate(None, (), grpc.StatusCode.UNAVAILABLE, "")
    _, _, again = house.take_count_users()
    again.terminate(None, (), grpc.StatusCode.NOT_FOUND, "There is no dataset heights.")
    [failure] = stream.hear_reports(1)
    assert failure.failure.error == "NOT_FOUND: There is no dataset heights."
    assert not failure.failure.non_retryable


def refused(reason: str) -> tuple[tuple[str, bytes], ...]:
    """What comes with a refusal for this reason."""
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.mark.parametrize(
    ("code", "trailers", "in_vain"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, (), True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, refused("BUDGET_EXHAUSTED"), True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, refused("TOO_MANY_QUESTIONS"), False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (), False),
    ],
)
def test_a_question_that_can_never_be_answered_fails_its_task_for_good(house, cloak, code, trailers, in_vain):
    stream = house.stream()
    stream.hear_hello()
    _, _, rpc = counting(house, stream)
    rpc.terminate(None, trailers, code, "no")
    [failure] = stream.hear_reports(1)
    assert failure.failure == pb.Failure(error=f"{code.name}: no", non_retryable=in_vain)
