"""A client of asapi, and a strict reader of its streams: what is no frame, empty line or chunk in its turn fails."""

import json
import socket
import threading
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import NamedTuple

import httpx

from tests.bench.house import House

MIB = 1024 * 1024
PATIENCE_SECONDS = 60
BEGUN = {"message": "Message streaming has begun.", "code": "stream-begun"}
FAILURE = {"success": False, "error": "Task did not complete successfully."}


class Token(NamedTuple):
    """A token of asapi."""

    id: str  # and that of its stream
    secret: str

    @classmethod
    def made(cls, house: House, retrieval: str, org: str = "acme") -> "Token":
        [made] = house.run("tokens", "create", "--org", org, "--api", "asapi", "--retrieval", retrieval)
        return cls(made["credential"]["id"], made["token"])


class Client:
    """Calls with a token."""

    def __init__(self, url: str, token: Token, *, verify: SSLContext | bool = True) -> None:
        self.id, self.url = token.id, url
        self.headers = {"authorization": f"Token {token.secret}"}
        self.http = httpx.Client(base_url=url, headers=self.headers, timeout=60, verify=verify, trust_env=False)

    @classmethod
    def of(cls, house: House, retrieval: str) -> "Client":
        """Return a client with a token of its own, at the plain listener, and the account `jane` of icloud."""
        client = cls(f"http://127.0.0.1:{house.http[1]}", Token.made(house, retrieval))
        client.http.post("/register-account/", data={"service": "icloud", "username": "jane"})
        return client

    def submit(self, a: str, *, service: str = "icloud", action: str = "fetch-data", **more: str) -> str:
        """Ask for a task, and return its id."""
        form = {"service": service, "action": action, "account": "jane", "a": a, **more}
        return self.http.post("/submit-task/", data=form).raise_for_status().json()["task_id"]

    def status(self, task_id: str) -> dict:
        return self.http.post("/task-status/", data={"task_ids": task_id}).raise_for_status().json()[task_id]

    def wait_for(self, task_id: str, *, pause: float = 0.02, **wanted: object) -> dict:
        """Return the task's status once it has this in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not wanted.items() <= (status := self.status(task_id)).items():
            assert time.monotonic() < deadline, f"{status} is not {wanted}"
            time.sleep(pause)
        return status

    def published(self, a: str, **more: str) -> str:
        """Ask for a task, and return its id once its result is published."""
        task_id = self.submit(a, **more)
        self.wait_for(task_id, status="Publish complete")
        return task_id

    def listen(self) -> "Reader":
        """Listen to the token's stream, from when it has begun."""
        return Reader(self.http, self.http.build_request("GET", "/stream/", params={"stream": self.id}))

    def listen_by_form(self) -> "Reader":
        """Listen as the documented curl line does."""
        return Reader(self.http, self.http.build_request("GET", "/stream", data={"stream": self.id}))


class Frame(NamedTuple):
    """One frame."""

    header: dict
    payload: bytes


class Frames:
    """What a stream has brought."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []  # but the first, which says that the stream has begun
        self.begun = False
        self.heartbeats = 0
        self.results: dict[str, bytes] = {}  # by their tasks; only whole ones
        self._buffer = bytearray()
        self._begun_results: dict[str, list[Frame]] = {}

    def feed(self, data: bytes) -> None:
        """Take what came, as it came."""
        self._buffer += data
        while self._buffer:
            if self._buffer.startswith(b"\r\n"):
                self.heartbeats += 1
                del self._buffer[:2]
            elif (found := self._first()) is None:
                return
            else:
                frame, end = found
                del self._buffer[:end]
                self._take(frame)

    def _first(self) -> tuple[Frame, int] | None:
        """Return the frame at the start and its length; None: there is not all of it."""
        fields, at = [], 0
        for _ in range(2):
            end = self._buffer.find(b"\r\n", at, at + 20)
            if end < 0:
                assert len(self._buffer) < at + 20, bytes(self._buffer[at : at + 50])
                return None
            length = bytes(self._buffer[at:end])
            assert length.isdigit(), length
            assert length == b"%d" % int(length)
            assert int(length) >= 2
            at = end + 2 + int(length)
            if len(self._buffer) < at:
                return None
            assert self._buffer[at - 2 : at] == b"\r\n"
            fields.append(bytes(self._buffer[end + 2 : at - 2]))
        return Frame(json.loads(fields[0]), fields[1]), at

    def _take(self, frame: Frame) -> None:
        header = frame.header
        if not self.begun:
            assert (header, json.loads(frame.payload)) == ({"type": "system"}, BEGUN)
            self.begun = True
            return
        self.frames.append(frame)
        chunk = {"chunk", "total_chunks", "chunk_size"}
        assert header.keys() - chunk - {"filename"} == {"type", "task_id"}, header
        assert header.keys() & chunk in (set(), chunk), header
        parts = self._begun_results.setdefault(header["task_id"], [])
        parts.append(frame)
        total = header.get("total_chunks", 1)
        assert header.get("chunk", 1) == len(parts), header
        assert {key: parts[0].header.get(key) for key in header if key != "chunk"} == {
            key: header[key] for key in header if key != "chunk"
        }
        if len(parts) < total:
            assert len(frame.payload) == header["chunk_size"]
        else:
            assert total == 1 or 0 < len(frame.payload) <= header["chunk_size"]
            assert header["task_id"] not in self.results, "a result was sent twice"
            self.results[header["task_id"]] = b"".join(part.payload for part in parts)
            del self._begun_results[header["task_id"]]


class Reader:
    """Reads a stream in a thread, from when it has begun; `hold` makes it read nothing for a while."""

    def __init__(self, http: httpx.Client, request: httpx.Request) -> None:
        self.stream = Frames()
        self.end: Exception | str | None = None
        self._changed = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        self._thread = threading.Thread(target=self._run, args=(http, request))
        self._thread.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self.stream.begun or self.end, PATIENCE_SECONDS)
        if not self.stream.begun:
            raise self.ended()

    def _run(self, http: httpx.Client, request: httpx.Request) -> None:
        end: Exception | str = "clean"
        try:
            answer = http.send(request, stream=True)
            try:
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                answer.raise_for_status()
                assert "content-encoding" not in answer.headers
                for data in answer.iter_raw():
                    with self._changed:
                        self.stream.feed(data)
                        self._changed.notify_all()
                    self._may_read.wait()
            finally:
                answer.close()
        except (httpx.HTTPError, AssertionError) as error:
            end = error
        with self._changed:
            self.end = end
            self._changed.notify_all()

    def hold(self) -> None:
        self._may_read.clear()

    def go_on(self) -> None:
        self._may_read.set()

    def frames(self, count: int) -> list[Frame]:
        """Return the frames, once there are so many."""
        self._wait(lambda: len(self.stream.frames) >= count)
        return self.stream.frames

    def results(self, task_ids: Iterable[str]) -> dict[str, bytes]:
        """Return whole results, once there are those of these tasks."""
        wanted = set(task_ids)
        self._wait(lambda: wanted <= self.stream.results.keys())
        return self.stream.results

    def heartbeat(self) -> None:
        """Wait for an empty line."""
        self._wait(lambda: self.stream.heartbeats)

    def _wait(self, holds) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds() or self.end, PATIENCE_SECONDS), self.stream.results.keys()
            assert holds(), self.end

    def leave(self) -> None:
        """Hang up; what the kernel has is read yet."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.go_on()
        self.ended()

    def ended(self) -> Exception | str | None:
        """Return how the stream ends, once it does."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.end, 10)
        self._thread.join()
        return self.end
