"""The sample for people who write workers, in the documented sequence of curl's calls."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.worker import sample
from tests.bench.house import COMMAND, House, running

ACCOUNT = "john.appleseed@example.com"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with the sample's catalogue, and a worker of the sample."""
    with running(tmp_path_factory.mktemp("sample") / "data") as house:
        house.run("catalogue", "apply", str(Path(sample.__file__).with_name("sample.yaml")))
        house.run("orgs", "create", "acme")
        command = [COMMAND, "work", "--module", "server.worker.sample:worker", "--data", house.data]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sys.stderr) as worker:
            yield house
            worker.terminate()


@pytest.fixture(scope="module")
def token(house: House) -> str:
    [made] = house.run("tokens", "create", "--org", "acme", "--api", "asapi", "--retrieval", "asstore")
    return str(made["token"])


def curl(house: House, token: str, path: str, *options: str) -> bytes:
    address = path if path.startswith("http") else f"http://127.0.0.1:{house.http[1]}{path}"
    command = ["curl", "-sS", "-H", f"Authorization: Token {token}", *options, address]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def form(**fields: str) -> list[str]:
    return [part for name, value in fields.items() for part in ("-d", f"{name}={value}")]


def fetched(house: House, token: str, **asked: str) -> bytes:
    """Submit a task, ask for its status until there is something to fetch, and fetch it."""
    task = json.loads(curl(house, token, "/submit-task/", *form(service="sample", account=ACCOUNT, **asked)))
    assert (task["success"], task["retrieval_protocol"]) == (True, "asstore")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = json.loads(curl(house, token, "/task-status/", *form(task_ids=task["task_id"])))
        if endpoint := answer[task["task_id"]].get("retrieval_endpoint"):
            return curl(house, token, endpoint)
        time.sleep(0.05)
    raise AssertionError(answer)


def test_the_sample_does_what_the_documented_calls_ask_for(house, token):
    discovered = json.loads(curl(house, token, "/account/"))
    assert [action["slug"] for action in discovered["services"][0]["actions"]] == ["list-messages", "download-file"]
    account = form(service="sample", username=ACCOUNT)
    assert json.loads(curl(house, token, "/register-account/", "-X", "POST", *account)) == {"success": True}
    messages = fetched(house, token, action="list-messages", device="phone", data="sms,photos", since="2026-01-31")
    told = [{"device": "phone", "since": "2026-01-31"}]
    assert json.loads(messages) == {"sms": told, "photos": told}
    file = fetched(house, token, action="download-file", file="movie", pieces="40")
    assert len(file) == 40 * sample.PIECE
    assert json.loads(curl(house, token, "/deregister-account/", "-X", "POST", *account)) == {"success": True}
