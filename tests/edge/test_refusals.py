"""What Envoy refuses by itself has the shape of the API whose path it is, and fixed texts."""

import http.client
import json
import queue
import socket
import time
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc
from tests.edge import http2 as http2_client
from tests.edge.conftest import running_edge, wait_for

PAGES = "page and per_page must be whole numbers: page from 1, per_page from 1 to 10000."
MALFORMED = "The request is malformed: its path, a parameter or its body cannot be read."
TOO_LARGE = "The request body is too large."
UNAVAILABLE = "The service is not available at the moment. Try again."


def typed(code: int, message: str) -> dict:
    return {"code": code, "message": message, "details": []}


def documented(error: str) -> dict:
    return {"success": False, "error": error}


@pytest.fixture(scope="module")
def client(edge, alice):
    with edge.client(certificate=alice) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def http2(request) -> bool:
    return request.param


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/nowhere", 404, documented("Not found.")),
        ("GET", "/", 404, documented("Not found.")),
        ("GET", "/health/a", 404, documented("Not found.")),
        ("GET", "/api/task_result", 404, documented("Not found.")),
        ("GET", "/v1", 404, typed(5, "Not found.")),
        ("GET", "/v1/", 404, typed(5, "Not found.")),
        ("GET", "/v1/nowhere", 404, typed(5, "Not found.")),
        ("GET", "/v1/nowhere?a=/api/task_results/", 404, typed(5, "Not found.")),
        ("PUT", "/v1/tasks/a", 404, typed(5, "Not found.")),
        ("GET", "/v1/tasks?bogus=1", 400, typed(3, MALFORMED)),
        ("GET", "/v1/tasks?page_size=x", 400, typed(3, MALFORMED)),
        ("GET", "/v1/tasks/a%00", 400, typed(3, MALFORMED)),
        ("GET", "/api/task_results/a%00", 400, documented(MALFORMED)),
        ("GET", "/api/task_results/a?page=x", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?per_page=1.5", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=99999999999", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=%FF", 422, documented(PAGES)),
        ("POST", "/taskhouse.v1.TaskService/GetTask", 404, documented("Not found.")),
        ("POST", "/grpc.health.v1.Health/Check", 404, documented("Not found.")),
    ],
)
def test_paths_and_parameters(client, method, path, status, answer):
    reply = client.request(method, path)
    assert (reply.status_code, reply.json()) == (status, answer)
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"a=b", b'{"service": 1e999}', b'{"service": "\xff"}', b"{}{}", b"[" * 500]
)
def test_bad_json(client, body):
    reply = client.post("/v1/tasks", content=body)
    assert (reply.status_code, reply.json()) == (400, typed(3, MALFORMED))


def post(edge, path: str, body: bytes, certificate, *, over_http2: bool) -> tuple[int, object]:
    if over_http2:
        status, answer = http2_client.post(edge, path, body, certificate)
        return status, json.loads(answer)
    with edge.client(certificate=certificate) as client:
        reply = client.post(path, content=body)
        return reply.status_code, reply.json()


def test_typed_json_over_the_limit_is_refused_at_once(edge, alice, http2):
    body = b'{"parameters": {"a": ' + b"1" * (5 * 1024 * 1024) + b"}}"  # a number that long is hard on the parser
    start = time.monotonic()
    assert post(edge, "/v1/tasks", body, alice, over_http2=http2) == (413, typed(8, TOO_LARGE))
    assert time.monotonic() - start < 2


def test_an_upload_over_the_limit_is_refused(edge, alice, http2):
    body = b"x" * (65 * 1024 * 1024)
    assert post(edge, "/bulk_insert", body, alice, over_http2=http2) == (413, documented(TOO_LARGE))


def test_other_bodies_have_a_small_limit(client):
    for method, path in (("DELETE", "/keys"), ("GET", "/api/task_results/a"), ("POST", "/api/task_results")):
        reply = client.request(method, path, content=b"x" * (1024 * 1024 + 1))
        assert (reply.status_code, reply.json()) == (413, documented(TOO_LARGE))


