"""The rudder API through the real edge: the document's curl lines, and what rudder-cli sends, byte for byte."""

import http.client
import itertools
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.bench.house import House

JSON = ("-H", "Content-Type: application/json")
_numbers = itertools.count(1)
Curl = Callable[..., dict[str, Any]]


class Account(NamedTuple):
    """An API account of an organization of its own."""

    house: House
    operator: httpx.Client
    organization: str
    token: str

    def url(self, path: str) -> str:
        """Return a path's address on the plain listener."""
        return f"http://127.0.0.1:{self.house.http[1]}{path}"

    def workflow(self, *, on: bool) -> None:
        """Switch the organization's workflow."""
        path = f"/v1/organizations/{self.organization}?update_mask=workflow"
        self.operator.patch(path, json={"workflow": on}).raise_for_status()

    def events(self) -> list[dict[str, Any]]:
        """Return the organization's events about rules and change requests, in their order."""
        query = {"organization": self.organization, "page_size": "1000"}
        found = self.operator.get("/v1/events", params=query).raise_for_status().json()["events"]
        return [each for each in reversed(found) if each["object_kind"] in ("rule", "change_request")]

    def client(self) -> httpx.Client:
        """Return an HTTP client with the token."""
        return httpx.Client(base_url=self.url("/api/latest"), headers={"X-API-Token": self.token}, timeout=30)


@pytest.fixture(scope="module")
def operator(house: House) -> Iterator[httpx.Client]:
    """Typed calls of the house's operator."""
    [made] = house.run("tokens", "create", "--house", "--api", "grpc", "--access", "admin")
    keys = {"authorization": f"Bearer {made['token']}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}", headers=keys, timeout=30) as client:
        yield client


@pytest.fixture
def account(house: House, operator: httpx.Client) -> Account:
    organization = f"rudder{next(_numbers)}"
    operator.post("/v1/organizations", json={"name": organization}).raise_for_status()
    asked = {"organization": organization, "api": "TOKEN_API_RUDDER", "display_name": "Robot"}
    made = operator.post("/v1/tokens", json=asked).raise_for_status().json()
    return Account(house, operator, organization, made["token"])


@pytest.fixture
def curl(account: Account, tmp_path: Path) -> Curl:
    """Run curl as the document does, in a folder of its own, and return the JSON of the answer."""

    def run(path: str, *options: str, version: str = "latest") -> dict[str, Any]:
        keys = ("-H", f"X-API-Token: {account.token}", "-H", f"X-API-Version:{version}")
        done = subprocess.run(
            ["curl", "-sS", "-g", account.url(path), *keys, *options],
            check=True, capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def rule_of(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["result"] == "success", answer
    [rule] = answer["data"]["rules"]
    return rule


# The document's lines; updates need -X POST, as it says of POST that it updates.


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("?displayName=my%20new%20name&enabled=false&directives=aDirectiveId", ()),
        ("?displayName=my+new+name&enabled=false&directives=aDirectiveId", ()),
        ("", ("-d", "displayName=my new name", "-d", "enabled=false", "-d", "@directiveId")),
        ("", (*JSON, "-d", '{ "displayName" : "my new name", "enabled" : false, "directives" : "aDirectiveId"}')),
        ("", (*JSON, "-d", "@jsonParam")),
        ("", ("-F", "displayName=my new name", "-F", "enabled=false", "-F", "directives=<oneDirective")),
        ("?reason=Reason%20used", (*JSON, "-d", "@jsonParam", "-d", "reason=Reason ignored")),
        ("?reason=Reason+used", (*JSON, "-d", "@jsonParam", "-d", "reason=Reason ignored")),
    ],
)
def test_the_documented_ways_of_passing_parameters_change_the_rule(account, curl, tmp_path, query, options):
    (tmp_path / "directiveId").write_text("directives=aDirectiveId")
    (tmp_path / "oneDirective").write_text("aDirectiveId")
    (tmp_path / "jsonParam").write_text(
        '{\n\t  "displayName" : "my new name"\n\t, "enabled" : false\n\t, "directives" : "aDirectiveId"\n}\n'
    )
    curl("/api/rules", "-X", "PUT", "-d", "id=id", "-d", "displayName=old name", "-d", "targets=special:all")
    answer = curl(f"/api/rules/id{query}", "-X", "POST", *options)
    rule = rule_of(answer)
    assert answer["action"] == "updateRule"
    assert (rule["displayName"], rule["enabled"], rule["directives"]) == ("my new name", False, ["aDirectiveId"])
    assert rule["targets"] == ["special:all"]
    assert rule_of(curl("/api/rules/id")) == rule
    [created, updated] = account.events()
    assert (created["action"], updated["action"], updated["actor_name"]) == ("rule.created", "rule.updated", "Robot")
    assert updated["reason"] == ("Reason used" if query.startswith("?reason") else "")


