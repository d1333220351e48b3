"""The documented calls of asapi before a task is done, as curl sends them, at the real edge."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from uuid_utils import uuid7

from tests.bench.house import House

FORM = {"content-type": "application/x-www-form-urlencoded"}
SERVICE, USER = "iCloud", "john.appleseed@reincubate.com"
PATHS = {
    "/account/": "GET", "/register-account/": "POST", "/deregister-account/": "POST", "/submit-task/": "POST",
    "/task-status/": "POST",
}  # fmt: skip
TASK = {"service": "icloud", "action": "fetch-data", "account": USER, "a": "1"}


@pytest.fixture(scope="module")
def tokens(house: House) -> dict[str, str]:
    """Tokens of `acme` by their retrievals, and one of `other`."""

    def made(org: str, retrieval: str) -> str:
        [token] = house.run("tokens", "create", "--org", org, "--api", "asapi", "--retrieval", retrieval)
        return str(token["token"])

    return {
        "asstore": made("acme", "asstore"),
        "aschannel": made("acme", "aschannel"),
        "other": made("other", "asstore"),
    }


@pytest.fixture(scope="module")
def call(house: House, tokens: dict[str, str]) -> Iterator[Callable[..., httpx.Response]]:
    """Call a path with a token."""
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{house.http[1]}", timeout=30) as plain,
        httpx.Client(base_url=f"https://localhost:{house.https[1]}", verify=house.context(), http2=True) as tls,
    ):

        def called(path: str, form=None, *, who: str = "asstore", secure: bool = False, method: str = "", **more):
            headers = {"authorization": f"Token {tokens[who]}"} if who else {}
            headers |= more.pop("headers", {})
            method = method or ("GET" if form is None and "content" not in more else "POST")
            return (tls if secure else plain).request(method, path, data=form, headers=headers, **more)

        yield called


@pytest.fixture(scope="module")
def registered(call: Callable[..., httpx.Response]) -> None:
    """The account of the documented examples, of both organizations."""
    for token in ("asstore", "other"):
        answer = call("/register-account/", {"service": SERVICE, "username": USER}, who=token)
        assert (answer.status_code, answer.json()) == (200, {"success": True})


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("path", ["/account/", "/account"])
def test_discovery_names_the_address_that_was_asked(house, call, path, secure):
    host = f"localhost:{house.https[1]}" if secure else f"127.0.0.1:{house.http[1]}"
    told = call(path, secure=secure, headers={"x-forwarded-proto": "gopher", "x-taskhouse-authority": "x"}).json()
    where = {"host": host, "protocol": "https" if secure else "http"}
    assert told["task_submission_endpoint"] == where | {"uri": "/submit-task/"}
    assert told["stream_endpoints"] == [where | {"uri": "/fetch/"}]
    assert told["retrieval_protocol"] == "asstore"
    [service] = [one for one in told["services"] if one["slug"] == "icloud"]
    [action] = [one for one in service["actions"] if one["slug"] == "fetch-data"]
    assert action["execution"] == "Asynchronous"
    assert action["parameters"][0] == {"name": "a", "slug": "a", "type": "string", "description": "", "optional": True}
    assert "cloak" not in [one["slug"] for one in told["services"]]


def test_a_form_with_get_does_not_disturb(call):
    assert call("/account/", {"a": "b"}, method="GET").status_code == 200


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_task_is_submitted_and_its_status_told(call, registered, secure):
    told = call("/submit-task/", TASK, secure=secure).json()
    task_id = told.pop("task_id")
    assert told == {"retrieval_protocol": "asstore", "stream": None, "success": True}
    channel = call("/submit-task", TASK, who="aschannel", secure=secure).json()
    assert (channel["retrieval_protocol"], bool(channel["stream"])) == ("aschannel", True)
    pending = {"status": "Pending", "result_retrieved": False, "success": False}
    ids = f"{task_id},{channel['task_id']}"
    for token in ("asstore", "aschannel"):
        told = call("/task-status/", {"task_ids": ids}, who=token, secure=secure).json()
        assert told == {task_id: pending, channel["task_id"]: pending, "success": True}
    told = call("/task-status/", {"task_ids": ids}, who="other", secure=secure).json()
    assert told[task_id] == {"success": False, "error": "No task with this ID was found."}


def test_ten_thousand_ids_are_answered(call, registered):
    own = call("/submit-task/", TASK).json()["task_id"]
    ids = [own, *(str(uuid7()) for _ in range(9_999))]
    for values in (ids, ",".join(ids), [",".join(ids[:5_000]), *ids[5_000:]]):
        answer = call("/task-status/", {"task_ids": values}, secure=True)
        assert answer.status_code == 200
        assert list(answer.json()) == [*ids, "success"]
    answer = call("/task-status/", {"task_ids": [*ids, str(uuid7())]})
    assert (answer.status_code, answer.json()["errors"]["task_ids"][0][1]) == (400, "limit_exceeded")


def test_an_account_is_registered_twice_only_after_it_was_deregistered(call, registered):
    form = {"service": "icloud", "username": "twice"}
    assert call("/register-account/", form).status_code == 200
    answer = call("/register-account/", form)
    assert (answer.status_code, answer.json()["errors"]["__all__"][0][1]) == (400, "unique_together")
    assert call("/deregister-account/", form).json() == {"success": True}
    answer = call("/submit-task/", TASK | {"account": "twice"})
    assert answer.json()["errors"] == {"account": [["[u'No such account']", "no_such_account"]]}
    assert call("/register-account/", form).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_json(call, path):
    method = PATHS[path]
    other = "POST" if method == "GET" else "GET"
    wanted = [
        (call(path, who="", method=method), 401),
        (call(path, who="", method=method, headers={"authorization": "Bearer x"}), 401),
        (call(path, method=other), 405),
        (call(path, method="DELETE"), 405),
        (call(f"{path}more", method=method), 404),
        (call(path, content=b"x" * 1_200_000, method=method, headers=FORM), 413),
        (call(path, content=b"x" * 100_000, method=method, headers=FORM, who=""), 401),
    ]
    if method == "POST":
        wanted += [
            (call(path, content=b"a=%ff", headers=FORM), 400),
            (call(path, content=b"{}", headers={"content-type": "application/json"}), 415),
            (call(path, content=b"", headers=FORM), 400),
        ]
    for answer, status in wanted:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.request
        told = answer.json()
        assert told["success"] is False
        [[[text, code], *_], *_] = told["errors"].values()
        assert text.startswith("[u")
        assert code
        assert told["error"]
    options = call(path, method="OPTIONS", who="")
    assert (options.status_code, options.content) == (204, b"")
    assert method in options.headers["allow"].split(", ")


def test_heads_have_no_bodies_and_the_connection_goes_on(call):
    for _ in range(2):
        answer = call("/account/", method="HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 100
        assert call("/submit-task/", method="HEAD").status_code == 405
        assert call("/account/").status_code == 200


@pytest.mark.parametrize("path", ["/", "/x", "/results", "/Account/", "/account/x", "/submit-task/1/"])
def test_unknown_paths_are_told_in_the_documented_shape(call, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        answer = call(path, method=method)
        assert answer.status_code == 404
        assert answer.json() == {
            "success": False, "error": "Not found.", "errors": {"__all__": [["[u'Not found.']", "not_found"]]},
        }  # fmt: skip
