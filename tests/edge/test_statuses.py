"""HEAD, 204 and 304 carry no body, and what follows on the connection is right."""

import http.client

import pytest

METHODS = [
    ("HEAD", "/api/task_results/a", 200),
    ("HEAD", "/api/task_results/missing", 422),
    ("HEAD", "/api/task_results/unchanged", 304),
    ("HEAD", "/api/task_results/a?page=x", 422),
    ("HEAD", "/api/task_results/2000000", 200),
    ("HEAD", "/keys", 200),
    ("HEAD", "/insert", 404),
    ("HEAD", "/nowhere", 404),
    ("HEAD", "/v1/nowhere", 404),
    ("HEAD", "/health", 200),
    ("OPTIONS", "/keys", 204),
    ("GET", "/api/task_results/unchanged", 304),
    ("POST", "/bulk_insert", 202),
    ("GET", "/api/task_results/missing", 422),
    ("GET", "/v1/tasks/refused", 418),
]


def sizes(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> tuple[int, str | None, int]:
    connection.request(method, path, body=body)
    reply = connection.getresponse()
    return reply.status, reply.headers["content-length"], len(reply.read())


@pytest.fixture(scope="module")
def connection(edge, alice):
    connection = http.client.HTTPSConnection("localhost", edge.ports["https"], context=edge.tls(alice), timeout=20)
    yield connection
    connection.close()


@pytest.mark.parametrize(("method", "path", "status"), METHODS)
def test_http1_stays_in_step(connection, method, path, status):
    body = b"some" if path == "/bulk_insert" else b""
    found, length, size = sizes(connection, method, path, body)
    assert found == status
    if status == 204:
        assert (length, size) == (None, 0)
    elif method == "HEAD" or status == 304:
        assert int(length) > 0
        assert size == 0
    else:
        assert int(length) == size > 0
    assert sizes(connection, "GET", "/health", b"") == (200, "20", 20)


def test_head_tells_the_length_of_get(connection):
    for path in ("/api/task_results/a", "/api/task_results/missing", "/api/task_results/2000000", "/nowhere", "/keys"):
        assert sizes(connection, "HEAD", path, b"")[:2] == sizes(connection, "GET", path, b"")[:2]


@pytest.mark.parametrize(("method", "path", "status"), METHODS)
def test_http2_has_no_protocol_error(edge, alice, method, path, status):
    with edge.client(http2=True, certificate=alice) as client:
        reply = client.request(method, path, content=b"some" if path == "/bulk_insert" else None)
        assert (reply.http_version, reply.status_code) == ("HTTP/2", status)
        assert bool(reply.content) == (method != "HEAD" and status not in (204, 304))
        assert client.get("/health").json() == {"status": "SERVING"}
