"""What Envoy refuses by itself has the shape of the API whose path it is, and fixed texts."""

import http.client
import json
import queue
import socket
import time
from dataclasses import replace

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from server import edge_refusals
from server.edge import UPLOAD_BYTES
from server.rest.aircloak_uploads import MAX_BODY
from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc
from tests.edge import http2 as http2_client
from tests.edge.conftest import running_edge, wait_for

PAGES = "page and per_page must be whole numbers: page from 1, per_page from 1 to 10000."
MALFORMED = "The request is malformed: its path, a parameter or its body cannot be read."
TOO_LARGE = "The request body is too large."
UNAVAILABLE = "The service is not available at the moment. Try again."


HEADERS_TOO_LARGE = "The request headers are too large."
TIMED_OUT = "The service did not answer in time."
NEEDS_CREDENTIAL = "This call needs a credential."
CREDENTIALS = {"authorization": "Token a", "x-api-token": "a", "x-api-key": "a"}
APIS = {
    "typed": "/v1/nowhere",
    "aircloak": "/api/task_results",
    "monarc": "/api/v2/stats/",
    "rudder": "/api/latest/rules",
    "rudder with its context": "/rudder/api/rules",
    "asapi": "/submit-task/",
    "asapi's unknown": "/nowhere",
}


def info(reason: str) -> dict:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "taskhouse", "metadata": {}}


def typed(code: int, message: str) -> dict:
    reasons = {3: "UNDECODABLE_REQUEST", 16: "NOT_AUTHENTICATED"}
    return {"code": code, "message": message, "details": [info(reasons[code])] if code in reasons else []}


def documented(error: str) -> dict:
    return {"success": False, "error": error}


def asapi(error: str, word: str) -> dict:
    return {"success": False, "error": error, "errors": {"__all__": [[f"[u{error!a}]", word]]}}


def rudder(error: str) -> dict:
    return {"action": "unknown", "result": "error", "errorDetails": error}


def told(reply: httpx.Response, api: str, status: int, code: int, word: str, text: str) -> None:
    """Compare a whole answer with what the API of that name says of a refusal."""
    if api == "typed":
        expected = json.dumps(typed(code, text), separators=(",", ":"))
    elif api == "aircloak":
        missing = text == NEEDS_CREDENTIAL
        expected = json.dumps(documented("Missing authentication key." if missing else text), separators=(",", ":"))
    elif api == "monarc":
        expected = json.dumps({"error": text})
    elif api.startswith("rudder"):
        expected = json.dumps(rudder(text), separators=(",", ":"))
        status = status if status in (401, 404) or status > 500 else 500
    else:
        expected = json.dumps(asapi(text, word), separators=(",", ":"))
    assert (reply.status_code, reply.text) == (status, expected)
    charset = "; charset=utf-8" if api.startswith("rudder") else ""
    assert reply.headers["content-type"] == "application/json" + charset
    assert int(reply.headers["content-length"]) == len(expected)
    assert not [name for name in reply.headers if name.startswith(("x-envoy", "x-taskhouse", "grpc-"))]


@pytest.fixture(scope="module")
def client(edge, alice):
    with edge.client(certificate=alice) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def http2(request) -> bool:
    return request.param


@pytest.mark.parametrize("api", ["typed", "asapi", "asapi's unknown"])  # The others' are answered by their services.
def test_an_unknown_path(client, api):
    told(client.get(APIS[api] + "/x/y/z/"), api, 404, 5, "not_found", "Not found.")


@pytest.mark.parametrize("api", APIS)
def test_a_path_that_is_none(client, api):
    told(client.get(APIS[api] + "/%00"), api, 400, 3, "invalid", MALFORMED)


@pytest.mark.parametrize("api", APIS)
def test_a_body_over_the_limit(client, api, http2):
    reply = client.post(APIS[api], content=b"x" * (1024 * 1024 + 1), headers=CREDENTIALS)
    told(reply, api, 413, 8, "too_large", TOO_LARGE)


