"""Who shows no credential has no large body read, and nobody's bodies can fill the memory."""

import contextlib
import socket
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.edge import MAX_UPLOADS
from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests.edge import http2
from tests.edge.conftest import PATIENCE_SECONDS

DOCUMENTED = b'{"success":false,"error":"Missing authentication key."}'
TYPED = (
    b'{"code":16,"message":"This call needs a credential.","details":[{"@type":'
    b'"type.googleapis.com/google.rpc.ErrorInfo","reason":"NOT_AUTHENTICATED","domain":"taskhouse","metadata":{}}]}'
)
REFUSED = [
    ("/insert", {}, DOCUMENTED),
    ("/bulk_insert/?a=b", {}, DOCUMENTED),
    ("//bulk_insert", {"authorization": "Bearer a"}, DOCUMENTED),
    ("/insert", {"x-forwarded-client-cert": "Hash=" + "0" * 64}, DOCUMENTED),
    ("/v1/tasks", {}, TYPED),
    ("/v1/tasks/a:cancel", {"x-forwarded-client-cert": "Hash=" + "0" * 64}, TYPED),
]
TOO_LARGE = "The request body is too large."
BEARER = {"authorization": "Bearer a"}


@pytest.mark.parametrize(("path", "headers", "answer"), REFUSED)
@pytest.mark.parametrize("size", [0, 2, 60_000, 1_000_000])
def test_a_stranger_is_refused_over_http1(edge, path, headers, answer, size):
    with edge.client() as client:
        url = str(client.base_url).rstrip("/") + path  # As it stands: httpx would read `//` as a host.
        refused = client.post(url, headers=headers, content=b"x" * size)
    assert (refused.status_code, refused.content) == (401, answer)
    assert refused.headers["content-type"] == "application/json"
    assert "envoy" not in str(refused.headers)


@pytest.mark.parametrize(("path", "headers", "answer"), REFUSED)
def test_a_stranger_s_large_body_is_not_awaited(edge, path, headers, answer):
    lines = [f"POST {path} HTTP/1.1", "host: a", "content-length: 66000000", *map(": ".join, headers.items()), "", ""]
    with (
        socket.create_connection(("127.0.0.1", edge.ports["https"]), timeout=PATIENCE_SECONDS) as plain,
        edge.tls().wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall("\r\n".join(lines).encode() + b"x" * 100_000)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")  # to the end: the rest is not read
    assert head.startswith(b"HTTP/1.1 401 ")
    assert body == answer


@pytest.mark.parametrize(("path", "headers", "answer"), REFUSED)
@pytest.mark.parametrize("size", [2, 25, 60_000])
def test_a_stranger_s_small_body_is_read_before_the_refusal_over_http2(edge, path, headers, answer, size):
    with http2.connected(edge) as connection:
        refused = connection.begin("POST", path, headers)
        assert not connection.is_answered(refused, within=0.1)  # Or it would be a broken stream to curl.
        assert connection.answer(refused, b"x" * size) == (401, answer)
        assert connection.answer(connection.begin("GET", "/health", end=True)) == (200, b'{"status":"SERVING"}')


def test_a_credential_opens_the_typed_paths(edge, alice):
    with edge.client() as client:
        assert client.post("/v1/tasks", json={}, headers=BEARER).status_code == 200
        assert client.get("/v1/tasks/a").status_code == 200  # what has no body goes on to the servers
    with edge.client(certificate=alice) as client:
        assert client.post("/v1/tasks", json={}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/bulk_insert"), ("POST", "/keys"), ("GET", "/v1/tasks"), ("PATCH", "/v1/tasks")]
)
def test_a_stranger_s_other_bodies_are_small(edge, method, path):
    with edge.client() as client:
        assert client.request(method, path, content=b"x" * 5000).status_code == 401
        assert client.request(method, path, content=b"x" * 4000).status_code != 401


def test_only_an_upload_may_be_as_large_as_one(edge, alice):
    with edge.client(certificate=alice) as client:
        assert client.put("/bulk_insert", content=b"x" * 1_100_000).status_code == 413
        assert client.put("/bulk_insert", content=b"x" * 1_000_000).status_code == 404


def test_a_stranger_s_native_message_is_small(edge):
    with edge.channel() as channel:
        tasks = tasks_pb2_grpc.TaskServiceStub(channel)
        assert tasks.GetTask(tasks_pb2.GetTaskRequest(task_id="a" * 4000)).id == "a" * 4000
        health = health_pb2_grpc.HealthStub(channel)
        large = health_pb2.HealthCheckRequest(service="a" * 40_000)
        for call in (
            lambda: tasks.GetTask(tasks_pb2.GetTaskRequest(task_id="a" * 40_000)),
            lambda: health.Check(large),
            lambda: list(health.Watch(large)),
        ):
            with pytest.raises(grpc.RpcError) as refusal:
                call()
            assert (refusal.value.code(), refusal.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE)


def test_a_native_message_is_bounded(edge, alice):
    with edge.channel(alice) as channel:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        for size in (4 * 1024 * 1024, 60 * 1024 * 1024):
            request = tasks_pb2.CreateTaskRequest(task=tasks_pb2.Task(parameters={"a": "x" * size}))
            if size < 5_000_000:
                assert stub.CreateTask(request).attempt == size
                continue
            with pytest.raises(grpc.RpcError) as refusal:
                stub.CreateTask(request)
            assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_uploads_that_are_not_whole_take_no_place_from_others(edge, alice):
    with http2.connected(edge, alice) as connection, edge.client(certificate=alice) as client:
        for _ in range(MAX_UPLOADS):
            connection.begin("POST", "/bulk_insert", {"content-length": "9"})
        assert connection.answer(connection.begin("GET", "/keys", end=True))[0] == 200  # All of them have arrived.
        assert client.post("/insert", content=b"x").status_code == 200


def test_an_upload_that_drips_ends(hasty_edge, alice):
    counter = "/stats?filter=http.https.downstream_rq_timeout"
    before = hasty_edge.admin(counter)
    with (
        socket.create_connection(("127.0.0.1", hasty_edge.ports["https"])) as plain,
        hasty_edge.tls(alice).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"POST /insert HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n")
        connection.settimeout(0.1)  # a byte each time; half a second's pause would be too long
        answer, end = b"", time.monotonic() + PATIENCE_SECONDS
        while not answer:
            assert time.monotonic() < end
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"success":false,"error":"The request did not arrive in time."}')
    assert hasty_edge.admin(counter) != before
