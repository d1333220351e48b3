"""Programs, restarts and the environment, as the doctor sees them."""

import fcntl
import time

from server import edge, journal
from server.journal import Journal


def test_an_unknown_name_in_the_settings_file_is_told(doctor):
    (doctor.data / "config.toml").write_text("procesess = 2\nhttp = 'nowhere'\n")
    code, findings, text = doctor.says("--http", "127.0.0.1:1")
    assert code == 1
    assert "procesess: is no setting" in text
    assert all(one["check"] == "settings" for one in findings)


def test_an_unknown_name_in_the_environment_is_told(doctor, monkeypatch):
    monkeypatch.setenv("TASKHOUSE_PROCESESS", "2")
    monkeypatch.setenv("TASKHOUSE_PROCESSES", "2")
    line = doctor.wrong("settings")
    assert "TASKHOUSE_PROCESESS in the environment is no setting" in line
    assert "`unset TASKHOUSE_PROCESESS`; did you mean TASKHOUSE_PROCESSES?" in line
    monkeypatch.delenv("TASKHOUSE_PROCESESS")
    monkeypatch.setenv("TASKHOUSE_XYZ", "2")
    assert "`unset TASKHOUSE_XYZ`, and see the README" in doctor.wrong("settings")


def test_an_envoy_that_is_too_old_is_told(doctor, monkeypatch):
    monkeypatch.setattr(edge, "LEAST_VERSION", (99, 0, 0))
    line = doctor.wrong("versions")
    assert "too old" in line
    assert "pip install" in line


def test_a_part_that_died_is_told_and_often_or_still_dead_it_is_wrong(doctor, monkeypatch):
    kept, true_time = Journal(doctor.data), time.time
    monkeypatch.setattr(journal.time, "time", lambda: true_time() - 90_000)
    kept.note("worker", "died", "long ago")
    monkeypatch.setattr(journal.time, "time", true_time)
    assert "no part of the house has died within a day" in doctor.well()
    kept.note("server 0", "died", "was killed by SIGKILL")
    kept.note("server 0", "back")
    assert "server 0 died 1 time within a day" in doctor.well()
    for _ in range(2):
        kept.note("server 0", "died", "was killed by SIGKILL")
    assert "server 0 died 3 times within a day" in doctor.wrong("restarts")
    kept.note("", "started", "")
    with (doctor.data / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept.note("envoy", "died", "was killed by SIGKILL")
        _, findings, _ = doctor.says()
    assert any(
        "envoy died 1 time" in str(one["line"]) and "does not answer now" in str(one["line"]) for one in findings
    )
