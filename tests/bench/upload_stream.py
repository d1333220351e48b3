"""DatasetService.Upload of the rows of the bulk_insert bench, through the edge, against raw reading and storing."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import orjson

from taskhouse.v1 import datasets_pb2 as pb
from tests.bench.bulk_insert import DATASETS, body_of_ten_megabytes, raw_seconds
from tests.bench.house import House, running
from tests.bench.table import compared

PAIRS = 7
ROWS_A_MESSAGE = 5000


def messages_of(content: bytes) -> list[bytes]:
    """Return the rows of a bulk_insert as the messages of a stream."""
    rows = [
        pb.UploadRow(user=user, data=orjson.dumps(row).decode())
        for user, tables in orjson.loads(content).items()
        for row in tables["heights"]
    ]
    return [
        pb.UploadRequest(
            rows=pb.UploadRows(first_row=first, rows=rows[first : first + ROWS_A_MESSAGE])
        ).SerializeToString()
        for first in range(0, len(rows), ROWS_A_MESSAGE)
    ]


def upload_seconds(house: House, key: Path, messages: list[bytes]) -> tuple[float, int]:
    """Return the time of an upload, from its start to its answer, and how many rows it has."""

    def said() -> Iterator[bytes]:
        start = pb.UploadStart(dataset="heights", upload_id=str(uuid.uuid4()))
        yield pb.UploadRequest(start=start).SerializeToString()
        yield from messages

    pem = key.read_bytes()
    credentials = grpc.ssl_channel_credentials((house.data / "ca.pem").read_bytes(), pem, pem)
    with grpc.secure_channel(f"localhost:{house.https[1]}", credentials) as channel:
        upload = channel.stream_unary("/taskhouse.v1.DatasetService/Upload", response_deserializer=pb.Upload.FromString)
        began = time.perf_counter()
        rows = upload(said()).acknowledged_rows
        return time.perf_counter() - began, rows


def measure(folder: Path) -> None:
    """Print the time of both, pair by pair, and their ratio."""
    content = body_of_ten_megabytes()
    messages = messages_of(content)
    datasets, key = folder / "datasets.yaml", folder / "stream.pem"
    datasets.write_text(DATASETS)
    with running() as house:
        house.run("orgs", "create", "bench")
        house.run("datasets", "apply", datasets, "--org", "bench")
        house.run("keys", "issue", "--org", "bench", "--kind", "upload_any", "--out", key)
        _, rows = upload_seconds(house, key, messages)
        pairs = [(upload_seconds(house, key, messages)[0], raw_seconds(content, folder)) for _ in range(PAIRS)]
    compared(f"`Upload` of {rows:,} rows", pairs, "{:.2f} s", beside="`orjson.loads` and `executemany`")
