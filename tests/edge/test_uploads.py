"""A client's stream passes the edge."""

import time
from collections.abc import Iterator

from taskhouse.v1 import datasets_pb2

UPLOAD = "/taskhouse.v1.DatasetService/Upload"
MESSAGE = b"x" * 1_000_000


def upload(edge, certificate, messages: Iterator[bytes]) -> datasets_pb2.Upload:
    with edge.channel(certificate) as channel:
        return channel.stream_unary(UPLOAD, response_deserializer=datasets_pb2.Upload.FromString)(messages, timeout=30)


def test_a_stream_of_any_length_passes(edge, alice):
    told = upload(edge, alice, iter([MESSAGE] * 100))
    assert (told.acknowledged_rows, told.dataset) == (100, "100000000")


def test_a_stream_may_last_longer_than_any_call(hasty_edge, alice):
    """Its calls end after half a second, and a request has to be there after one."""
    began = time.monotonic()

    def paced() -> Iterator[bytes]:
        while time.monotonic() < began + 1.5:
            yield b"x"
            time.sleep(0.05)  # What is tested is that time passes.

    assert upload(hasty_edge, alice, paced()).acknowledged_rows > 2
    assert time.monotonic() > began + 1.5


def test_a_stream_is_no_path_of_json(edge):
    with edge.client() as client:
        answers = [client.post(UPLOAD, json={}), client.post("/v1/datasets/heights:upload", json={})]
    assert [answer.status_code for answer in answers] == [404, 401]
