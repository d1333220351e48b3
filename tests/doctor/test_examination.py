"""The doctor's examination as a whole."""

import json
import os
import subprocess
import time
from pathlib import Path

from server.cli.main import run
from server.journal import Journal
from tests.bench.house import COMMAND, free_port, running

SECRET = "very-secret-indeed"


def test_a_house_with_nothing_wrong_is_told_line_by_line(doctor):
    _, findings, _ = doctor.says()
    assert not any(one["wrong"] for one in findings)
    assert {one["check"] for one in findings} == {
        *("house", "files", "disk", "versions", "ports", "certificates", "schema", "clock", "workers"),
        *("retention", "restarts"),
    }


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(doctor, tmp_path):
    doctor.data = tmp_path / "nowhere"
    assert "`taskhouse up` makes it" in doctor.well()
    assert not doctor.data.exists()


def test_json_has_one_object_a_finding(doctor, capsys):
    doctor.data.chmod(0o755)
    assert run(["doctor", "--data", str(doctor.data), *doctor.listeners, "--json"]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if '"wrong": true' in line]
    assert len(found) == 1
    assert set(json.loads(found[0])) == {"wrong", "check", "what", "why", "remedy"}


def test_it_changes_nothing(doctor):
    def seen() -> dict[str, tuple[int, int]]:
        kept = [path for path in doctor.data.iterdir() if path.name not in ("clock", "taskhouse.db-shm")]
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in kept}

    doctor.well()  # Which may make files that every reader of the database makes.
    before = seen()
    doctor.well()
    assert seen() == before


def test_no_secret_is_told(doctor, taskhouse, monkeypatch):
    taskhouse("orgs", "create", "acme")
    taskhouse("tokens", "create", "--org", "acme", "--api", "grpc", "--access", "write", "--token", SECRET)
    _, _, text = doctor.says()
    monkeypatch.setenv("TASKHOUSE_DATABASE", f"postgresql://user:{SECRET}@127.0.0.1:{free_port()}/none")
    _, _, more = doctor.says()
    assert SECRET not in text + more
    assert "127.0.0.1" in more


def test_a_house_that_runs_is_well_and_its_restarts_are_seen(tmp_path):
    data = tmp_path / "data"
    with running(data) as house:
        assert _outside(data) == 0
        os.kill(house.processes()["worker"][0], 9)
        end = time.monotonic() + 30
        while [entry.event for entry in Journal(data).entries()] != ["started", "died", "back"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        (data / "ca.key").chmod(0o644)
        assert _outside(data) == 1


def _outside(data: Path) -> int:
    done = subprocess.run([COMMAND, "doctor", "--data", data], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode
