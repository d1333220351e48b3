"""`taskhouse work`."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from server.cli.serve import READY as SERVER_READY
from server.cli.work import READY, TOKEN_FILE

PATIENCE_SECONDS = 30
COMMAND = [sys.executable, "-m", "server.cli.main"]
ACTIONS = """
    from server.worker.kit import Result, Task, Worker

    worker = Worker(service="icloud")

    @worker.action("fetch-data")
    def fetch_data(task: Task) -> Result:
        return Result.histogram([("height", None, 5)])

    not_a_worker = 1
"""


@pytest.fixture
def start(data, tmp_path_factory):
    """Starts `taskhouse …` in a folder that has a module of actions, and returns it once it says that it is ready."""
    folder = tmp_path_factory.mktemp("actions")
    (folder / "deeds.py").write_text(textwrap.dedent(ACTIONS))
    environment = os.environ | {"TASKHOUSE_DATA": str(data), "PYTHONPATH": str(Path(__file__).parents[2])}
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str, ready: str | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        if ready is not None:
            assert process.stdout.readline().strip() == ready, process.stderr.read()
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    """Return the last line that a process says before it ends."""
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    return err.splitlines()[-1]


def test_a_worker_joins_the_house_in_its_folder_and_ends_when_it_is_told_to(start, data):
    start("serve", ready=SERVER_READY)
    worker = start("work", "--module", "deeds:worker", ready=READY)
    token = data / TOKEN_FILE
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text().strip()
    again = start("work", ready=READY)
    assert token.read_text().strip() == secret
    for number, process in ((signal.SIGTERM, worker), (signal.SIGINT, again)):
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
        assert secret not in err


def test_a_worker_waits_for_its_house(start):
    worker = start("work")
    start("serve", ready=SERVER_READY)
    assert worker.stdout.readline().strip() == READY


def test_a_worker_whose_token_is_revoked_says_what_to_do(start, data, taskhouse):
    start("serve", ready=SERVER_READY)
    worker = start("work", ready=READY)
    [token] = taskhouse("tokens", "list", "--json", "--house").items
    assert taskhouse("tokens", "revoke", token["id"]).code == 0
    assert "refuses this worker: its credential is unknown, revoked or expired" in told(worker)
    assert f"the token in {data / TOKEN_FILE} is revoked; remove the file" in told(start("work"))
    (data / TOKEN_FILE).unlink()
    start("work", ready=READY)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--module", "deeds"], "--module is PKG.MOD:WORKER"),
        (["--module", "none:worker"], "No module named 'none'"),
        (["--module", "deeds:none"], "has no attribute 'none'"),
        (["--module", "deeds:not_a_worker"], "that is of type int, not a Worker"),
        (["--server", "https://localhost:1"], "--server needs --key and --ca"),
        (["--server", "localhost:1", "--key", "k", "--ca", "c"], "--server is https://HOST:PORT"),
        (["--server", "https://localhost:1", "--key", "k", "--ca", "c"], "cannot read --ca c"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(start, arguments, line):
    assert line in told(start("work", *arguments))
