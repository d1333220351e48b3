"""How results of asapi come back, as curl and strict readers of frames see it, at the real edge."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from tests.bench.house import COMMAND, House

MIB = 1024 * 1024
MODULE = """
import time
from pathlib import Path

from server.worker.kit import Result, Worker

worker = Worker(service="icloud")


@worker.action("fetch-data")
def fetch_data(task):
    size = task.parameters.get("a", "")
    if size.isdigit():
        pieces = (bytes([number % 256]) * (1 << 20) for number in range(int(size)))
        return Result.bytes(pieces, "application/x-test", "übung.bin")
    return Result.json({"a": size})
"""
NOT_FOUND = {
    "message": "No results were found for this task id.",
    "success": False,
    "error": "task-result-not-found",
}


class Frame(NamedTuple):
    header: dict
    payload: bytes


@pytest.fixture(scope="module", autouse=True)
def worker(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("results")
    (folder / "results_module.py").write_text(MODULE)
    command = [COMMAND, "work", "--module", "results_module:worker", "--data", house.data]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr) as running:
        yield
        running.terminate()


class Client:
    """A client with a token of its own."""

    def __init__(self, house: House, retrieval: str) -> None:
        [made] = house.run("tokens", "create", "--org", "acme", "--api", "asapi", "--retrieval", retrieval)
        self.id = str(made["credential"]["id"])
        self.headers = {"authorization": f"Token {made['token']}"}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}", headers=self.headers, timeout=60)
        self.http.post("/register-account/", data={"service": "icloud", "username": "jane"})

    def submit(self, a: str) -> str:
        form = {"service": "icloud", "action": "fetch-data", "account": "jane", "a": a}
        return self.http.post("/submit-task/", data=form).raise_for_status().json()["task_id"]

    def status(self, task_id: str) -> dict:
        return self.http.post("/task-status/", data={"task_ids": task_id}).raise_for_status().json()[task_id]

    def wait_for(self, task_id: str, **wanted: object) -> dict:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = self.status(task_id)
            if wanted.items() <= status.items():
                return status
            time.sleep(0.02)
        raise AssertionError(f"{status} is not {wanted}")

    def published(self, a: str) -> str:
        task_id = self.submit(a)
        self.wait_for(task_id, status="Publish complete")
        return task_id


@pytest.fixture(scope="module")
def store_client(house: House) -> Iterator[Client]:
    client = Client(house, "asstore")
    yield client
    client.http.close()


@pytest.fixture
def channel_client(house: House) -> Iterator[Client]:
    client = Client(house, "aschannel")
    yield client
    client.http.close()


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
    assert answer.content == b"".join(bytes([number]) * MIB for number in range(20))
    assert answer.headers["content-type"] == "application/x-test"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BCbung.bin"
    assert answer.headers["content-length"] == str(20 * MIB)


def test_of_racing_downloads_one_succeeds(store_client):
    task_id = store_client.published("3")
    with ThreadPoolExecutor(64) as threads:
        urls = [f"{store_client.http.base_url}/fetch/{task_id}/"] * 64
        answers = list(threads.map(lambda url: httpx.get(url, headers=store_client.headers, timeout=60), urls))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1
    assert set(statuses) <= {200, 404, 503}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


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
    other = Client(house, "asstore")
    for stranger in (other, channel_client):
        answer = stranger.http.get(f"/fetch/{task_id}/")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert store_client.http.get(f"/fetch/{task_id}/").status_code == 200
    other.http.close()


def test_a_result_that_a_client_says_it_has_is_gone(store_client):
    task_id = store_client.published("x")
    for _ in range(2):
        answer = store_client.http.post("/results-consumed/", data={"task_ids": [task_id, "unknown"]})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert store_client.status(task_id)["result_retrieved"] is True
    assert store_client.http.get(f"/fetch/{task_id}/").status_code == 404


class Reader:
    """Reads a stream in a thread, strictly: what is no frame and no empty line fails."""

    def __init__(self, client: Client, send: Callable[[httpx.Client], httpx.Request]) -> None:
        self.frames: list[Frame] = []
        self.end: Exception | str | None = None
        self._changed = threading.Condition()
        self._client = client
        self._request = send(client.http)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.wait_for(1)

    def _run(self) -> None:
        try:
            answer = self._client.http.send(self._request, stream=True)
            try:
                assert answer.status_code == 200, answer.read()
                assert "content-encoding" not in answer.headers
                self._read(answer)
            finally:
                answer.close()
            end: Exception | str = "clean"
        except (httpx.TransportError, AssertionError) as error:
            end = error
        with self._changed:
            self.end = end
            self._changed.notify_all()

    def _read(self, answer: httpx.Response) -> None:
        buffer = b""
        for data in answer.iter_raw():
            buffer += data
            while (found := frame_in(buffer)) is not None:
                frame, buffer = found
                if frame:
                    with self._changed:
                        self.frames.append(frame)
                        self._changed.notify_all()

    def wait_for(self, count: int) -> list[Frame]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames) >= count or self.end, 60), self.frames
            assert len(self.frames) >= count, self.end
            return self.frames

    def ended(self) -> Exception | str | None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.end, 10)
        self._thread.join()
        return self.end


def frame_in(buffer: bytes) -> tuple[Frame | None, bytes] | None:
    """Return the frame at the start and what follows; None for a frame: an empty line. None: there is not all of it."""
    if buffer.startswith(b"\r\n"):
        return None, buffer[2:]
    fields, rest = [], buffer
    for _ in range(2):
        length, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        assert length.isdigit(), length[:50]
        if len(rest) < int(length):
            return None
        assert rest[int(length) - 2 : int(length)] == b"\r\n"
        fields.append(rest[: int(length) - 2])
        rest = rest[int(length) :]
    return Frame(json.loads(fields[0]), fields[1]), rest


def by_query(client: Client) -> Reader:
    return Reader(client, lambda http: http.build_request("GET", "/stream/", params={"stream": client.id}))


def by_form(client: Client) -> Reader:
    return Reader(client, lambda http: http.build_request("GET", "/stream", data={"stream": client.id}))


@pytest.mark.parametrize("listen", [by_query, by_form])
def test_results_are_sent_as_they_are_published(house, channel_client, listen):
    reader = listen(channel_client)
    assert reader.frames[0].header == {"type": "system"}
    assert json.loads(reader.frames[0].payload)["message"] == "Message streaming has begun."
    small, large = channel_client.submit("x"), channel_client.submit("3")
    frames = reader.wait_for(5)[1:]
    assert [frame.payload for frame in frames if frame.header["task_id"] == small] == [b'{"a":"x"}']
    parts = [frame for frame in frames if frame.header["task_id"] == large]
    assert [part.header["chunk"] for part in parts] == [1, 2, 3]
    assert {(part.header["total_chunks"], part.header["chunk_size"]) for part in parts} == {(3, MIB)}
    assert b"".join(part.payload for part in parts) == b"".join(bytes([number]) * MIB for number in range(3))
    assert parts[0].header["type"] == "fetch-data"
    assert parts[0].header["filename"] == "übung.bin"
    assert channel_client.wait_for(small, status="Publish complete")["result_retrieved"] is False
    channel_client.http.post("/results-consumed/", data={"task_ids": small})
    channel_client.wait_for(small, result_retrieved=True)
    house.run("tokens", "revoke", channel_client.id)
    assert isinstance(reader.ended(), httpx.RemoteProtocolError)  # cut, not ended


def test_a_newer_listener_takes_over(house, channel_client):
    first = by_query(channel_client)
    second = by_query(channel_client)
    assert isinstance(first.ended(), httpx.RemoteProtocolError)
    task_id = channel_client.submit("x")
    assert second.wait_for(2)[1].header["task_id"] == task_id
    assert len(first.frames) == 1
    house.run("tokens", "revoke", channel_client.id)
    second.ended()


def test_a_listener_that_comes_late_gets_what_waits_and_not_what_was_discarded(house, channel_client):
    discarded = channel_client.submit("x")
    channel_client.wait_for(discarded, status="Publish complete")  # Its grace is over.
    late = channel_client.submit("y")
    reader = by_query(channel_client)
    assert [frame.header["task_id"] for frame in reader.wait_for(2)[1:]] == [late]
    house.run("tokens", "revoke", channel_client.id)
    reader.ended()


@pytest.mark.parametrize("query", ["", "?stream=", "?stream=x", "?stream=01a20314-c9bd-73c8-b8a3-1b2e8c7c1270"])
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
