"""The documented aircloak calls, as its users make them, through the real edge."""

import gzip
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from tests.bench.house import House
from tests.clients.conftest import wait_for_end

Clients = Callable[..., httpx.Client]
MISSING = {"success": False, "error": "Missing authentication key."}
REFUSED = {"success": False, "error": "Not authenticated."}
UNKNOWN = '{"success":false,"error":"Task not found."}'


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_thirty_results_come_in_three_pages_newest_first(client: Clients, published: str, http2: bool) -> None:
    web = client("web_api", http2=http2)
    pages = [web.get(f"/api/task_results/{published}", params={"page": page}).json() for page in (1, 2, 3)]
    for number, page in enumerate(pages, 1):
        assert list(page) == ["success", "count", "page", "per_page", "items"]
        assert (page["success"], page["count"], page["page"], page["per_page"]) == (True, 30, number, 10)
    items = [item for page in pages for item in page["items"]]
    assert [item["buckets"] for item in items] == [[{"name": f"height: {n}", "value": 5}] for n in range(29, -1, -1)]
    assert all(item["exceptions"] == [] for item in items)
    times = [item["published_at"] for item in items]
    assert times == sorted(times, reverse=True)
    assert abs(times[0] / 1000 - time.time()) < 3600
    assert all(
        isinstance(number, int) for item in items for number in (item["published_at"], item["buckets"][0]["value"])
    )


def test_a_page_past_the_end_is_empty(client: Clients, published: str) -> None:
    page = client("web_api").get(f"/api/task_results/{published}?page=4").json()
    assert (page["count"], page["page"], page["items"]) == (30, 4, [])


def test_per_page_and_the_last_of_repeated_parameters_count(client: Clients, published: str) -> None:
    page = client("web_api").get(f"/api/task_results/{published}?per_page=7&page=1&page=5").json()
    assert (page["page"], page["per_page"], len(page["items"])) == (5, 7, 2)


@pytest.mark.parametrize("path", ["/{}/", "/{}.json", "/{}?unknown=1"])
def test_the_spellings_that_rails_accepted_are_accepted(client: Clients, published: str, path: str) -> None:
    answer = client("web_api").get("/api/task_results" + path.format(published))
    assert answer.status_code == 200
    assert answer.json()["count"] == 30


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=1.5", "page=", "page=99999999999", "per_page=0", "per_page=10001"]
)
def test_a_page_out_of_range_is_422_and_names_the_parameter(client: Clients, published: str, query: str) -> None:
    answer = client("web_api").get(f"/api/task_results/{published}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["success"] is False
    assert query.split("=")[0] in answer.json()["error"]


def test_without_a_key_the_answer_is_the_documented_401(client: Clients, published: str) -> None:
    answer = client().get(f"/api/task_results/{published}", headers={"authorization": "Bearer token"})
    assert (answer.status_code, answer.json()) == (401, MISSING)


@pytest.mark.parametrize("kind", ["upload_any", "admin", "task_runner"])
def test_a_key_of_another_kind_is_not_authenticated(client: Clients, published: str, kind: str) -> None:
    answer = client(kind).get(f"/api/task_results/{published}")
    assert (answer.status_code, answer.json()) == (401, REFUSED)


def test_another_organization_s_task_answers_as_an_unknown_one(client: Clients, published: str) -> None:
    answers = [client("web_api", "other").get(f"/api/task_results/{name}") for name in (published, "1", "no such task")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(422, UNKNOWN)}


@pytest.mark.parametrize("query", ["task_id={}", "taskId={}", "task%5fid={}", "task_id={}&taskId={}"])
def test_no_query_parameter_reaches_another_task_than_the_path_names(
    client: Clients, published: str, query: str
) -> None:
    answer = client("web_api").get("/api/task_results/unknown?" + query.replace("{}", published))
    assert answer.status_code == 422
    assert "items" not in answer.json()


def test_a_revoked_key_is_refused_from_its_next_call_on_the_same_connection(
    house: House, client: Clients, key: Callable[..., Path], published: str
) -> None:
    web = client(pem=key("web_api", fresh=True))
    assert web.get(f"/api/task_results/{published}").status_code == 200
    newest = web.get("/keys").json()["keys"][0]
    assert newest["kind"] == "web_api"
    house.run("keys", "revoke", newest["id"])
    answer = web.get(f"/api/task_results/{published}")
    assert (answer.status_code, answer.json()) == (401, REFUSED)


def test_an_unchanged_page_is_304_and_its_connection_goes_on(
    house: House, key: Callable[..., Path], published: str
) -> None:
    connection = http.client.HTTPSConnection("localhost", house.https[1], context=house.context(key("web_api")))
    connection.request("GET", f"/api/task_results/{published}")
    first = connection.getresponse()
    etag, body = first.headers["etag"], first.read()
    connection.request("GET", f"/api/task_results/{published}", headers={"if-none-match": etag})
    again = connection.getresponse()
    assert (again.status, again.read()) == (304, b"")
    connection.request("HEAD", f"/api/task_results/{published}")
    head = connection.getresponse()
    assert (head.status, head.read(), head.headers["content-length"]) == (200, b"", str(len(body)))
    connection.request("GET", f"/api/task_results/{published}")
    assert connection.getresponse().read() == body
    assert "grpc-message" not in first.headers
    connection.close()


@pytest.mark.parametrize("legacy", [False, True])
def test_the_document_s_pkcs12_file_and_password_open_the_results(
    house: House, published: str, tmp_path: Path, legacy: bool
) -> None:
    file, password = tmp_path / "my_api_key.pfx", tmp_path / "password"
    password.write_text("my_password\n")
    house.run("keys", "issue", "--org", "acme", "--kind", "web_api", "--out", file, "--password-file", password,
              *(["--legacy"] if legacy else []))  # fmt: skip
    private_key, certificate, _ = pkcs12.load_key_and_certificates(file.read_bytes(), b"my_password")
    pem = tmp_path / "key.pem"
    pem.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                    + certificate.public_bytes(Encoding.PEM))  # fmt: skip
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # As the document's example does.
    context.load_cert_chain(pem)
    with httpx.Client(verify=context) as ruby:
        page = ruby.get(f"https://localhost:{house.https[1]}/api/task_results/{published}").json()
    assert page["count"] == 30


