"""Whoever sends too much, too often or too slowly is cut off, and everybody else is served meanwhile."""

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import replace

import grpc
import httpx
import pytest
from h2.settings import SettingCodes

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc
from tests.edge import http2
from tests.edge.conftest import PATIENCE_SECONDS, Edge, running_edge, wait_for

MIB = 1024 * 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, PING, CONTINUATION = 1, 4, 6, 9


@pytest.fixture(scope="module")
def edge_with(config, house, folder):
    """Run another edge before the same server, with some things changed."""
    with contextlib.ExitStack() as running:

        def start(name: str, **changes: object) -> Edge:
            changed = replace(config, admin_socket=folder / f"{name}.sock", folder=folder / name, **changes)
            return running.enter_context(running_edge(changed))

        yield start


@pytest.fixture(scope="module")
def small_edge(edge_with) -> Edge:
    """An edge for ten connections, each for a moment only, on which headers must not take long."""
    return edge_with("small", max_connections=10, headers_timeout_seconds=0.5)


def serves(edge: Edge) -> bool:
    with contextlib.suppress(httpx.TransportError), edge.client() as client:
        return client.get("/health").json() == {"status": "SERVING"}
    return False


def is_closed(connection: socket.socket) -> bool:
    """Say whether the other side has closed, after whatever it sent."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65_536):
            pass
    return True


def allocated(edge: Edge) -> int:
    return int(json.loads(edge.admin("/memory"))["allocated"])


def test_connections_over_the_cap_are_closed_and_those_before_are_served(small_edge):
    address = ("127.0.0.1", small_edge.ports["http"])
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS)) for _ in range(10)]
        for connection in held:  # All of them are there.
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            with socket.create_connection(address, timeout=PATIENCE_SECONDS) as refused:
                assert is_closed(refused)
        for connection in held:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert small_edge.admin("/ready").strip() == "LIVE"
    wait_for(lambda: serves(small_edge), "a place to be free again")


@pytest.mark.parametrize("port", ["http", "https"])
def test_headers_that_drip_are_cut_off(small_edge, port):
    address = ("127.0.0.1", small_edge.ports[port])
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as plain:
        tls = small_edge.tls().wrap_socket(plain, server_hostname="localhost") if port == "https" else plain
        with tls as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nx-drip: ")
            connection.settimeout(0.05)
            answer, end = b"", time.monotonic() + PATIENCE_SECONDS
            while not answer:
                assert time.monotonic() < end
                connection.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 408 ")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@contextlib.contextmanager
def raw_http2(edge: Edge):
    """Connect, for frames that no library would send."""
    with socket.create_connection(("127.0.0.1", edge.ports["http"]), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        yield connection


def flood(edge: Edge, *, first: bytes, portion: bytes, limit: int) -> int:
    """Send the same again and again until the edge closes. Return how many bytes that took."""
    sent = 0
    with raw_http2(edge) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(first)
        while sent < limit:
            connection.sendall(portion)
            sent += len(portion)
    return sent


def test_headers_without_an_end_are_cut_off(edge):
    before = allocated(edge)
    more = frame(CONTINUATION, 0, 1, b"\x00\x03abc\x03abc" * 100) * 100
    assert flood(edge, first=frame(HEADERS, 0, 1, b"\x82\x84\x86"), portion=more, limit=64 * MIB) < 8 * MIB
    assert allocated(edge) < before + 8 * MIB
    assert serves(edge)


def test_pings_without_reading_are_cut_off(edge):
    pings = frame(PING, 0, 0, b"12345678") * 1000
    assert flood(edge, first=pings, portion=pings, limit=256 * MIB) < 256 * MIB
    assert serves(edge)


def test_empty_frames_are_cut_off(edge):
    # POST /keys, then DATA of no bytes that does not end it.
    first = frame(HEADERS, 4, 1, b"\x83\x86\x04\x05/keys\x41\x01a")
    assert flood(edge, first=first, portion=frame(0, 0, 1, b"") * 100, limit=64 * MIB) < 64 * MIB
    assert serves(edge)


def resets(connection: http2.Connection) -> None:
    for _ in range(20):
        for _ in range(100):
            connection.reset(connection.begin("GET", "/v1/tasks/hang", end=True))
        connection.answer(connection.begin("GET", "/health", end=True))


def test_calls_that_are_reset_at_once_are_cut_off(edge, alice):
    with http2.connected(edge, alice) as connection, pytest.raises(ConnectionError):
        resets(connection)
    assert serves(edge)


def test_a_connection_has_a_hundred_streams(edge, alice):
    with http2.connected(edge, alice) as connection, edge.client() as client:
        assert connection.answer(connection.begin("GET", "/health", end=True))[0] == 200
        assert connection.limit(SettingCodes.MAX_CONCURRENT_STREAMS) == 100
        hanging = [connection.begin("GET", "/v1/tasks/hang", end=True) for _ in range(100)]
        connection.raise_limit(SettingCodes.MAX_CONCURRENT_STREAMS, 2000)
        connection.begin("GET", "/v1/tasks/hang", end=True)
        with pytest.raises(ConnectionError):
            connection.is_answered(hanging[0], within=PATIENCE_SECONDS)
        assert client.get("/health").status_code == 200


def test_a_stream_that_nobody_reads_holds_little(edge):
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="flood"))
    before = allocated(edge)
    done = threading.Event()

    def requests():
        yield hello
        done.wait(PATIENCE_SECONDS)

    with edge.channel() as channel, edge.client() as client:

        def flooded() -> int:
            return client.get("/v1/tasks/flooded").json()["attempt"]

        stream = work_pb2_grpc.WorkServiceStub(channel).Work(requests())
        next(stream)
        last = -1
        while last != (last := flooded()):  # Until the server can send no more; each look is a call of its own.
            for _ in range(50):
                client.get("/health")
        assert last * 100_000 < 8 * MIB  # With what the client's library has read by itself.
        assert allocated(edge) < before + 4 * MIB
        done.set()
        stream.cancel()


def test_answers_that_nobody_reads_are_dropped_in_time(hasty_edge, alice):
    before = allocated(hasty_edge)
    address = ("127.0.0.1", hasty_edge.ports["http"])
    with contextlib.ExitStack() as opened:
        for _ in range(10):
            connection = opened.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /api/task_results/15000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: allocated(hasty_edge) > before + 14 * MIB, "the first answer")
        wait_for(lambda: allocated(hasty_edge) < before + 4 * MIB, "the last answer to be given up")
        assert serves(hasty_edge)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/tasks", b'{"code":14,"message":"%s","details":[]}'),
        ("/api/task_results/a", b'{"success":false,"error":"%s"}'),
        ("/api/v2/stats/", b'{"error": "%s"}'),
        ("/api/rules", b'{"action":"unknown","result":"error","errorDetails":"%s"}'),
        ("/account/", b'{"success":false,"error":"%s","errors":{"__all__":[["[u\'%s\']","unavailable"]]}}'),
    ],
)
def test_without_memory_calls_are_refused_in_the_words_of_each_api(full_edge, path, answer):
    text = b"The service is not available at the moment. Try again."
    with full_edge.plain() as client:
        wait_for(lambda: client.get(path).status_code == 503, "the edge to see that it is full")
        reply = client.get(path)
    assert reply.content == answer.replace(b"%s", text)


@pytest.fixture(scope="module")
def full_edge(edge_with) -> Edge:
    """An edge that has used up its memory from the start."""
    return edge_with("full", heap_mb=4)


def test_a_native_call_is_unavailable_without_memory(full_edge):
    def refused() -> bool:
        with full_edge.channel() as channel:
            try:
                tasks_pb2_grpc.TaskServiceStub(channel).GetTask(tasks_pb2.GetTaskRequest(task_id="a"))
            except grpc.RpcError as refusal:
                return refusal.code() is grpc.StatusCode.UNAVAILABLE
        return False

    wait_for(refused, "the edge to see that it is full")


@pytest.fixture(scope="module")
def brief_edge(edge_with) -> Edge:
    """An edge whose connections are to be renewed after a moment."""
    return edge_with("brief", connection_seconds=0.3)


def test_a_connection_is_renewed_between_calls(brief_edge):
    with socket.create_connection(("127.0.0.1", brief_edge.ports["http"]), timeout=PATIENCE_SECONDS) as connection:
        answer, end = b"", time.monotonic() + PATIENCE_SECONDS
        while b"connection: close" not in answer:
            assert time.monotonic() < end
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert is_closed(connection)


def test_streams_and_calls_outlive_their_connection(brief_edge):
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="w"))
    counter = "/stats?filter=http.https.downstream_cx_max_duration_reached"

    def requests():
        yield hello
        before = brief_edge.admin(counter)
        wait_for(lambda: brief_edge.admin(counter) != before, "the connection's end")
        # It goes on for as long as anybody may wait for the last GOAWAY, while others come and go beside it.
        end = time.monotonic() + 6
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        while time.monotonic() < end:
            assert stub.GetTask(tasks_pb2.GetTaskRequest(task_id="a")).id == "a"
        yield hello

    with brief_edge.channel() as channel:
        assert len(list(work_pb2_grpc.WorkServiceStub(channel).Work(requests()))) == 2


@pytest.mark.parametrize("way", ["/drain_listeners?graceful", "/healthcheck/fail"])
def test_a_drain_ends_connections_with_their_next_answer_and_no_stream(edge_with, way):
    edge = edge_with(f"drained{len(way)}")
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="w"))

    def requests():
        yield hello
        with edge.plain() as client:
            assert "connection" not in client.get("/health").headers
            edge.admin(way, "POST")
            assert client.get("/health").headers["connection"] == "close"
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        assert stub.GetTask(tasks_pb2.GetTaskRequest(task_id="a")).id == "a"  # beside the stream, with its GOAWAY
        yield hello

    with edge.channel() as channel:
        assert len(list(work_pb2_grpc.WorkServiceStub(channel).Work(requests()))) == 2
