"""Event logs through the real edge: JSON under /v1/, and a stub that watches."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx

from taskhouse.v1 import events_pb2, events_pb2_grpc
from tests.bench.house import COMMAND, House

Key = Callable[..., Path]
Client = Callable[..., httpx.Client]


def test_an_admin_lists_and_watches_its_log_and_a_house_that_runs_is_verified(
    house: House, key: Key, client: Client
) -> None:
    pem = key("admin")
    admin = client("admin")
    found = admin.get("/v1/events", params={"object_kind": "credential", "page_size": 1})
    assert found.status_code == 200, found.text
    [event] = found.json()["events"]
    assert (event["action"], event["actor_name"]) == ("credential.created", "command line")
    assert admin.get("/v1/events", params={"end_time": "2000-01-01T00:00:00Z"}).json()["events"] == []
    assert admin.get("/v1/events", params={"organization": "other"}).status_code == 404
    assert client("task_runner").get("/v1/events").status_code == 403
    certificate = pem.read_bytes()
    credentials = grpc.ssl_channel_credentials((house.data / "ca.pem").read_bytes(), certificate, certificate)
    with grpc.secure_channel(f"localhost:{house.https[1]}", credentials) as channel:
        after = events_pb2.WatchEventsRequest(after=event["sequence"] - 1)
        stream = events_pb2_grpc.EventServiceStub(channel).WatchEvents(after, timeout=20)
        assert next(stream).sequence == event["sequence"]
        stream.cancel()
    done = subprocess.run(
        [COMMAND, "events", "verify", "--data", house.data], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:3]) == (0, "ok "), done.stdout + done.stderr
