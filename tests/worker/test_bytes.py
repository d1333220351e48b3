"""Results of any bytes, as the kit sends them to a house that is played by hand."""

import io
from collections.abc import Callable, Iterator

import grpc
import pytest

from server.worker.kit import CHUNK_BYTES, BadResult, Result, Task, Worker
from server.worker.ledger import MAX_WAITING_BYTES
from taskhouse.v1 import work_pb2 as pb
from tests.worker.played import PlayedHouse, PlayedStream, Running, until

ODD = 300_007  # bytes; no number of such pieces ends where a chunk does.


def content(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def in_pieces(data: bytes) -> Iterator[bytes]:
    yield b""
    for start in range(0, len(data), ODD):
        yield memoryview(data)[start : start + ODD]


@pytest.fixture
def act(house: PlayedHouse) -> Iterator[Callable[..., PlayedStream]]:
    """Has a worker do a task of an action, and returns its stream."""
    started: list[Running] = []

    def begun(action: Callable[[Task], object]) -> PlayedStream:
        worker = Worker(service="test")
        worker.action("act")(action)
        started.append(Running(house, worker))
        stream = house.stream()
        stream.hear_hello()
        stream.lease("act")
        return stream

    yield begun
    for one in started:
        one.session.stop(0)


def hear(stream: PlayedStream) -> tuple[list[pb.Chunk], pb.Publication]:
    """Hear a whole result, acknowledging it, and the completion."""
    chunks: list[pb.Chunk] = []
    reports: list[pb.Report] = []
    while not reports or not reports[-1].HasField("completion"):
        heard = stream.hear("reports").reports
        stream.acknowledge(heard)
        reports += heard
    *parts, published, _ = reports
    for part in parts:
        assert part.WhichOneof("outcome") == "chunk"
        chunks.append(part.chunk)
    return chunks, published.publication


def test_json_is_published_as_bytes(act):
    chunks, publication = hear(act(lambda _: Result.json({"sms": ["ü"]})))
    assert chunks == []
    assert publication.number == 1
    assert publication.bytes == pb.Bytes(data='{"sms":["ü"]}'.encode(), content_type="application/json")


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5 * CHUNK_BYTES // 2])
@pytest.mark.parametrize(
    "form", [bytes, bytearray, in_pieces, io.BytesIO], ids=["bytes", "bytearray", "pieces", "file"]
)
def test_bytes_go_in_whole_chunks_and_what_is_left(act, size, form):
    data = content(size)
    chunks, publication = hear(act(lambda _: Result.bytes(form(data), "text/plain; charset=utf-8", "übung.txt")))
    assert [chunk.number for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert {len(chunk.data) for chunk in chunks} <= {CHUNK_BYTES}
    last = publication.bytes
    assert (last.chunk_count, last.content_type, last.filename) == (
        len(chunks),
        "text/plain; charset=utf-8",
        "übung.txt",
    )
    assert len(last.data) <= CHUNK_BYTES
    assert b"".join([*(chunk.data for chunk in chunks), last.data]) == data


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (lambda: Result.json({1, 2}), "not JSON"),
        (lambda: Result.bytes("text"), "bytes, pieces of bytes or a file, not str"),
        (lambda: Result.bytes(5), "bytes, pieces of bytes or a file, not int"),
        (lambda: Result.bytes(b"", "text"), "'text' is no content type"),
        (lambda: Result.bytes(b"", "text/plain\r\nx-y: z"), "is no content type"),
        (lambda: Result.bytes(b"", filename="a\nb"), "printable"),
        (lambda: Result.bytes(b"", filename="x" * 201), "at most 200"),
    ],
)
def test_what_the_house_would_refuse_is_refused_before(result, text):
    with pytest.raises(BadResult, match=text):
        result()


def test_pieces_that_fail_midway_fail_the_attempt(act):
    def pieces() -> Iterator[bytes]:
        yield content(3 * CHUNK_BYTES)
        raise RuntimeError("the device is off")

    stream = act(lambda _: Result.bytes(pieces()))
    *chunks, failure = stream.hear_reports(2)
    assert [report.chunk.number for report in chunks] == [1]
    assert failure.failure.error == "RuntimeError: the device is off"


def test_of_a_result_that_is_too_large_no_more_is_made_once_the_house_says_so(act, caplog):
    closed = []

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield content(CHUNK_BYTES)
        finally:
            closed.append(True)

    stream = act(lambda _: Result.bytes(pieces()))
    refused = stream.hear("reports").reports
    stream.acknowledge(refused, *["TOO_LARGE"] * len(refused))
    while (reports := stream.hear("reports").reports) and not (
        failures := [one for one in reports if one.HasField("failure")]
    ):
        stream.acknowledge(reports, *["TOO_LARGE"] * len(reports))
    assert failures[0].failure.error == "The house refused a result: TOO_LARGE."
    until(lambda: closed)
    assert "result refused task=act attempt=1 reason=TOO_LARGE" in caplog.text


def test_no_more_is_sent_than_may_wait_to_be_acknowledged(act):
    stream = act(lambda _: Result.bytes(content(CHUNK_BYTES) for _ in range(20)))
    most = MAX_WAITING_BYTES // CHUNK_BYTES
    waiting = stream.hear_reports(most)
    for number in range(most + 1, 20):
        stream.acknowledge([waiting.pop(0)])
        [report] = stream.hear_reports(1)
        assert report.chunk.number == number
        waiting.append(report)


def test_after_a_lost_connection_a_result_goes_on_where_the_house_has_it(house, act):
    stream = act(lambda _: Result.bytes(content(CHUNK_BYTES) for _ in range(12)))
    reports = stream.hear_reports(MAX_WAITING_BYTES // CHUNK_BYTES)
    stream.acknowledge(reports[:3])
    stream.hear_reports(3)  # So these acknowledgements have arrived.
    stream.end(grpc.StatusCode.UNAVAILABLE)
    again = house.stream()
    assert again.hear_hello().session_id == "s1"
    again.lease("act")  # As the house says again what is held.
    chunks, publication = hear(again)
    assert [chunk.number for chunk in chunks] == list(range(4, 12))
    assert (publication.bytes.chunk_count, len(publication.bytes.data)) == (11, CHUNK_BYTES)
