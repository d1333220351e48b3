"""gRPC-Web, framed by hand: a byte of flags, four of length, then a message or, in the last frame, the trailers."""

import base64
import struct
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2

from taskhouse.v1 import tasks_pb2, work_pb2
from tests.edge.conftest import running_edge

GET = "/taskhouse.v1.TaskService/GetTask"
WORK = "/taskhouse.v1.WorkService/Work"
TRAILERS = 0x80
BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
ORIGIN = "https://app.example"


def framed(*messages: Message) -> bytes:
    contents = [message.SerializeToString() for message in messages]
    return b"".join(struct.pack(">BI", 0, len(content)) + content for content in contents)


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        flags, size = struct.unpack(">BI", data[:5])
        yield flags, data[5 : 5 + size]
        data = data[5 + size :]


def pieces(text: bytes) -> bytes:
    """Decode base64 that may be padded in the middle, as each frame can be encoded by itself."""
    return b"".join(base64.b64decode(text[i : i + 4]) for i in range(0, len(text), 4))


def call(client: httpx.Client, path: str, *messages: Message, kind: str = BINARY, **headers: str):
    """Call, and return the messages and the trailers, which may also have come as headers."""
    body = framed(*messages)
    reply = client.post(
        path,
        content=base64.b64encode(body) if kind == TEXT else body,
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1", **headers},
    )
    assert (reply.status_code, reply.headers["content-type"]) == (200, kind), reply.text
    found = list(frames(pieces(reply.content) if kind == TEXT else reply.content))
    trailers = dict(reply.headers)
    for flags, content in found:
        if flags == TRAILERS:
            trailers |= dict(line.split(":", 1) for line in content.decode().splitlines())
    return [content for flags, content in found if flags == 0], trailers


@pytest.fixture(params=["https", "https with HTTP/2", "http"])
def client(edge, alice, request):
    http2 = request.param.endswith("2")
    opened = edge.plain() if request.param == "http" else edge.client(certificate=alice, http2=http2)
    with opened as client:
        yield client


@pytest.fixture(params=[BINARY, TEXT], ids=["binary", "text"])
def kind(request) -> str:
    return request.param


def test_a_unary_call_is_answered(client, kind):
    (content,), trailers = call(client, GET, tasks_pb2.GetTaskRequest(task_id="a"), kind=kind)
    assert tasks_pb2.Task.FromString(content).id == "a"
    assert trailers["grpc-status"] == "0"


def test_the_short_content_types_are_the_same(client):
    for short, long in (("application/grpc-web", BINARY), ("application/grpc-web-text", TEXT)):
        body = framed(tasks_pb2.GetTaskRequest(task_id="a"))
        content = base64.b64encode(body) if long == TEXT else body
        reply = client.post(GET, content=content, headers={"content-type": short, "accept": short})
        assert reply.headers["content-type"] == long


def test_the_certificate_is_the_caller_s(edge, alice):
    with edge.client(certificate=alice) as client:
        (content,), _ = call(client, GET, tasks_pb2.GetTaskRequest(task_id="a"))
    assert alice.sha256 in tasks_pb2.Task.FromString(content).parameters["x-forwarded-client-cert"]


def test_identity_and_paths_cannot_be_forged(edge):
    forged = {"x-forwarded-client-cert": "Hash=00", "x-envoy-original-path": "/forged", "odd-bin": "?"}
    with edge.client() as client:
        (content,), _ = call(client, GET, tasks_pb2.GetTaskRequest(task_id="a"), **forged)
    assert not forged.keys() & tasks_pb2.Task.FromString(content).parameters.keys()


def test_a_refusal_has_its_status_and_details(client, kind):
    messages, trailers = call(client, GET, tasks_pb2.GetTaskRequest(task_id="missing"), kind=kind)
    assert (messages, trailers["grpc-status"], trailers["grpc-message"]) == ([], "5", "No task missing.")
    details = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert b"TASK_NOT_FOUND" in status.details[0].value


def test_a_stream_gives_all_its_messages(client, kind):
    hellos = [work_pb2.WorkRequest(hello=work_pb2.Hello(worker=name)) for name in ("a", "b", "c")]
    messages, trailers = call(client, WORK, *hellos, kind=kind)
    assert [work_pb2.WorkResponse.FromString(each).welcome.session_id for each in messages] == ["a", "b", "c"]
    assert trailers["grpc-status"] == "0"


