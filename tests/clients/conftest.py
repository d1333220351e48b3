"""A real house, as `taskhouse up` runs it, and clients with the credentials that its users have."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import declared
from tests.bench.house import COMMAND, House, running

MAX_RESULT_MB = 51
DATASETS = """\
datasets:
  - name: heights
    columns:
      - {name: height, type: float, nullable: false}
      - {name: sex, type: text, nullable: true}
"""
PUBLISHER = """
from server.worker.kit import Result, Worker

worker = Worker(service="test")


@worker.action("publish")
def publish(task):
    for number in range(int(task.parameters["times"])):
        yield Result.histogram([("height", str(number), 5)], [])
"""


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of two server processes with the organizations `acme` and `other`, each with the dataset `heights`."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "data").mkdir(mode=0o700)
    settings: dict[str, object] = {"max_result_mb": MAX_RESULT_MB}
    if request.param == "postgresql":
        settings["database"] = request.getfixturevalue("postgres").fresh().url
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (folder / "data" / "config.toml").write_text("".join(lines))
    with running(folder / "data", "--processes", "2") as started:
        started.run("catalogue", "apply", declared.write(folder))
        (folder / "datasets.yaml").write_text(DATASETS)
        for organization in ("acme", "other"):
            started.run("orgs", "create", organization)
            started.run("datasets", "apply", str(folder / "datasets.yaml"), "--org", organization)
        yield started


@pytest.fixture(scope="session")
def key(house: House) -> Callable[..., Path]:
    """Return the PEM file of an organization's key of a kind; the same one every time unless `fresh`."""
    made: dict[tuple[str, str, str], Path] = {}

    def issue(kind: str, org: str = "acme", *, user: str = "", fresh: bool = False) -> Path:
        known = (kind, org, user)
        if known not in made or fresh:
            path = house.data / f"{org}-{kind}-{user}-{len(made)}-{time.time_ns()}.pem"
            house.run(
                "keys", "issue", "--org", org, "--kind", kind, "--out", str(path), *(["--user", user] if user else [])
            )
            if fresh:
                return path
            made[known] = path
        return made[known]

    return issue


@pytest.fixture(scope="session")
def client(house: House, key: Callable[..., Path]) -> Iterator[Callable[..., httpx.Client]]:
    """Return an HTTP client that presents a key (or none) to the TLS listener."""
    opened: list[httpx.Client] = []

    def make(
        kind: str | None = None, org: str = "acme", *, http2: bool = False, pem: Path | None = None, user: str = ""
    ) -> Any:
        pem = pem or (key(kind, org, user=user) if kind else None)
        made = httpx.Client(
            base_url=f"https://localhost:{house.https[1]}", verify=house.context(pem), http2=http2, timeout=30
        )
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()


def wait_for_end(runner: httpx.Client, task_id: str) -> dict[str, Any]:
    """Return the task once it is over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        task = runner.get(f"/v1/tasks/{task_id}").raise_for_status().json()
        if task["state"] not in ("TASK_STATE_PENDING", "TASK_STATE_RUNNING"):
            return task
        time.sleep(0.02)
    raise AssertionError(f"the task is not over: {task}")


@pytest.fixture(scope="session")
def published(house: House, client: Callable[..., httpx.Client], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task of `acme` for which a worker with a module of its own has published 30 histograms."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "publisher.py").write_text(PUBLISHER)
    worker = subprocess.Popen(
        [COMMAND, "work", "--module", "publisher:worker", "--data", house.data],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip
    try:
        runner = client("task_runner")
        asked = {"service": "test", "action": "publish", "parameters": {"times": "30"}}
        task = runner.post("/v1/tasks", json=asked).raise_for_status().json()
        assert wait_for_end(runner, task["id"])["state"] == "TASK_STATE_SUCCEEDED"
        return task["id"]
    finally:
        worker.terminate()
        worker.wait()
