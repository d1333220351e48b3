"""Uploads as streams, and users that are erased, through the real edge."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from server.settings import load
from taskhouse.v1 import datasets_pb2 as pb
from taskhouse.v1 import datasets_pb2_grpc
from tests import databases
from tests.bench.house import House, running
from tests.clients.conftest import DATASETS
from tests.clients.test_typed import Key, channel
from tests.databases import apart

PATIENCE_SECONDS = 30
A_MESSAGE = 200  # rows
CUT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}  # The latter is how clients read a reset.


def messages(upload_id: str, first_row: int, rows: int, *, at: dict[int, Callable[[], None]]) -> Iterator:
    """Yield an upload's messages from a row on, and do what shall be done before some row is sent."""
    yield pb.UploadRequest(start=pb.UploadStart(dataset="heights", upload_id=upload_id))
    for first in range(first_row, rows, A_MESSAGE):
        if act := at.pop(first, None):
            act()
        sent = [pb.UploadRow(user=f"{upload_id} {n}", data='{"height": 170}') for n in range(first, first + A_MESSAGE)]
        yield pb.UploadRequest(rows=pb.UploadRows(first_row=first, rows=sent))


def acknowledged(stub: datasets_pb2_grpc.DatasetServiceStub, upload_id: str) -> int:
    """Return the row to go on with, as soon as the house answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id)).acknowledged_rows
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return 0
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def stored(house: House, upload_id: str) -> list[str]:
    """Return the users of the rows of an upload, in the order in which they were stored."""
    users = apart(databases.rows(load(data=house.data).database, "SELECT user_id FROM dataset_rows ORDER BY id"))
    return [user for (user,) in users if user.startswith(upload_id)]


def test_an_upload_goes_on_after_servers_and_the_edge_were_killed_and_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    rows, upload_id, breaks = 400 * A_MESSAGE, str(uuid.uuid4()), 0
    with running(tmp_path / "data", "--processes", "2") as house:
        (tmp_path / "datasets.yaml").write_text(DATASETS)
        house.run("orgs", "create", "acme")
        house.run("datasets", "apply", tmp_path / "datasets.yaml", "--org", "acme")
        house.run("keys", "issue", "--org", "acme", "--kind", "upload_any", "--out", tmp_path / "key.pem")

        def kill(kind: str) -> Callable[[], None]:
            def act() -> None:
                for pid in house.processes()[kind]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

            return act

        at = {number * A_MESSAGE: kill(kind) for number, kind in ((100, "server"), (200, "edge"), (300, "server"))}
        kills = len(at)
        upload = None
        while upload is None:
            with channel(house, tmp_path / "key.pem") as opened:
                stub = datasets_pb2_grpc.DatasetServiceStub(opened)
                first = acknowledged(stub, upload_id)
                assert len(stored(house, upload_id)) == first
                try:
                    upload = stub.Upload(messages(upload_id, first, rows, at=at))
                except grpc.RpcError as error:
                    if error.code() not in CUT:
                        raise
                    breaks += 1
        assert (upload.acknowledged_rows, breaks) == (rows, kills)
        assert stored(house, upload_id) == [f"{upload_id} {number}" for number in range(rows)]


def test_a_bad_row_is_told_by_its_number_and_the_upload_goes_on_after_it(house: House, key: Key, client) -> None:
    upload_id = str(uuid.uuid4())
    with channel(house, key("upload_any")) as opened:
        stub = datasets_pb2_grpc.DatasetServiceStub(opened)
        bad = list(messages(upload_id, 0, A_MESSAGE, at={}))
        bad[1].rows.rows[7].data = '{"height": "tall"}'
        with pytest.raises(grpc.RpcError) as refused:
            stub.Upload(iter(bad))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "rows[7].height" in refused.value.details()
        assert stub.GetUpload(pb.GetUploadRequest(upload_id=upload_id)).acknowledged_rows == 7
        bad[1].rows.rows[7].data = '{"height": 190}'
        assert stub.Upload(iter(bad)).acknowledged_rows == A_MESSAGE
    assert len(stored(house, upload_id)) == A_MESSAGE
    told = client("upload_any").get(f"/v1/uploads/{upload_id}").raise_for_status().json()
    assert (told["id"], told["dataset"], told["acknowledged_rows"]) == (upload_id, "heights", A_MESSAGE)


def test_an_unknown_upload_is_not_found_in_json_too(client) -> None:
    for upload_id in (str(uuid.uuid4()), "x"):
        answer = client("upload_any").get(f"/v1/uploads/{upload_id}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["details"][0]["reason"] == "UPLOAD_NOT_FOUND"


def test_a_user_is_erased_over_json_and_only_admins_may(house: House, key: Key, client) -> None:
    upload_id, path = str(uuid.uuid4()), "/v1/datasets/heights:eraseUser"
    with channel(house, key("upload_any")) as opened:
        datasets_pb2_grpc.DatasetServiceStub(opened).Upload(messages(upload_id, 0, A_MESSAGE, at={}))
    user = {"user": f"{upload_id} 3"}
    assert client("upload_any").post(path, json=user).status_code == 403
    before = client("admin").get("/v1/datasets/heights").json()["version"]
    erased = client("admin").post(path, json=user)
    assert erased.status_code == 200, erased.text
    assert (erased.json()["name"], erased.json()["version"]) == ("heights", before + 1)
    assert len(stored(house, upload_id)) == A_MESSAGE - 1
    unknown = client("admin").post(path, json={"user": "nobody at all"})
    assert unknown.json() == erased.json() | {"version": before + 2}
    for bad in ({}, {"user": ""}, {"user": "a\0"}):
        answer = client("admin").post(path, json=bad)
        assert (answer.status_code, answer.json()["details"][1]["field_violations"][0]["field"]) == (400, "user")
    assert client("admin").post("/v1/datasets/weights:eraseUser", json=user).status_code == 404