def test_the_documented_versions(account, curl):
    for path in ("/rudder/api/2/rules", "/rudder/api/latest/rules", "/rudder/api/rules", "/api/rules"):
        assert curl(path, version="2")["action"] == "listRules"
    assert curl("/rudder/api/2/rules", version="3.14")["result"] == "success"
    refused = curl("/rudder/api/rules", version="3.14")
    assert refused["errorDetails"].endswith(" one of the following: [ latest, 2, 3, 4 ] ")
    status = ("-o", "answer", "-w", '{"status": %{http_code}}')
    assert curl("/rudder/api/3.14/rules", *status) == {"status": 404}
    assert curl("/rudder/api/rules", *status, version="3.14") == {"status": 500}


# What rudder-cli sends


class Cli:
    """One keep-alive connection that carries what rudder-cli writes on it."""

    def __init__(self, account: Account) -> None:
        self._socket = socket.create_connection(account.house.http, timeout=20)
        self._token = account.token

    def __call__(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
        lines = [
            f"{method} /rudder/api/{path} HTTP/1.1",
            "Host: localhost",
            "User-Agent: python-urllib3/2.5.0",
            "Accept-Encoding: identity",
            f"X-API-Token: {self._token}",
            "X-API-Version: latest",
            "Content-Type: application/json;charset=utf-8",
            *([f"Content-Length: {len(body.encode())}"] if body is not None else []),
        ]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode())
        answer = HTTPResponse(self._socket, method=method)
        answer.begin()
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def cli(account: Account) -> Iterator[Cli]:
    opened = Cli(account)
    yield opened
    opened.close()


def test_what_rudder_cli_sends_is_answered_as_it_reads_it(account, cli):
    assert cli("GET", "rules") == (200, {"action": "listRules", "result": "success", "data": {"rules": []}})
    status, made = cli("PUT", "rules", '{"displayName": "first"}')
    assert (status, made["id"]) == (200, rule_of(made)["id"])
    options = '{"displayName": "second", "id": "r2", "directives": "d1", "targets": "special:all"}'
    status, made = cli("PUT", "rules?reason=set+up", options)
    second = rule_of(made)
    assert (made["id"], second["directives"], second["targets"]) == ("r2", ["d1"], ["special:all"])
    assert rule_of(cli("GET", "rules/r2")[1]) == second
    from_file = json.dumps(second | {"enabled": False, "directives": ["d1", "d2"]})  # `rudder-cli -j FILE rule update`
    assert rule_of(cli("POST", "rules/r2", from_file)[1])["directives"] == ["d1", "d2"]
    _, clone = cli("PUT", "rules", '{"source": "r2", "displayName": "copy"}')
    assert rule_of(clone) == second | {
        "id": clone["id"], "displayName": "copy", "directives": ["d1", "d2"], "enabled": False,
    }  # fmt: skip
    assert rule_of(cli("DELETE", "rules/r2?reason=no+use")[1])["id"] == "r2"
    status, missing = cli("GET", "rules/r2")
    assert (status, missing["result"], missing["errorDetails"][-23:]) == (500, "error", "Could not find Rule r2.")
    assert len(cli("GET", "rules?prettify=true")[1]["data"]["rules"]) == 2
    assert cli("GET", "rules?x=1?prettify=true")[0] == 200
    status, refused = cli("PUT", "rules", '{"displayName": "third", "enabled": "false"}')
    assert (status, "Not a good value for parameter enabled" in refused["errorDetails"]) == (500, True)