def test_an_upload_is_counted_by_a_task_and_read_as_a_histogram(client: Clients) -> None:
    people = {f"person-{n}": {"heights": [{"height": 150 + n % 3 * 10 + 0.5}]} for n in range(900)}
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    body = gzip.compress(json.dumps(people).encode())
    uploaded = client("upload_any").post("/bulk_insert", content=body, headers=headers)
    assert (uploaded.status_code, uploaded.json()) == (200, {"success": True})
    runner = client("task_runner")
    asked = {"service": "cloak", "action": "histogram"}
    parameters = {"dataset": "heights", "column": "height", "bin_width": "10"}
    pages = []
    for width in ("10", "10.0"):
        task = runner.post("/v1/tasks", json={**asked, "parameters": {**parameters, "bin_width": width}}).json()
        assert wait_for_end(runner, task["id"])["state"] == "TASK_STATE_SUCCEEDED"
        pages.append(client("web_api").get(f"/api/task_results/{task['id']}").json())
    (item,) = pages[0]["items"]
    assert [bucket["name"] for bucket in item["buckets"]] == ["height: 150", "height: 160", "height: 170"]
    assert all(bucket["value"] % 5 == 0 and abs(bucket["value"] - 300) < 50 for bucket in item["buckets"])
    assert pages[1]["items"][0]["buckets"] == item["buckets"]  # The same question has the same answer.


def test_a_single_user_key_uploads_for_its_own_user(client: Clients) -> None:
    device = client("upload_user", user="device-7")
    answer = device.post("/insert", json={"heights": [{"height": 170.0, "sex": None}]})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert client("upload_any").post("/insert", json={}).status_code == 401
    assert device.post("/bulk_insert", json={}).status_code == 401


def test_documented_refusals_of_uploads(client: Clients) -> None:
    upload = client("upload_any")
    good, bad = {"heights": [{"height": 1.5}]}, {"heights": [{"height": "tall"}]}
    strict = upload.post("/bulk_insert", json={"ann": good, "bob": bad})
    assert strict.status_code == 422
    assert list(strict.json()["errors"]) == ["bob"]
    permissive = upload.post("/bulk_insert", json={"ann": good, "bob": bad}, headers={"validation_mode": "permissive"})
    assert permissive.status_code == 202
    assert list(permissive.json()["errors"]) == ["bob"]
    assert upload.post("/bulk_insert", content=b"{", headers={"content-type": "application/json"}).json() == {
        "success": False,
        "errors": "malformed json",
    }
    as_text = upload.post("/bulk_insert", content=b"{}", headers={"content-type": "text/csv"})
    assert (as_text.status_code, as_text.json()) == (422, {"success": False, "errors": "unknown content type"})
    brotli = upload.post("/bulk_insert", content=b"{}", headers={"content-encoding": "br"})
    assert brotli.status_code == 415
    large = upload.post("/bulk_insert", content=b" " * (10 * 1024 * 1024 + 1))
    refusal = {"success": False, "errors": "payload too large: more than 10485760 bytes"}
    assert (large.status_code, large.json()) == (413, refusal)
    unknown = upload.post("/bulk_insert", json={"ann": {"weights": [{"weight": 1}]}})
    assert unknown.status_code == 422
    assert "weights" in json.dumps(unknown.json()["errors"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/task_results/1", "GET, HEAD, OPTIONS"),
        ("GET", "/bulk_insert", "OPTIONS, POST"),
        ("PUT", "/insert", "OPTIONS, POST"),
        ("POST", "/keys", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_and_told_what_is_allowed(client: Clients, method: str, path: str, allow: str) -> None:
    answer = client("web_api").request(method, path)
    assert answer.status_code == 405
    assert sorted(answer.headers["allow"].split(", ")) == allow.split(", ")
    assert answer.json()["success"] is False


def test_unknown_paths_are_404_in_json(client: Clients) -> None:
    for path in ("/api/task_results/a/b", "/keys/1", "/nothing/here"):
        answer = client("web_api").get(path)
        assert answer.status_code == 404, path
        assert answer.json()["success"] is False


@pytest.mark.parametrize("path", ["/api/task_results/%FF", "/v1/tasks/%FF", "/api/task_results/x?page=%FF"])
def test_bad_utf_8_is_the_caller_s_fault_and_names_no_python_class(client: Clients, path: str) -> None:
    answer = client("task_runner" if path.startswith("/v1") else "web_api").get(path)
    assert answer.status_code in (400, 422)
    assert not re.search("DecodeError|Unicode|Exception|Traceback", answer.text)
