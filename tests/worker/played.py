"""A house whose part a test plays by hand, with grpcio-testing's channel, and a session of workers before it."""

import threading
import time
from concurrent.futures import Future

import grpc
import grpc_testing

from server.worker.session import Session
from taskhouse.v1 import datasets_pb2, work_pb2
from taskhouse.v1 import work_pb2 as pb

PATIENCE_SECONDS = 10
WORK = work_pb2.DESCRIPTOR.services_by_name["WorkService"]
DATASETS = datasets_pb2.DESCRIPTOR.services_by_name["DatasetService"]
OK = grpc.StatusCode.OK


def soon(function, *arguments):
    """Call what blocks, but not for ever: grpcio-testing waits without end."""
    return later(function, *arguments).result(PATIENCE_SECONDS)


def later(function, *arguments) -> Future:
    """Call it in a thread that keeps nobody waiting."""
    future: Future = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised again, in the test.
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


class PlayedHouse:
    """A house whose part the test plays."""

    metadata = (("authorization", "Bearer t"),)

    def __init__(self) -> None:
        clock = grpc_testing.strict_real_time()
        self.channel = grpc_testing.channel([WORK, DATASETS], clock)
        self.why_away = "it is away"

    def open(self) -> grpc.Channel:
        return self.channel

    def explain(self) -> str:
        return self.why_away

    def stream(self) -> "PlayedStream":
        """Take the stream that the worker opens."""
        metadata, rpc = soon(self.channel.take_stream_stream, WORK.methods_by_name["Work"])
        assert ("authorization", "Bearer t") in metadata
        return PlayedStream(rpc)

    def take_count_users(self):
        return soon(self.channel.take_unary_unary, DATASETS.methods_by_name["CountUsers"])


class PlayedStream:
    def __init__(self, rpc) -> None:
        self.rpc = rpc

    def hear(self, kind: str):
        request = soon(self.rpc.take_request)
        assert request.WhichOneof("message") == kind, request
        return getattr(request, kind)

    def hear_hello(self, session_id="s1", renew_seconds=60.0) -> pb.Hello:
        hello = self.hear("hello")
        welcome = pb.Welcome(session_id=session_id)
        welcome.renew_period.FromNanoseconds(round(renew_seconds * 1e9))
        self.say(welcome=welcome)
        return hello

    def hear_reports(self, count: int, past: str = "") -> list[pb.Report]:
        """Hear reports, and nothing else but what is to be passed over."""
        found: list[pb.Report] = []
        while len(found) < count:
            request = soon(self.rpc.take_request)
            kind = request.WhichOneof("message")
            assert kind in ("reports", past), request
            found += request.reports.reports
        assert len(found) == count
        return found

    def say(self, **message) -> None:
        self.rpc.send_response(pb.WorkResponse(**message))

    def lease(self, action: str, attempt=1, **parameters) -> pb.LeaseName:
        lease = pb.Lease(task_id=action, attempt=attempt, service="test", action=action, parameters=parameters)
        self.say(leases=pb.Leases(leases=[lease]))
        return pb.LeaseName(task_id=action, attempt=attempt)

    def acknowledge(self, reports, *refusals: str) -> None:
        answers = [
            pb.Acknowledgement(lease=report.lease, refusal=refusal)
            for report, refusal in zip(reports, refusals or [""] * len(reports), strict=True)
        ]
        self.say(acknowledgements=pb.Acknowledgements(acknowledgements=answers))

    def end(self, code=OK, details="") -> None:
        self.rpc.terminate((), code, details)


def until(holds) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


class Running:
    """A session that runs in a thread."""

    def __init__(self, house, *workers, capacity=5) -> None:
        self.session = Session(workers, house, capacity=capacity, name="w")
        self._ended = later(self.session.run)

    @property
    def is_over(self) -> bool:
        """Whether the session has ended."""
        return self._ended.done()

    def result(self) -> None:
        """Wait for the end, and raise what the session raises."""
        self._ended.result(PATIENCE_SECONDS)