def test_rudder_cli_leads_a_change_request_through_the_workflow(account, cli):
    cli("PUT", "rules", '{"displayName": "first", "id": "r1"}')
    account.workflow(on=True)
    remarks = "reason=I+want+it&changeRequestName=My+change&changeRequestDescription=As+talked+about"
    _, asked = cli("POST", f"rules/r1?{remarks}", '{"displayName": "renamed"}')
    assert rule_of(asked)["changeRequestId"] == "1"
    assert rule_of(cli("GET", "rules/r1")[1])["displayName"] == "first"
    _, listed = cli("GET", "changeRequests?status=pending%20validation")
    [request] = listed["data"]["changeRequests"]
    assert (request["name"], request["description"], request["created by"]) == (
        "My change", "As talked about", "Robot",
    )  # fmt: skip
    assert cli("POST", "changeRequests/1", '{"name": "Another name"}')[1]["id"] == "1"
    status, accepted = cli("POST", "changeRequests/1/accept", '{"status": "deployed"}')
    assert (status, accepted["data"]["changeRequests"][0]["status"]) == (200, "Deployed")
    assert rule_of(cli("GET", "rules/r1")[1])["displayName"] == "renamed"
    assert rule_of(cli("DELETE", "rules/r1")[1])["changeRequestId"] == "2"
    assert cli("DELETE", "changeRequests/2")[1]["data"]["changeRequests"][0]["status"] == "Cancelled"
    account.workflow(on=False)
    assert cli("GET", "changeRequests")[0] == 500
    assert [each["action"] for each in account.events()] == [
        "rule.created", "change_request.created", "change_request.updated", "rule.updated",
        "change_request.deployed", "change_request.created", "change_request.declined",
    ]  # fmt: skip


# The edge between


@pytest.mark.parametrize(
    ("segment", "rule_id"),
    [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("50%25", "50%"), ("a:cancel", "a:cancel"), ("a+b", "a+b"),
     ("a%20b", "a b"), ("%zz", "%zz"), ("x;y=z", "x;y=z"), ("rules", "rules"), ("latest", "latest")],
)  # fmt: skip
def test_ids_reach_the_house_as_they_were_sent(account, segment, rule_id):
    with account.client() as client:
        for override in ("", "?rule_id=zz", "?ruleId=zz", "?rule%5fid=zz", "?rest=zz&http_body.data=eA"):
            answer = client.get(f"{client.base_url}rules/{segment}{override}")
            assert (answer.status_code, answer.json()["id"]) == (500, rule_id)


@pytest.mark.parametrize("path", ["/rules/%FF", "/rules/%00", "/%C0%AF/rules", "/rules/a%ED%A0%80"])
def test_a_path_that_is_no_text_is_refused_in_the_envelope(account, path):
    connection = http.client.HTTPConnection(*account.house.http, timeout=20)
    for method in ("GET", "POST", "DELETE"):
        connection.request(method, f"/api/latest{path}", headers={"X-API-Token": account.token})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert (answer.status, body["result"]) in ((500, "error"), (404, "error"))
        assert "Internal" not in body["errorDetails"]
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PATCH", "/rules", 404), ("POST", "/rules", 404), ("PUT", "/rules/x", 404), ("TRACE", "/rules", 404),
     ("GET", "/nothing", 404), ("POST", "/changeRequests/1/accept/x", 404), ("OPTIONS", "/rules", 200)],
)  # fmt: skip
def test_what_nobody_serves_is_not_found_in_the_envelope(account, method, path, status):
    with account.client() as client:
        answer = client.request(method, path)
        assert answer.status_code == status
        assert status == 200 or answer.json()["action"] == "unknown"
        assert ("allow" in answer.headers) == (path in ("/rules", "/rules/x"))
        assert client.get("/rules").status_code == 200