@pytest.mark.parametrize("api", sorted(APIS.keys() - {"monarc"}))  # A setting can do without keys there.
def test_a_body_without_a_credential(edge, api):
    with edge.client() as client:
        reply = client.put(APIS[api], content=b"x" * 5000)
    told(reply, api, 401, 16, "not_authenticated", NEEDS_CREDENTIAL)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("headers", [{"x-long": "x" * 17_000}, {f"x-{number}": "x" for number in range(101)}])
def test_headers_over_the_limit(client, api, headers):
    told(client.get(APIS[api], headers=headers), api, 431, 8, "too_large", HEADERS_TOO_LARGE)


def test_headers_over_the_limit_over_http2(edge):
    with edge.client(http2=True) as client:
        told(client.get("/v1/a", headers={"x-long": "x" * 17_000}), "typed", 431, 8, "too_large", HEADERS_TOO_LARGE)


@pytest.mark.parametrize("api", APIS)
def test_head_has_the_same_headers_and_no_body(client, api):
    told_to_get = client.get(APIS[api] + "%00")
    reply = client.head(APIS[api] + "%00")
    assert (reply.status_code, reply.content) == (told_to_get.status_code, b"")
    assert reply.headers["content-length"] == told_to_get.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/", 404, asapi("Not found.", "not_found")),
        ("GET", "/health/a", 404, asapi("Not found.", "not_found")),
        ("GET", "/keysmith", 404, asapi("Not found.", "not_found")),
        ("GET", "/v1x", 404, asapi("Not found.", "not_found")),
        ("GET", "/v1", 404, typed(5, "Not found.")),
        ("GET", "/v1/", 404, typed(5, "Not found.")),
        ("GET", "/v1/nowhere?a=/api/task_results/", 404, typed(5, "Not found.")),
        ("GET", "/api/task_results/a?page=x", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?per_page=1.5", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=99999999999", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=", 422, documented(PAGES)),
        ("GET", "/api/task_results/a?page=%FF", 422, documented(PAGES)),
        ("POST", "/taskhouse.v1.TaskService/GetTask", 404, asapi("Not found.", "not_found")),
        ("POST", "/grpc.health.v1.Health/Check", 404, asapi("Not found.", "not_found")),
    ],
)
def test_paths_and_parameters(client, method, path, status, answer):
    reply = client.request(method, path)
    assert (reply.status_code, reply.json()) == (status, answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tasks/a", "GET"),
        ("DELETE", "/v1/tasks", "GET, POST"),
        ("OPTIONS", "/v1/tasks/", "GET, POST"),
        ("GET", "/v1/tasks/a:cancel", "POST"),
        ("PATCH", "/v1/tasks:batchCreate?a=b", "POST"),
    ],
)
def test_a_typed_path_says_which_methods_it_has(client, method, path, allowed):
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
    assert reply.json() == typed(12, "Method not allowed.")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"a=b", b'{"service": 1e999}', b'{"service": "\xff"}', b"{}{}", b"[" * 500]
)
def test_bad_json(client, body):
    told(client.post("/v1/tasks", content=body), "typed", 400, 3, "invalid", MALFORMED)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/v1/tasks?bogus=1", b"", "bogus"),
        ("GET", "/v1/tasks?page_size=x", b"", "page_size"),
        ("GET", "/v1/tasks?page_size=1&page_size=99999999999", b"", "page_size"),
        ("POST", "/v1/tasks", b'{"state": "NO SUCH"}', "task.state"),
        ("POST", "/v1/tasks", b'{"create_time": "yesterday"}', "task.create_time"),
        ("POST", "/v1/tasks", b'{"parameters": 1}', "task.parameters"),
        (
            "POST",
            "/v1/tasks:batchCreate",
            b'{"requests": [{}, {"task": {"attempt": "x"}}]}',
            "requests[1].task.attempt",
        ),
        ("POST", "/v1/tasks/a:cancel", b'{"task_id": "b"}', "task_id"),
    ],
)
def test_a_typed_field_that_cannot_be_read_is_named(client, method, path, body, field):
    reply = client.request(method, path, content=body)
    description = "there is no such field, or its value cannot be read"
    violations = [{"field": field, "description": description}]
    bad = {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": violations}
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json")
    assert reply.json() == {"code": 3, "message": f"{field}: {description}", "details": [info("INVALID_FIELD"), bad]}


@pytest.mark.parametrize("name", ["%22%7D", "a%3Cb", "x" * 300, "%0a", "%7F"])
def test_what_is_no_name_of_a_field_is_not_repeated(client, name):
    reply = client.get(f"/v1/tasks?{name}=1")
    told(reply, "typed", 400, 3, "invalid", MALFORMED)


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
    body = b"x" * (UPLOAD_BYTES + 1)
    assert post(edge, "/bulk_insert", body, alice, over_http2=http2) == (413, documented(TOO_LARGE))


def test_an_upload_a_little_over_the_documented_limit_is_the_servers_to_refuse(edge, alice, http2):
    status, answer = post(edge, "/bulk_insert", b"x" * (MAX_BODY + 1), alice, over_http2=http2)
    assert (status, answer["size"]) == (200, MAX_BODY + 1)  # This one takes it.


@pytest.mark.parametrize("query", ["page=x", "page=1&page=x"])
def test_of_a_stranger_s_parameters_nothing_is_told(edge, query):
    with edge.client() as stranger:
        reply = stranger.get(f"/api/task_results/a?{query}")
    told(reply, "aircloak", 401, 16, "not_authenticated", NEEDS_CREDENTIAL)


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
        told(client.get("/v1/tasks/hang"), "typed", 504, 4, "timeout", TIMED_OUT)
        told(client.get("/api/task_results/hang"), "aircloak", 504, 4, "timeout", TIMED_OUT)
    wait_for(lambda: "edge answered 504 by itself" in hasty_edge.log.read_text(), "the line")


def test_a_native_call_without_a_message_ends(hasty_edge):
    with hasty_edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.stream_unary("/taskhouse.v1.TaskService/GetTask")(iter(()))
    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal.value.details() == "The service did not answer in time."


@pytest.mark.parametrize("api", APIS)
def test_a_request_that_does_not_arrive_ends(hasty_edge, api):
    head = f"POST {APIS[api]} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nContent-Length: 9\r\n"
    with socket.create_connection(("127.0.0.1", hasty_edge.ports["http"]), timeout=20) as connection:
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n{")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        reply = httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
    told(reply, api, 408, 4, "timeout", "The request did not arrive in time.")


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


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("typed", "/v1/tasks/a"),
        ("aircloak", "/api/task_results/a"),
        ("aircloak", "/keys"),
        ("asapi", "/health"),
    ],
)
def test_a_house_without_servers_is_unavailable(lonely_edge, http2, api, path):
    with lonely_edge.client(http2=http2) as client:
        told(client.get(path), api, 503, 14, "unavailable", UNAVAILABLE)


def test_a_native_call_of_a_house_without_servers_is_unavailable(lonely_edge):
    with lonely_edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        tasks_pb2_grpc.TaskServiceStub(channel).GetTask(tasks_pb2.GetTaskRequest(task_id="a"))
    assert (refusal.value.code(), refusal.value.details()) == (grpc.StatusCode.UNAVAILABLE, UNAVAILABLE)


def test_a_native_call_s_headers_over_the_limit(edge):
    request, headers = tasks_pb2.GetTaskRequest(task_id="a"), (("x-long", "x" * 17_000),)
    with edge.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        tasks_pb2_grpc.TaskServiceStub(channel).GetTask(request, metadata=headers)
    code, details = refusal.value.code(), refusal.value.details()
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, HEADERS_TOO_LARGE)


def test_every_api_has_words_for_every_refusal():
    for api in edge_refusals.APIS:
        for refusal in (*edge_refusals.REFUSALS, edge_refusals.OTHER):
            assert refusal.text in api.body(refusal) or refusal is edge_refusals.MISSING_CREDENTIAL
            json.loads(api.body(refusal))
