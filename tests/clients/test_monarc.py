"""The documented monarc calls, as curl makes them, through the real edge: with keys, and with authentication off."""

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from taskhouse.v1 import stats_pb2, stats_pb2_grpc
from tests.bench.house import House, running

TOKEN = "oypvIaGU7uvuJbR4wgYrB7ef1HeXc9sh5g-zrH9WjmHbWHDk3L36lycYEgJevQ9wo-Wv_5PvxNlbIgZTBXVaMw"
STAT = '{"type": "risk", "anr": 2, "data": {"what": "you want", "super": "cool"}, "day":1, "week":1, "month":1}'
EMPTY = '{"data": [], "has_more": false}'
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?"
SHOWN = re.compile(
    r'\{"uuid": "[0-9a-f-]{36}", "organization": "CASES", "anr": 2, "type": "risk", "day": 1, "week": 1, "month": 1, '
    r'"data": \{"what": "you want", "super": "cool"\}, '
    rf'"created_at": "{TIME}", "updated_at": "{TIME}", "id": "(?P<id>[0-9a-f]{{24}})"\}}'
)
Curl = Callable[..., str]


def curl(house: House, *key: str) -> Curl:
    def run(path: str, *options: str) -> str:
        url = f"http://127.0.0.1:{house.http[1]}{path}"
        return subprocess.run(["curl", "-sS", *key, *options, url], check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house as it is made."""
    with running(tmp_path_factory.mktemp("keyed") / "data") as house:
        yield house


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with the documented setting."""
    data = tmp_path_factory.mktemp("opened") / "data"
    data.mkdir()
    (data / "config.toml").write_text("API_KEY_AUTHENTICATION = false\n")
    with running(data) as house:
        yield house


def documented(admin: Curl, run: Curl) -> None:
    """The document's lines, in their order. `admin` creates the organization, `run` is it."""
    json_type = ("-H", "Content-Type: application/json", "-X", "POST", "-d")
    assert admin("/api/v2/organizations/") == EMPTY
    created = admin("/api/v2/organizations/", *json_type, f'{{"name":"CASES","token": "{TOKEN}"}}')
    assert created == '{"name": "CASES"}'
    assert run("/api/v2/stats/") == EMPTY
    made = run("/api/v2/stats/", *json_type, STAT)
    found = SHOWN.fullmatch(made)
    assert found, made
    assert run(f"/api/v2/stats/{found['id']}/") == made
    page = f'{{"data": [{made}], "has_more": false}}'
    for query, holds in (
        ("_skip=0&_limit=10", True),
        ("day=1&month=1", True),
        ("day__exact=1&month__exact=1", True),
        ("organization=CASES&type=risk&month=2", False),
        ("created_at__gt=2020-05-12T22:29:42.362000", True),
        ("type=risk&month__gt=2", False),
        ("type=risk&month__gt=2&month__lt=8", False),
    ):
        assert run(f"/api/v2/stats/?{query}") == (page if holds else EMPTY), query


def test_the_documented_lines_run_with_authentication_off(opened: House) -> None:
    run = curl(opened)
    documented(run, run)
    assert run("/api/v2/stats/", "-H", "X-API-KEY: BAD-TOKEN").startswith('{"data": [{')


def test_the_documented_lines_run_with_keys(keyed: House) -> None:
    [made] = keyed.run("tokens", "create", "--house", "--api", "monarc", "--access", "admin")
    documented(curl(keyed, "-H", f"X-API-KEY: {made['token']}"), curl(keyed, "-H", f"X-API-KEY: {TOKEN}"))


def test_a_failed_authentication_is_25_bytes(keyed: House) -> None:
    answer = curl(keyed, "-H", "X-API-KEY: BAD-TOKEN")("/api/v2/stats/", "-i")
    head, body = answer.split("\n\n", 1) if "\n\n" in answer else answer.split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 401 Unauthorized")
    assert {"vary: Accept", "content-type: application/json", "content-length: 25"} <= set(head.splitlines())
    assert body == '{"error": "Unauthorized"}'


def test_the_setting_is_refused_where_others_could_reach_the_house(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("API_KEY_AUTHENTICATION = false\n")
    with (
        pytest.raises(RuntimeError, match="https must be a loopback address"),
        running(tmp_path, "--https", "0.0.0.0:18999"),
    ):
        pass


@pytest.fixture(scope="module")
def own(keyed: House) -> dict[str, str]:
    """The header of an organization of this test's own."""
    [made] = keyed.run("orgs", "create", "OWN")
    return {"X-API-KEY": str(made["token"])}


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def client(keyed: House, own: dict[str, str], request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    context = keyed.context()
    url = f"https://localhost:{keyed.https[1]}"
    with httpx.Client(base_url=url, verify=context, http2=request.param, headers=own, timeout=30) as opened:
        yield opened


def as_dict(text: str) -> dict[str, Any]:
    return json.loads(text)


def test_head_options_redirects_and_wrong_methods_leave_the_connection_in_step(client: httpx.Client) -> None:
    head = client.head("/api/v2/stats/")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(client.get("/api/v2/stats/").content)
    options = client.options("/api/v2/stats/")
    assert (options.status_code, options.content) == (200, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS, POST, DELETE"
    moved = client.get("/api/v2/stats?month=1")
    assert (moved.status_code, moved.headers["location"]) == (308, "/api/v2/stats/?month=1")
    assert client.get("/api/v2/stats?month=1", follow_redirects=True).json()["data"] is not None
    wrong = client.put("/api/v2/stats/", json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, options.headers["allow"])
    for path in ("/api/v2/nothing", "/api/v2/stats/a/b/", "/api/v1/stats/", "/api/v7/stats/"):
        assert client.get(path).status_code == 404
        assert set(client.get(path).json()) == {"error"}


def test_bodies_that_are_too_large_or_in_chunks_are_refused_in_this_api_s_shape(
    keyed: House, own: dict[str, str]
) -> None:
    headers = own | {"Content-Type": "application/json"}
    with httpx.Client(base_url=f"http://127.0.0.1:{keyed.http[1]}", headers=headers, timeout=60) as client:
        before = client.get("/api/v2/stats/").json()
        large = json.dumps(as_dict(STAT) | {"data": "x" * 1024 * 1024}).encode()
        for body in (large, b" " * (100 * 1024 * 1024)):
            connection = http.client.HTTPConnection(*keyed.http, timeout=60)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It may be refused before it is all sent.
                connection.request("POST", "/api/v2/stats/", body=body, headers=headers)
            answer = connection.getresponse()
            assert answer.status == 413
            assert set(json.loads(answer.read())) == {"error"}
            connection.close()
        chunked = client.post("/api/v2/stats/", content=iter([STAT.encode()]))
        assert (chunked.status_code, chunked.json()["error"]) == (400, "Chunked Transfer-Encoding is not supported.")
        assert client.get("/api/v2/stats/").json() == before


@pytest.mark.parametrize(
    "query",
    ["stat_id=0", "statId=0", "stat%5fid=0", "_limit=1&_limit=2", "month=%00", "type=%25%27", "a=%zz&b", "x" * 6000],
)
def test_no_query_overrides_a_path_or_is_an_error_of_the_house(client: httpx.Client, query: str) -> None:
    made = client.post("/api/v2/stats/", content=STAT, headers={"content-type": "application/json"}).json()
    one = client.get(f"/api/v2/stats/{made['id']}/?{query}")
    assert one.status_code in (200, 400)
    assert one.status_code == 400 or one.json() == made
    assert client.get(f"/api/v2/stats/?{query}").status_code in (200, 400)


def test_stats_are_typed_too(keyed: House) -> None:
    [made] = keyed.run("orgs", "create", "TYPED")
    [typed] = keyed.run("tokens", "create", "--org", "TYPED", "--api", "grpc")
    bearer = f"Bearer {typed['token']}"
    data = '{"n": 123456789012345678901234567890, "b": {"c": 5}}'
    stats = [
        stats_pb2.Stat(anr_number=2, type="risk", day=day, week=1, month=1, data=data, uuid=f"{day:032x}")
        for day in range(1, 6)
    ]
    trust = grpc.ssl_channel_credentials((keyed.data / "ca.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{keyed.https[1]}", trust) as channel:
        stub = stats_pb2_grpc.StatServiceStub(channel)
        metadata = (("authorization", bearer),)
        for written, existing in ((5, 0), (0, 5)):
            messages = [stats_pb2.WriteRequest(stats=stats[:2]), stats_pb2.WriteRequest(stats=stats[2:])]
            answer = stub.Write(iter(messages), metadata=metadata)
            assert (answer.written, answer.existing) == (written, existing)
    with httpx.Client(base_url=f"http://127.0.0.1:{keyed.http[1]}", timeout=30) as client:
        headers = {"authorization": bearer}
        filters = [
            {"field": "data", "path": ["b", "c"], "operator": "STAT_OPERATOR_GREATER", "values": [{"integer": 4}]}
        ]
        page = client.post("/v1/stats:query", json={"filters": filters, "page_size": 2}, headers=headers).json()
        assert [stat["day"] for stat in page["stats"]] == ["1", "2"]
        assert page["stats"][0]["data"] == data
        more = {"filters": filters, "page_token": page["next_page_token"]}
        assert len(client.post("/v1/stats:query", json=more, headers=headers).json()["stats"]) == 3
        stat_id = page["stats"][0]["id"]
        changed = client.patch(f"/v1/stats/{stat_id}?update_mask=day", json={"day": 9}, headers=headers).json()
        assert changed["day"] == "9"
        assert client.get(f"/v1/stats/{stat_id}", headers=headers).json() == changed
        monarc = client.get(f"/api/v2/stats/{stat_id}/", headers={"x-api-key": str(made["token"])})
        assert f'"data": {data}, ' in monarc.text
        assert client.delete(f"/v1/stats/{stat_id}", headers=headers).json() == {}
        assert client.get(f"/v1/stats/{stat_id}", headers=headers).status_code == 404
        assert client.get("/api/v2/stats/", headers=headers).status_code == 401