def test_headers_over_the_limit(client):
    reply = client.get("/keys", headers={"x-long": "x" * 20_000})
    assert (reply.status_code, reply.json()) == (431, documented("The request headers are too large."))


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /v1/tasks/a HTTP/1.0\r\n", 426),
        (b"FOO /v1/tasks/a HTTP/1.1\r\n", 400),
        (b"\x16\x03\x01\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n", 404),
        (b"POST /insert HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
    ],
)
def test_what_is_no_http(edge, request_line, status):
    with socket.create_connection(("127.0.0.1", edge.ports["http"]), timeout=20) as connection:
        connection.sendall(request_line + b"Host: a\r\nConnection: close\r\n\r\n")
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == status
        assert reply.read().startswith(b'{"success":false,"error":"')
        assert "envoy" not in str(reply.headers).lower()


def test_a_call_without_an_answer_ends(hasty_edge, http2):
    with hasty_edge.client(http2=http2) as client:
        reply = client.get("/v1/tasks/hang")
        assert (reply.status_code, reply.json()) == (504, typed(4, "The service did not answer in time."))
        reply = client.get("/api/task_results/hang")
        assert (reply.status_code, reply.json()) == (504, documented("The service did not answer in time."))
    wait_for(lambda: "edge answered 504 by itself" in hasty_edge.log.read_text(), "the line")


def test_a_native_call_without_a_message_ends(hasty_edge):
    with hasty_edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.stream_unary("/taskhouse.v1.TaskService/GetTask")(iter(()))
    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal.value.details() == "The service did not answer in time."


def test_a_request_that_does_not_arrive_ends(hasty_edge):
    with socket.create_connection(("127.0.0.1", hasty_edge.ports["http"]), timeout=20) as connection:
        head = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nContent-Length: 9\r\n"
        connection.sendall(head + b"Connection: close\r\n\r\n{")
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert (reply.status, json.loads(reply.read())) == (408, typed(4, "The request did not arrive in time."))


def test_a_work_stream_outlives_every_timeout(hasty_edge):
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="w"))

    def requests():
        yield hello
        with hasty_edge.plain() as client:  # three calls that end by their timeout pass meanwhile
            for _ in range(3):
                assert client.get("/v1/tasks/hang").status_code == 504
        yield hello

    with hasty_edge.channel() as channel:
        assert len(list(work_pb2_grpc.WorkServiceStub(channel).Work(requests()))) == 2


def test_a_public_stream_on_which_nothing_passes_ends(hasty_edge):
    unasked = queue.SimpleQueue()
    with hasty_edge.channel() as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(unasked.get, None))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        for stream in (watched, reflected):
            with pytest.raises(grpc.RpcError):
                next(stream)
        unasked.put(None)


def test_an_unknown_native_method_is_unimplemented(edge):
    for method in ("/taskhouse.v1.TaskService/Nothing", "/no.such.Service/Nothing"):
        with edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
            channel.unary_unary(method)(b"")
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="module")
def lonely_edge(config, folder):
    """An edge whose server is not there."""
    changed = replace(
        config, admin_socket=folder / "lonely.sock", folder=folder / "lonely", sockets=(folder / "nobody.sock",)
    )
    with running_edge(changed) as running:
        yield running


def test_a_house_without_servers_is_unavailable(lonely_edge, http2):
    with lonely_edge.client(http2=http2) as client:
        reply = client.get("/v1/tasks/a")
        assert (reply.status_code, reply.json()) == (503, typed(14, UNAVAILABLE))
        for path in ("/health", "/api/task_results/a", "/keys"):
            reply = client.get(path)
            assert (reply.status_code, reply.json()) == (503, documented(UNAVAILABLE))
    with lonely_edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        tasks_pb2_grpc.TaskServiceStub(channel).GetTask(tasks_pb2.GetTaskRequest(task_id="a"))
    assert (refusal.value.code(), refusal.value.details()) == (grpc.StatusCode.UNAVAILABLE, UNAVAILABLE)
