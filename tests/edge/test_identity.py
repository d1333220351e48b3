import socket
import ssl

import grpc
import httpx
import pytest

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests.edge.certificates import Authority
from tests.edge.conftest import wait_for

FORGED = {
    "X-Forwarded-Client-Cert": "Hash=00;Subject=CN=admin",
    "X-Taskhouse-Caller": "admin",
    "X-Envoy-Original-Path": "/forged",
    "X-Envoy-Original-Method": "FORGED",
    "X-Envoy-Upstream-Rq-Timeout-Ms": "900000",
    "X-Envoy-External-Address": "203.0.113.1",
    "X-Forwarded-For": "203.0.113.1",
    "X-Forwarded-Host": "forged",
    "X-Request-Id": "forged",
    "X-Real-Ip": "203.0.113.1",
    "Forwarded": "for=203.0.113.1",
    "Some_Header": "forged",
    "Odd-Bin": "not base64!",
    "Grpc-Timeout": "1n",
    "Grpc-Encoding": "forged",
}
GET = tasks_pb2.GetTaskRequest(task_id="a")


def arrived(client: httpx.Client, headers: dict[str, str] | None = None) -> dict[str, str]:
    """Ask, and return the headers that reached the server."""
    reply = client.get("/v1/tasks/a", headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["parameters"]


@pytest.fixture(params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def http2(request) -> bool:
    return request.param


def test_the_certificate_arrives_as_its_hash(edge, alice, http2):
    with edge.client(certificate=alice, http2=http2) as client:
        told = arrived(client, FORGED)["x-forwarded-client-cert"]
    assert told == f'Hash={alice.sha256};Subject="CN=alice";URI=taskhouse://key/alice'


def test_no_certificate_is_no_identity(edge, http2):
    with edge.client(http2=http2) as client:
        assert "x-forwarded-client-cert" not in arrived(client, FORGED)


def test_the_plain_listener_gives_no_identity(edge):
    with edge.plain() as client:
        assert "x-forwarded-client-cert" not in arrived(client, FORGED)


def test_a_resumed_session_has_its_identity(edge, alice):
    context, session = edge.tls(alice), None
    for resumed in (False, True):
        with (
            socket.create_connection(("127.0.0.1", edge.ports["https"])) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"GET /v1/tasks/a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert alice.sha256.encode() in connection.recv(65536)
            assert connection.session_reused == resumed
            session = connection.session


def test_nothing_forged_arrives(edge, http2):
    with edge.client(http2=http2) as client:
        told = arrived(client, FORGED)
    assert "forged" not in str(told)
    assert "203.0.113.1" not in str(told)
    assert told["x-envoy-original-path"] == "/v1/tasks/a"
    assert told["x-envoy-original-method"] == "GET"
    assert not {"x-taskhouse-caller", "odd-bin", "grpc-timeout", "grpc-encoding", "some_header"} & told.keys()
    assert not {"x-envoy-upstream-rq-timeout-ms", "x-envoy-internal", "x-envoy-external-address"} & told.keys()


def test_the_documented_header_with_an_underscore_arrives(edge, http2):
    with edge.client(http2=http2) as client:
        assert arrived(client, {"validation_mode": "permissive"})["validation_mode"] == "permissive"


def test_native_calls_cannot_forge_either(edge, alice):
    forged = tuple((name.lower(), value) for name, value in FORGED.items() if not name.lower().endswith("-bin"))
    forged = tuple(pair for pair in forged if not pair[0].startswith("grpc-"))
    with edge.channel(alice) as channel:
        reply = tasks_pb2_grpc.TaskServiceStub(channel).GetTask(GET, metadata=(*forged, ("odd-bin", b"forged")))
    told = dict(reply.parameters)
    assert alice.sha256 in told["x-forwarded-client-cert"]
    assert "forged" not in str(told)
    assert not {"x-envoy-original-path", "x-envoy-original-method", "x-taskhouse-caller", "odd-bin"} & told.keys()


def test_every_answer_carries_a_new_request_id(edge, http2):
    with edge.client(http2=http2) as client:
        replies = [client.get("/v1/tasks/a", headers={"x-request-id": "mine"}) for _ in range(2)]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert ids == [reply.json()["parameters"]["x-request-id"] for reply in replies]
    assert len({*ids, "mine"}) == 3


@pytest.fixture(params=["expired", "foreign", "namesake"])
def stranger(request, authority, tmp_path):
    """A certificate past its end, one of another authority, and one of another authority of the same name."""
    if request.param == "expired":
        return authority.client("expired", age_days=3), "certificate_has_expired"
    other = Authority(tmp_path, "other" if request.param == "foreign" else "ca").client("mallory")
    return other, "unable_to_get_local_issuer" if request.param == "foreign" else "certificate_signature_failure"


def refusals(edge, port: int) -> list[str]:
    """Return the lines about the connection from `port`."""
    start = f"edge refused a TLS handshake from 127.0.0.1:{port}: "
    return [line for line in edge.log.read_text().splitlines() if start in line]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_stranger_s_handshake_ends_in_an_alert_and_one_line(edge, stranger, version):
    certificate, reason = stranger
    context = edge.tls(certificate)
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", edge.ports["https"]), timeout=20) as plain:
        port = plain.getsockname()[1]
        # With TLS 1.3 a client is through before the server has looked at its certificate.
        with (
            pytest.raises(ssl.SSLError, match=r"(?i)alert"),
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.recv(1)
    wait_for(lambda: refusals(edge, port), "the line")
    (line,) = refusals(edge, port)
    assert reason in line


def test_a_stranger_gets_no_answer(edge, stranger, http2):
    with edge.client(certificate=stranger[0], http2=http2) as client, pytest.raises(httpx.TransportError):
        client.get("/v1/tasks/a")


def test_a_stranger_s_native_call_is_unavailable(edge, stranger):
    with edge.channel(stranger[0]) as channel, pytest.raises(grpc.RpcError) as refusal:
        tasks_pb2_grpc.TaskServiceStub(channel).GetTask(GET)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_good_handshake_leaves_no_line(edge, alice):
    with (
        socket.create_connection(("127.0.0.1", edge.ports["https"])) as plain,
        edge.tls(alice).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        good = connection.getsockname()[1]
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").read().endswith(b'{"status":"SERVING"}')
    with socket.create_connection(("127.0.0.1", edge.ports["https"])) as plain:
        bad = plain.getsockname()[1]
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert plain.recv(1) == b""
    wait_for(lambda: refusals(edge, bad), "the line of the bad one, which comes after any of the good one")
    assert not refusals(edge, good)
