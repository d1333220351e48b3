"""The typed services as other teams call them: stubs over the real edge, JSON under /v1/, and workers."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from taskhouse.v1 import (
    credentials_pb2,
    credentials_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    results_pb2,
    results_pb2_grpc,
    tasks_pb2,
    tasks_pb2_grpc,
)
from tests.bench.house import COMMAND, House
from tests.clients.conftest import wait_for_end

Key = Callable[..., Path]
SLOW = """
import pathlib, time
from server.worker.kit import Result, Worker

worker = Worker(service="slow")


@worker.action("wait")
def wait(task):
    folder = pathlib.Path(task.parameters["folder"])
    (folder / f"started-{task.attempt}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return Result.histogram([("done", None, task.attempt)], [])
"""


def channel(house: House, pem: Path | None) -> grpc.Channel:
    """Return a channel to the TLS listener, with a key's certificate if one is given."""
    authority = (house.data / "ca.pem").read_bytes()
    text = pem.read_bytes() if pem else None
    credentials = grpc.ssl_channel_credentials(authority, text, text)
    return grpc.secure_channel(f"localhost:{house.https[1]}", credentials)


def test_stubs_call_with_a_client_certificate(house: House, key: Key, published: str) -> None:
    with channel(house, key("task_runner")) as runner, channel(house, key("web_api")) as web:
        task = tasks_pb2_grpc.TaskServiceStub(runner).GetTask(tasks_pb2.GetTaskRequest(task_id=published))
        results = results_pb2_grpc.ResultServiceStub(web)
        page = results.ListResults(results_pb2.ListResultsRequest(task_id=published, page_size=7))
        rest = results.ListResults(
            results_pb2.ListResultsRequest(task_id=published, page_size=100, page_token=page.next_page_token)
        )
    assert (task.state, task.result_count) == (tasks_pb2.TASK_STATE_SUCCEEDED, 30)
    assert (page.total_size, len(page.results), len(rest.results)) == (30, 7, 23)
    values = [result.histogram.buckets[0].value for result in (*page.results, *rest.results)]
    assert values == [str(number) for number in range(29, -1, -1)]


def test_stubs_call_with_a_token(house: House) -> None:
    (made,) = house.run("tokens", "create", "--org", "acme", "--api", "grpc", "--access", "read")
    bearer = (("authorization", f"Bearer {made['token']}"),)
    with channel(house, None) as opened:
        stub = datasets_pb2_grpc.DatasetServiceStub(opened)
        dataset = stub.GetDataset(datasets_pb2.GetDatasetRequest(dataset="heights"), metadata=bearer)
        assert [column.name for column in dataset.columns] == ["height", "sex"]
        house.run("tokens", "revoke", made["credential"]["id"])
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetDataset(datasets_pb2.GetDatasetRequest(dataset="heights"), metadata=bearer)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_admin_makes_a_key_over_grpc_and_it_works_at_once(house: House, key: Key, client, tmp_path: Path) -> None:
    with channel(house, key("admin")) as opened:
        made = credentials_pb2_grpc.CredentialServiceStub(opened).CreateKey(
            credentials_pb2.CreateKeyRequest(kind=credentials_pb2.KEY_KIND_WEB_API, password="password")
        )
    assert made.credential.organization == "acme"
    private_key, certificate, _ = pkcs12.load_key_and_certificates(made.pkcs12, b"password")
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "p").write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    assert client(pem=tmp_path / "p").get("/keys").status_code == 200


def test_a_token_and_a_certificate_at_once_are_refused(client) -> None:
    answer = client("task_runner").get("/v1/tasks", headers={"authorization": "Bearer x"})
    assert answer.status_code == 401
    assert answer.json()["details"][0]["reason"] == "NOT_AUTHENTICATED"


def test_bad_fields_are_named_in_json_too(client) -> None:
    bad = {
        "service": "cloak",
        "action": "histogram",
        "parameters": {"dataset": "heights", "column": "sex", "bin_width": "0"},
    }
    answer = client("task_runner").post("/v1/tasks", json=bad)
    assert answer.status_code == 400
    fields = {violation["field"] for violation in answer.json()["details"][1]["field_violations"]}
    assert fields == {"task.parameters.column", "task.parameters.bin_width"}


def test_a_request_id_makes_creating_safe_to_repeat(client) -> None:
    runner, name = client("task_runner"), "5b0f9c0e-6d1c-4f4e-8f6c-0d9a3a0b1c2d"
    asked = {"service": "nobody", "action": "does-this"}
    first, again = (runner.post("/v1/tasks", params={"request_id": name}, json=asked).json() for _ in range(2))
    other = runner.post("/v1/tasks", params={"request_id": name}, json={**asked, "action": "or-that"})
    assert first["id"] == again["id"]
    assert other.status_code == 409
    cancelled = runner.post(f"/v1/tasks/{first['id']}:cancel").json()
    assert cancelled["state"] == "TASK_STATE_CANCELLED"


@contextlib.contextmanager
def working(folder: Path, *options: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a worker on the module `slow` until the block ends."""
    (folder / "slow.py").write_text(SLOW)
    command = [COMMAND, "work", "--module", "slow:worker", *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    try:
        assert process.stdout.readline() == "worker ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def ask_slow(runner: httpx.Client, folder: Path) -> str:
    asked = {"service": "slow", "action": "wait", "parameters": {"folder": str(folder)}}
    return runner.post("/v1/tasks", json=asked).raise_for_status().json()["id"]


def test_a_worker_on_another_machine_works_over_tls_with_a_house_key(house: House, client, tmp_path: Path) -> None:
    pem = tmp_path / "worker.pem"
    house.run("keys", "issue", "--house", "--kind", "worker", "--out", pem)
    server = f"https://localhost:{house.https[1]}"
    with working(tmp_path, "--server", server, "--key", pem, "--ca", house.data / "ca.pem"):
        (tmp_path / "go").touch()
        runner = client("task_runner")
        assert wait_for_end(runner, ask_slow(runner, tmp_path))["state"] == "TASK_STATE_SUCCEEDED"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_lost_worker_s_task_is_done_by_another_and_its_late_word_changes_nothing(
    house: House, client, tmp_path: Path, end: signal.Signals
) -> None:
    runner = client("task_runner")
    with working(tmp_path, "--data", house.data) as lost:
        task = ask_slow(runner, tmp_path)
        wait_for(tmp_path / "started-1")
        lost.send_signal(end)
        with working(tmp_path, "--data", house.data):
            wait_for(tmp_path / "started-2")
            (tmp_path / "go").touch()
            ended = wait_for_end(runner, task)
            if end is signal.SIGSTOP:
                lost.send_signal(signal.SIGCONT)  # It now reports its own outcome of attempt 1.
                lost.send_signal(signal.SIGTERM)
                lost.wait(30)
    assert (ended["state"], ended["attempt"], ended["result_count"]) == ("TASK_STATE_SUCCEEDED", 2, 1)
    page = client("web_api").get(f"/api/task_results/{task}").json()
    assert [item["buckets"] for item in page["items"]] == [[{"name": "done", "value": 2}]]
