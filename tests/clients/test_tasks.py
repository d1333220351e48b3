"""Many tasks at once, and a task that is watched, as clients meet them at the real edge."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests.bench.house import House
from tests.clients.conftest import wait_for_end
from tests.clients.test_typed import channel

Key = Callable[..., Path]
Clients = Callable[..., httpx.Client]
TASK = {"service": "later", "action": "never"}


def created(runner: httpx.Client, count: int) -> list[dict[str, Any]]:
    body = {"requests": [{"task": {**TASK, "parameters": {"n": str(n)}}} for n in range(count)]}
    return runner.post("/v1/tasks:batchCreate", json=body).raise_for_status().json()["tasks"]


def test_a_thousand_tasks_are_created_in_one_call_and_found_in_another(client: Clients) -> None:
    runner = client("task_runner", http2=True)
    tasks = created(runner, 1000)
    assert [task["parameters"]["n"] for task in tasks] == [str(n) for n in range(1000)]
    ids = [task["id"] for task in tasks][::-1]
    found = runner.post("/v1/tasks:batchGet", json={"task_ids": ids}).raise_for_status().json()["tasks"]
    assert [task["id"] for task in found] == ids
    few = runner.get("/v1/tasks:batchGet", params={"task_ids": ids[:3]}).raise_for_status().json()["tasks"]
    assert few == found[:3]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_id_of_a_batch_is_named(client: Clients, method: str) -> None:
    runner = client("task_runner")
    [own] = created(runner, 1)
    [foreign] = created(client("task_runner", "other"), 1)
    ids = {"task_ids": [own["id"], foreign["id"]]}
    given = {"params": ids} if method == "GET" else {"json": ids}
    answer = runner.request(method, "/v1/tasks:batchGet", **given)
    assert answer.status_code == 404
    [info] = answer.json()["details"]
    assert (info["reason"], info["metadata"]) == ("TASK_NOT_FOUND", {"task_ids": foreign["id"]})


def test_the_faults_of_a_batch_are_named_by_their_places(client: Clients) -> None:
    body = {"requests": [{"task": TASK}, {"task": {"service": "later", "action": "No!"}}]}
    answer = client("task_runner").post("/v1/tasks:batchCreate", json=body)
    assert answer.status_code == 400
    fields = [fault["field"] for detail in answer.json()["details"] for fault in detail.get("field_violations", [])]
    assert fields == ["requests[1].task.action"]


def test_a_watched_task_is_told_until_its_end_and_the_key_s_revocation_cuts_the_stream(
    house: House, client: Clients, key: Key
) -> None:
    runner = client("task_runner")
    ended, waiting = created(runner, 2)
    pem = key("task_runner", fresh=True)
    with channel(house, pem) as opened:
        stub = tasks_pb2_grpc.TaskServiceStub(opened)
        watch = stub.WatchTask(tasks_pb2.WatchTaskRequest(task_id=ended["id"]), timeout=30)
        assert next(watch).state == tasks_pb2.TASK_STATE_PENDING
        runner.post(f"/v1/tasks/{ended['id']}:cancel", json={}).raise_for_status()
        assert [task.state for task in watch] == [tasks_pb2.TASK_STATE_CANCELLED]
        assert wait_for_end(runner, ended["id"])["error"]["code"] == 1
        watch = stub.WatchTask(tasks_pb2.WatchTaskRequest(task_id=waiting["id"]), timeout=30)
        assert next(watch).state == tasks_pb2.TASK_STATE_PENDING
        newest = house.run("keys", "list", "--org", "acme")[0]
        house.run("keys", "revoke", str(newest["id"]))
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as cut:
            next(watch)
    assert cut.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert time.monotonic() - began < 2
