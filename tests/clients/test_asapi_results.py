"""How results of asapi come back, as curl and strict readers of frames see it, at the real edge."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from taskhouse.v1 import results_pb2, results_pb2_grpc
from tests.bench.house import COMMAND, House
from tests.clients.asapi import MIB, Client, Reader
from tests.clients.conftest import wait_for_end
from tests.clients.test_typed import channel

MODULE = """
from server.worker.kit import Result, Worker

worker = Worker(service="icloud")
BYTES = {"hostile": b"\\r\\n2\\r\\n\\r\\n17\\r\\n{}", "nothing": b""}


@worker.action("fetch-data")
def fetch_data(task):
    a = task.parameters.get("a", "")
    if a.isdigit():
        pieces = (bytes([number % 256]) * (1 << 20) for number in range(int(a)))
        return Result.bytes(pieces, "application/x-test", "übung.bin")
    return Result.bytes(BYTES[a]) if a in BYTES else Result.json({"a": a})
"""
HOSTILE = b"\r\n2\r\n\r\n17\r\n{}"
NOT_FOUND = {
    "message": "No results were found for this task id.",
    "success": False,
    "error": "task-result-not-found",
}


def megabytes(count: int) -> bytes:
    """Return what the worker makes of this number."""
    return b"".join(bytes([number]) * MIB for number in range(count))


@pytest.fixture(scope="module", autouse=True)
def worker(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("results")
    (folder / "results_module.py").write_text(MODULE)
    command = [COMMAND, "work", "--module", "results_module:worker", "--data", house.data]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr) as running:
        yield
        running.terminate()


@pytest.fixture(scope="module")
def store_client(house: House) -> Iterator[Client]:
    client = Client.of(house, "asstore")
    yield client
    client.http.close()


@pytest.fixture
def channel_client(house: House) -> Iterator[Client]:
    """A client of its own: what one test did not hear to its end is sent again to whoever listens next."""
    client = Client.of(house, "aschannel")
    yield client
    client.http.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Reader]]:
    """Listens, and hangs up in the end."""
    readers: list[Reader] = []

    def started(listening: Callable[[], Reader]) -> Reader:
        readers.append(listening())
        return readers[-1]

    yield started
    for reader in readers:
        if not reader.end:
            reader.leave()


def test_a_result_is_fetched_once(store_client):
    task_id = store_client.published("x")
    endpoint = store_client.status(task_id)["retrieval_endpoint"]
    head = store_client.http.head(endpoint)
    assert (head.status_code, head.headers["content-length"]) == (200, "9")
    assert store_client.http.get(endpoint, headers={"range": "bytes=0-3"}).status_code == 416
    first = store_client.http.get(endpoint)
    assert (first.status_code, first.json()) == (200, {"a": "x"})
    assert first.headers["content-type"] == "application/json"
    assert store_client.status(task_id)["result_retrieved"] is True
    second = store_client.http.get(endpoint.removesuffix("/"))
    assert (second.status_code, second.json()) == (404, NOT_FOUND)


def test_a_large_result_comes_as_its_worker_made_it(store_client):
    task_id = store_client.published("20")
    answer = store_client.http.get(f"/fetch/{task_id}/")
    assert answer.content == megabytes(20)
    assert answer.headers["content-type"] == "application/x-test"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BCbung.bin"
    assert answer.headers["content-length"] == str(20 * MIB)


def test_of_64_racing_downloads_one_succeeds(store_client):
    task_id = store_client.published("3")
    together = threading.Barrier(64)

    def download(_: int) -> httpx.Response:
        together.wait()
        return store_client.http.get(f"/fetch/{task_id}/")

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(download, range(64)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1
    assert set(statuses) <= {200, 404, 503}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.content == megabytes(3)
        else:
            assert answer.json()["success"] is False
        assert ("retry-after" in answer.headers) == (answer.status_code == 503)


def test_a_download_that_is_broken_off_can_be_tried_again(store_client):
    task_id = store_client.published("50")
    with store_client.http.stream("GET", f"/fetch/{task_id}/") as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        others = store_client.http.get(f"/fetch/{task_id}/")
        assert (others.status_code, others.headers["retry-after"]) == (503, "1")
    deadline = time.monotonic() + 10
    while (again := store_client.http.get(f"/fetch/{task_id}/")).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (again.status_code, len(again.content)) == (200, 50 * MIB)


def test_another_token_fetches_nothing(house, store_client, channel_client):
    task_id = store_client.published("x")
    other = Client.of(house, "asstore")
    for stranger in (other, channel_client):
        answer = stranger.http.get(f"/fetch/{task_id}/")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert store_client.http.get(f"/fetch/{task_id}/").status_code == 200
    other.http.close()


def test_a_result_that_a_client_says_it_has_is_gone(store_client):
    task_id = store_client.published("x")
    for _ in range(2):
        answer = store_client.http.post("/results-consumed/", data={"task_ids": ["unknown", f", {task_id.upper()} "]})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert store_client.status(task_id)["result_retrieved"] is True
    assert store_client.http.get(f"/fetch/{task_id}/").status_code == 404


def test_more_results_than_may_be_named_at_once_are_refused(store_client):
    task_id = store_client.published("x")
    ids = ",".join([task_id, *map(str, range(10_000))])
    answer = store_client.http.post("/results-consumed/", data={"task_ids": ids})
    assert (answer.status_code, answer.json()["errors"]["task_ids"][0][1]) == (400, "limit_exceeded")
    assert store_client.status(task_id)["result_retrieved"] is False


@pytest.mark.parametrize("way", [Client.listen, Client.listen_by_form])
def test_results_are_sent_as_they_are_published(channel_client, listen, way):
    reader = listen(lambda: way(channel_client))
    small, large, hostile, nothing = map(channel_client.submit, ("x", "3", "hostile", "nothing"))
    results = reader.results([small, large, hostile, nothing])
    assert results[small] == b'{"a":"x"}'
    assert results[large] == megabytes(3)
    assert (results[hostile], results[nothing]) == (HOSTILE, b"")
    headers = [frame.header for frame in reader.stream.frames]
    [told] = [header for header in headers if header["task_id"] == small]
    assert told == {"type": "fetch-data", "task_id": small}
    parts = [header for header in headers if header["task_id"] == large]
    shared = {"type": "fetch-data", "task_id": large, "filename": "übung.bin", "total_chunks": 3, "chunk_size": MIB}
    assert parts == [shared | {"chunk": number} for number in (1, 2, 3)]
    assert channel_client.wait_for(small, status="Publish complete")["result_retrieved"] is False
    channel_client.http.post("/results-consumed/", data={"task_ids": small})
    channel_client.wait_for(small, result_retrieved=True)


def test_a_stream_whose_token_is_revoked_is_cut_and_not_ended(house):
    client = Client.of(house, "aschannel")
    reader = client.listen()
    house.run("tokens", "revoke", client.id)
    assert isinstance(reader.ended(), httpx.RemoteProtocolError)
    client.http.close()


def test_a_newer_listener_takes_over(channel_client, listen):
    first, second = listen(channel_client.listen), listen(channel_client.listen)
    assert isinstance(first.ended(), httpx.RemoteProtocolError)
    task_id = channel_client.submit("x")
    assert set(second.results([task_id])) == {task_id}
    assert first.stream.frames == []


def test_what_a_listener_did_not_read_goes_to_the_next(house, channel_client, listen):
    reader = listen(channel_client.listen)
    reader.hold()
    unread = channel_client.submit("1")
    other = Client.of(house, "aschannel")
    witness = listen(other.listen)
    later = other.submit("1")
    witness.results([later])
    other.wait_for(later, status="Publish complete")  # As was the first when what the edge held was sent.
    reader.leave()
    assert unread not in reader.stream.results
    assert listen(channel_client.listen).results([unread]) == {unread: megabytes(1)}
    witness.leave()
    other.http.close()


def test_a_newer_listener_takes_over_at_once_from_one_that_does_not_read(channel_client, listen):
    stalled = listen(channel_client.listen)
    stalled.hold()
    unread = {}
    for a in ("20", "1", "1"):
        unread[task_id := channel_client.submit(a)] = megabytes(int(a))
        channel_client.wait_for(task_id, status="Publish ongoing, with result available")
    newer = listen(channel_client.listen)
    began = time.monotonic()
    assert newer.results(unread) == unread
    assert time.monotonic() - began < 10  # The edge would have given up the other after a hundred seconds.
    stalled.go_on()
    assert isinstance(stalled.ended(), httpx.RemoteProtocolError)
    assert not stalled.stream.results


def test_a_listener_that_comes_late_gets_what_waits_and_not_what_was_discarded(channel_client, listen):
    discarded = channel_client.published("x")  # Its grace is over.
    late = channel_client.submit("y")
    assert set(listen(channel_client.listen).results([late])) == {late}
    assert channel_client.status(discarded)["result_retrieved"] is False


@pytest.mark.parametrize(
    "query", ["", "?stream=", "?stream=x", "?stream=%ff", "?stream=01a20314-c9bd-73c8-b8a3-1b2e8c7c1270"]
)
def test_a_stream_that_is_missing_or_foreign_is_refused(channel_client, query):
    answer = channel_client.http.get(f"/stream/{query}")
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert list(answer.json()["errors"]) == ["stream"]


def test_a_token_for_downloads_listens_to_nothing(store_client):
    answer = store_client.http.get("/stream/", params={"stream": store_client.id})
    assert (answer.status_code, answer.json()["success"]) == (400, False)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/fetch/x/", 405),
        ("POST", "/stream/", 405),
        ("GET", "/results-consumed/", 405),
        ("OPTIONS", "/stream", 204),
        ("GET", "/fetch/x", 404),
        ("HEAD", "/fetch/x", 404),
        ("GET", "/fetch/x/y", 404),
        ("GET", "/fetch", 404),
        ("POST", "/fetch", 404),
        ("PUT", "/fetch", 404),
        ("POST", "/fetch/a%2fb", 405),
        ("POST", "/fetch/x?rest=y", 400),
        ("PUT", "/fetch/x?rest=y", 400),
        ("GET", "/fetch/x/y?rest=z", 400),
        ("GET", "/fetch/x?task%5fid=y", 400),
    ],
)
def test_other_calls_are_answered_in_the_same_shape(store_client, method, path, status):
    answer = store_client.http.request(method, path)
    assert answer.status_code == status
    if status == 405:
        assert answer.headers["allow"]
    if method not in ("OPTIONS", "HEAD"):
        assert answer.json()["success"] is False


@pytest.mark.parametrize("path", ["/fetch/x/", "/stream/?stream=x", "/results-consumed/"])
def test_without_a_token_there_is_nothing(store_client, path):
    method = "POST" if "consumed" in path else "GET"
    answer = httpx.request(method, f"{store_client.http.base_url}{path}", data={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["success"]) == (401, False)


def test_a_typed_client_downloads_over_grpc_once(house, key, client):
    runner = client("task_runner")
    asked = {"service": "icloud", "action": "fetch-data", "parameters": {"a": "20"}}
    task = runner.post("/v1/tasks", json=asked | {"retrieval": "TASK_RETRIEVAL_ASSTORE"}).raise_for_status().json()
    wait_for_end(runner, task["id"])
    request = results_pb2.DownloadRequest(task_id=task["id"])
    with channel(house, key("task_runner", "other")) as opened, pytest.raises(grpc.RpcError) as refused:
        next(results_pb2_grpc.ResultServiceStub(opened).Download(request))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with channel(house, key("task_runner")) as opened:
        stub = results_pb2_grpc.ResultServiceStub(opened)
        messages = list(stub.Download(request))
        with pytest.raises(grpc.RpcError) as refused:
            next(stub.Download(request))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    told = (messages[0].content_type, messages[0].filename, messages[0].size)
    assert told == ("application/x-test", "übung.bin", 20 * MIB)
    assert b"".join(message.data for message in messages) == megabytes(20)