def test_head_has_the_headers_of_get_and_no_body(account):
    with account.client() as client:
        for path in ("/rules", "/rules/none", "/info"):
            head, got = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-length"] == str(len(got.content))
            assert head.headers["content-type"] == got.headers["content-type"] == "application/json; charset=utf-8"


def test_a_get_with_a_body_is_a_get(account):
    with account.client() as client:
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            answer = client.request("GET", "/rules", content=b'{"displayName": "x"}', headers={"content-type": kind})
            assert answer.json()["action"] == "listRules"


def test_prettify_is_for_refusals_too(account):
    with account.client() as client:
        answer = client.get("/rules/~1~0~?prettify=true")
        assert answer.text.split("\n")[:3] == ["{", '  "action": "ruleDetails",', '  "id": "~1~0~",']
        assert answer.headers["content-length"] == str(len(answer.content))
        assert "\n" not in client.get("/rules/~1~0~").text


@pytest.mark.parametrize("size", [1_100_000, 3_000_000])
def test_a_body_that_is_too_large_is_refused_in_the_envelope(account, size):
    with account.client() as client:
        answer = client.put("/rules", json={"displayName": "x" * size})
        assert (answer.status_code, answer.json()["result"]) == (500, "error")
        assert "too large" in answer.json()["errorDetails"]
        stranger = httpx.put(account.url("/api/latest/rules"), json={"displayName": "x" * size})
        assert (stranger.status_code, stranger.json()["result"]) == (401, "error")
        assert client.get("/rules").json()["data"] == {"rules": []}


def test_a_large_rule_comes_back_whole(account):
    directives = [f"32377fd7-02fd-43d0-aab7-{number:012}" for number in range(10_000)]
    with account.client() as client:
        made = client.put("/rules", json={"id": "large", "displayName": "large", "directives": directives})
        assert rule_of(made.json())["directives"] == directives
        assert rule_of(client.get("/rules/large").json())["directives"] == directives


def test_other_apis_keep_their_paths(account):
    with account.client() as client:
        for path, status, key in (
            ("/api/v2/stats/", 401, "error"),
            ("/api/v9/rules", 404, "error"),
            ("/api/task_results/rules", 401, "success"),
            ("/api/task_results", 404, "success"),
        ):
            answer = client.get(account.url(path))
            assert (answer.status_code, next(iter(answer.json()))) == (status, key), path


def test_a_regenerated_token_ends_the_old_one_at_once(account, cli):
    assert cli("GET", "rules")[0] == 200
    [listed] = [one for one in account.house.run("tokens", "list", "--org", account.organization)
                if one["display_name"] == "Robot"]  # fmt: skip
    [made] = account.house.run("tokens", "regenerate", listed["id"])
    status, refused = cli("GET", "nothing")
    assert (status, refused["action"], "Unauthorized" in refused["errorDetails"]) == (401, "unknown", True)
    fresh = account._replace(token=made["token"])
    with fresh.client() as client:
        assert client.get("/rules").status_code == 200
        account.house.run("tokens", "revoke", listed["id"])
        assert client.get("/rules").status_code == 401


def test_many_clients_at_once_each_have_their_way(account):
    def work(number: int) -> int:
        with account.client() as client:
            for step in range(5):
                body = {"id": f"r{number}-{step}", "displayName": f"name {number} {step}"}
                assert client.put("/rules", json=body).status_code == 200
                assert client.post(f"/rules/r{number}-{step}", data={"enabled": "false"}).status_code == 200
            return 5

    with ThreadPoolExecutor(16) as pool:
        total = sum(pool.map(work, range(16)))
    with account.client() as client:
        rules = client.get("/rules").json()["data"]["rules"]
    assert (len(rules), {rule["enabled"] for rule in rules}) == (total, {False})
    assert [rule["id"] for rule in rules] == sorted(rule["id"] for rule in rules)
    assert [each["action"] for each in account.events()].count("rule.updated") == total