def test_a_stream_that_fails_says_so_in_its_trailers(client, kind):
    hellos = [work_pb2.WorkRequest(hello=work_pb2.Hello(worker=name)) for name in ("a", "fail", "c")]
    messages, trailers = call(client, WORK, *hellos, kind=kind)
    assert len(messages) == 1
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("9", "It failed: %C3%BCnd.")


def test_a_message_arrives_before_the_stream_ends(client):
    body = framed(health_pb2.HealthCheckRequest())
    with client.stream("POST", "/grpc.health.v1.Health/Watch", content=body, headers={"content-type": BINARY}) as reply:
        ((_, content),) = frames(next(reply.iter_bytes()))
    assert health_pb2.HealthCheckResponse.FromString(content).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("path", "task", "status", "message"),
    [
        ("/taskhouse.v1.TaskService/Nothing", "a", "12", "Method not found!"),
        ("/no.such.Service/Nothing", "a", "12", "Not found."),
        (GET, "hang", "4", "The service did not answer in time."),
        ("/taskhouse.v1.TaskService/CreateTask", "a" * 5_000_000, "8", "The request body is too large."),
    ],
)
def test_the_edge_refuses_in_the_words_of_grpc(hasty_edge, alice, kind, path, task, status, message):
    with hasty_edge.client(certificate=alice) as client:
        messages, trailers = call(client, path, tasks_pb2.GetTaskRequest(task_id=task), kind=kind)
    assert (messages, trailers["grpc-status"], trailers["grpc-message"]) == ([], status, message)
    assert "x-taskhouse-code" not in trailers


def test_text_that_is_no_base64_is_refused(edge):
    with edge.plain() as client:
        reply = client.post(GET, content=b"!!!!", headers={"content-type": TEXT})
    assert (reply.status_code, reply.headers["grpc-status"]) == (200, "3")


def test_a_stranger_s_message_is_small(edge, kind):
    with edge.client() as client:
        _, trailers = call(client, GET, tasks_pb2.GetTaskRequest(task_id="a" * 40_000), kind=kind)
    assert trailers["grpc-status"] == "8"


def test_another_encoding_than_protobuf_is_not_found(edge):
    with edge.plain() as client:
        assert client.post(GET, content=b"{}", headers={"content-type": "application/grpc-web+json"}).status_code == 404


PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-grpc-web",
}


def test_no_other_page_s_scripts_may_call(edge):
    with edge.plain() as client:
        for reply in (
            client.options(GET, headers=PREFLIGHT),
            client.get("/health", headers={"origin": ORIGIN}),
        ):
            assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.fixture(scope="module")
def open_edge(config, house, folder):
    """An edge that takes calls of the scripts of two web pages."""
    changed = replace(
        config,
        admin_socket=folder / "open.sock",
        folder=folder / "open",
        web_origins=(ORIGIN, "http://localhost:5173"),
    )
    with running_edge(changed) as running:
        yield running


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:5173"])
@pytest.mark.parametrize("path", [GET, "/v1/tasks"])
def test_an_allowed_page_s_scripts_may_call(open_edge, origin, path):
    with open_edge.plain() as client:
        reply = client.options(path, headers={**PREFLIGHT, "origin": origin})
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == origin
        assert {"content-type", "x-grpc-web", "authorization"} <= {
            name.strip() for name in reply.headers["access-control-allow-headers"].split(",")
        }
        assert "access-control-allow-credentials" not in reply.headers
        _, trailers = call(client, GET, tasks_pb2.GetTaskRequest(task_id="missing"), origin=origin)
        assert trailers["access-control-allow-origin"] == origin
        assert "grpc-status" in trailers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["https://app.example.evil", "http://app.example", "null", "https://APP.example.evil"]
)
def test_only_the_pages_named_are_allowed(open_edge, origin):
    with open_edge.plain() as client:
        for reply in (
            client.options(GET, headers={**PREFLIGHT, "origin": origin}),
            client.get("/v1/tasks/a", headers={"origin": origin}),
        ):
            assert "access-control-allow-origin" not in reply.headers
