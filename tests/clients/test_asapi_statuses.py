"""Every documented status of asapi, reached by a real worker and told at the real edge; and how failures are told."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.house import COMMAND, House
from tests.clients.asapi import FAILURE, MIB, Client
from tests.clients.conftest import MAX_RESULT_MB

MODULE = f"""
import time
from pathlib import Path

from server.worker.kit import NonRetryable, Result, Worker

worker = Worker(service="slow")


def until_told(folder):
    while not (folder / "go").exists():
        time.sleep(0.01)


def pieces(folder):
    yield bytes(3 << 20)
    until_told(folder)
    yield b"end"


@worker.action("wait")
def wait(task):
    folder = Path(task.parameters["folder"])
    if folder.name == "waits":
        until_told(folder)
        yield Result.json("done")
    elif folder.name == "sends":
        yield Result.bytes(pieces(folder))
    elif folder.name == "published":
        yield Result.json("done")
        until_told(folder)
    elif folder.name == "swells":
        yield Result.bytes(bytes(1 << 20) for _ in range({MAX_RESULT_MB + 1}))
    elif folder.name == "hopeless":
        raise NonRetryable("there is no such device")
    else:
        raise RuntimeError(f"the device is off, attempt {{task.attempt}}")
"""
PENDING = {"status": "Pending", "result_retrieved": False, "success": False}


@pytest.fixture(scope="module")
def folder(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each house's own."""
    return tmp_path_factory.mktemp("statuses")


@pytest.fixture(scope="module", autouse=True)
def worker(house: House, folder: Path) -> Iterator[None]:
    (folder / "statuses_module.py").write_text(MODULE)
    command = [COMMAND, "work", "--module", "statuses_module:worker", "--data", house.data]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr) as running:
        yield
        running.terminate()


class Caller(Client):
    """A client that asks for what the worker above does."""

    retrieval = ""

    def ask(self, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return self.submit("", service="slow", action="wait", folder=str(folder))


@pytest.fixture(scope="module")
def callers(house: House) -> Iterator[dict[str, Caller]]:
    """Clients of both retrievals."""
    made = {retrieval: Caller.of(house, retrieval) for retrieval in ("asstore", "aschannel")}
    for retrieval, caller in made.items():
        caller.retrieval = retrieval
        for service in ("slow", "later"):
            caller.http.post("/register-account/", data={"service": service, "username": "jane"})
    yield made
    for caller in made.values():
        caller.http.close()


@pytest.fixture(scope="module")
def poison(callers: dict[str, Caller], folder: Path) -> str:
    """A task that fails whenever it is tried; its fifth attempt is a quarter of a minute after the first."""
    return callers["asstore"].ask(folder / "poison")


def entry(caller: Caller, task_id: str, text: str, *, retrieved: bool = False, error: bool = False) -> dict:
    """Return what is told of a published task."""
    told = {
        "status": text,
        "retrieval_protocol": caller.retrieval,
        "result_retrieved": retrieved,
        "success": not error,
    }
    if error:
        told["error"] = FAILURE["error"]
    if caller.retrieval == "asstore":
        told["retrieval_endpoint"] = f"{caller.url}/fetch/{task_id}/"
    return told


@pytest.mark.parametrize("retrieval", ["asstore", "aschannel"])
def test_every_status_is_told(poison, callers, folder, retrieval):
    caller, own = callers[retrieval], folder / retrieval
    assert caller.status(caller.submit("", service="later", action="never")) == PENDING
    waits, sends, published = (caller.ask(own / kind) for kind in ("waits", "sends", "published"))
    for task_id, text in ((waits, "In progress"), (sends, "Work complete")):
        assert caller.wait_for(task_id, status=text) == PENDING | {"status": text}
    ongoing = "Publish ongoing, with result available"
    assert caller.wait_for(published, status=ongoing) == entry(caller, published, ongoing)
    if caller.retrieval == "asstore":
        assert caller.http.get(f"/fetch/{published}/").json() == "done"
        assert caller.status(published) == entry(caller, published, ongoing, retrieved=True)
    for kind in ("waits", "sends", "published"):
        (own / kind / "go").touch()
    complete = "Publish complete"
    assert caller.wait_for(waits, status=complete) == entry(caller, waits, complete)
    assert caller.wait_for(sends, status=complete) == entry(caller, sends, complete)
    caller.wait_for(published, status=complete, result_retrieved=retrieval == "asstore")


def test_a_result_that_is_too_large_is_told_as_not_published(callers, folder, client):
    caller = callers["asstore"]
    swells = caller.ask(folder / "swells")
    text = "Publish failed"
    assert caller.wait_for(swells, status=text) == entry(caller, swells, text, error=True)
    assert caller.http.get(f"/fetch/{swells}/").json() == FAILURE
    assert caller.status(swells) == entry(caller, swells, text, error=True, retrieved=True)
    told = client("task_runner").get(f"/v1/tasks/{swells}").json()
    assert (told["state"], told["failure_count"]) == ("TASK_STATE_FAILED", 1)
    assert told["error"]["message"] == f"The result is larger than the {MAX_RESULT_MB * MIB} bytes that it may have."


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_that_a_task_ended_badly_goes_out_as_its_frame(house, callers, folder, client, ended):
    del callers  # They have registered the account.
    caller = Caller.of(house, "aschannel")  # What others did not hear to its end is sent again to who listens next.
    caller.retrieval = "aschannel"
    reader = caller.listen()
    if ended == "failed":
        task_id, action = caller.ask(folder / "hopeless"), "wait"
    else:
        task_id, action = caller.submit("", service="later", action="never"), "never"
        client("task_runner").post(f"/v1/tasks/{task_id}:cancel").raise_for_status()
    [frame] = reader.frames(1)
    assert frame.header == {"type": action, "task_id": task_id}
    assert frame.payload == b'{"success": false, "error": "Task did not complete successfully."}'
    assert caller.status(task_id) == entry(caller, task_id, FAILURE["error"], error=True)
    reader.leave()
    caller.http.close()


def test_a_task_that_fails_whenever_it_is_tried_is_told_with_its_last_error(poison, callers, client):
    caller = callers["asstore"]
    told = caller.wait_for(poison, pause=0.2, status=FAILURE["error"])
    assert told == entry(caller, poison, FAILURE["error"], error=True)
    task = client("task_runner").get(f"/v1/tasks/{poison}").json()
    assert (task["state"], task["attempt"], task["failure_count"]) == ("TASK_STATE_FAILED", 5, 5)
    last = "RuntimeError: the device is off, attempt 5"
    assert (task["error"]["message"], task["last_error"], task["result_count"]) == (last, last, 0)
    answer = caller.http.get(f"/fetch/{poison}/")
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", FAILURE)
    assert caller.http.get(f"/fetch/{poison}/").status_code == 404
