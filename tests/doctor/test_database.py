"""The database and the work in it, as the doctor sees them."""

import fcntl
import time

import pytest

from server.doctor import database as doctor_database
from server.doctor import postgresql
from server.store.address import PostgresAddress
from server.store.postgres import CONNECTIONS
from tests.bench.house import free_port
from tests.databases import Postgres
from tests.doctor.visits import add_task, execute, now


def test_an_sqlite_that_is_too_old_is_told(doctor, monkeypatch):
    monkeypatch.setattr(doctor_database, "FLOOR", (99, 0, 0))
    assert "at least 99.0.0 is needed" in doctor.wrong("versions")


def test_a_postgresql_that_is_too_old_is_told(doctor, postgres: Postgres, monkeypatch):
    monkeypatch.setattr(postgresql, "FLOOR", 99)
    line = doctor.wrong("versions", "--database", postgres.wiped().url)
    assert "at least 99 is needed" in line


def test_a_postgresql_with_too_few_connections_for_its_servers_is_told(doctor, postgres: Postgres, monkeypatch):
    monkeypatch.setenv("TASKHOUSE_PROCESSES", "60")
    line = doctor.wrong("connections", "--database", postgres.wiped().url)
    assert f"each server process may open {CONNECTIONS}" in line
    assert "max_connections" in line


def test_a_database_across_a_network_that_is_not_sure_of_its_server_is_told():
    [finding] = postgresql._transport(PostgresAddress.parse("postgresql://u:secret@db.example/taskhouse"))
    assert "sslmode=verify-full" in finding.remedy
    assert "secret" not in finding.what
    assert not list(postgresql._transport(PostgresAddress.parse("postgresql://u@127.0.0.1/taskhouse")))


@pytest.mark.parametrize(("revision", "told"), [("0001", "taskhouse db upgrade"), ("9999", "newer taskhouse")])
def test_a_stale_or_a_newer_schema_is_told(doctor, revision, told):
    execute(doctor.data, "UPDATE alembic_version SET version_num = ?", revision)
    assert told in doctor.wrong("schema")


def test_a_file_that_is_no_database_is_told(doctor):
    (doctor.data / "taskhouse.db").write_bytes(b"not a database, but long enough to look at" * 50)
    assert "cannot read the database" in doctor.wrong("database")


def test_a_database_server_that_does_not_answer_is_told(doctor):
    line = doctor.wrong("database", "--database", f"postgresql://u@127.0.0.1:{free_port()}/none")
    assert "postgresql://u@127.0.0.1" in line


def test_a_good_postgresql_house_is_well(doctor, postgres: Postgres):
    address: PostgresAddress = postgres.wiped()
    text = doctor.well("--database", address.url)
    assert "PostgreSQL 1" in text
    assert "retention" in text


def test_keys_and_tokens_that_end_within_a_month_are_told(doctor, taskhouse, tmp_path):
    taskhouse("orgs", "create", "acme")
    out = tmp_path / "keys" / "k.pem"
    out.parent.mkdir()
    issue = ("keys", "issue", "--org", "acme", "--kind", "web_api", "--out")
    assert taskhouse(*issue, str(out), "--expires", "31d").code == 0
    doctor.well()
    assert taskhouse(*issue, str(out.with_name("l.pem")), "--expires", "29d", "--name", "report").code == 0
    line = doctor.wrong("credentials")
    assert "web_api report of acme ends at" in line
    assert "`taskhouse keys issue --org acme --kind web_api --out FILE`" in line
    execute(doctor.data, "UPDATE credentials SET revoke_time = 1 WHERE display_name = 'report'")
    doctor.well()
    made = taskhouse("tokens", "create", "--house", "--api", "grpc", "--access", "write", "--expires", "1h")
    assert made.code == 0
    assert "taskhouse tokens create --house" in doctor.wrong("credentials")


def test_of_very_many_only_some_are_told(doctor, taskhouse):
    for _ in range(7):
        taskhouse("tokens", "create", "--house", "--api", "grpc", "--access", "write", "--expires", "1h")
    _, findings, _ = doctor.says()
    lines = [str(one["line"]) for one in findings if one["check"] == "credentials"]
    assert len(lines) == 6
    assert "more credentials end" in lines[-1]


def test_tasks_from_the_future_are_told(doctor, taskhouse):
    taskhouse("orgs", "create", "acme")
    add_task(doctor.data, create_time=now() + 3600 * 10**6, ready_time=now() + 3600 * 10**6)
    assert "which is in the future" in doctor.wrong("clock")


def test_a_clock_that_differs_from_the_database_s_is_told(doctor, monkeypatch):
    ahead = time.time() + 60
    monkeypatch.setattr(doctor_database.time, "time", lambda: ahead)
    monkeypatch.setattr(doctor_database, "CLOCK_SECONDS", 5.0)
    assert "s ahead of the database's" in doctor.wrong("clock")


def test_tasks_that_nobody_does_are_told(doctor, taskhouse):
    taskhouse("orgs", "create", "acme")
    add_task(doctor.data, "young")
    doctor.well()
    add_task(doctor.data, "old", ready_time=now() - 7200 * 10**6)
    assert "1 task of shop/report could be leased, the oldest for 2:00:0" in doctor.wrong("tasks")


def test_tasks_that_fail_again_and_again_are_told(doctor, taskhouse):
    taskhouse("orgs", "create", "acme")
    add_task(doctor.data, "bad", failures=4, error="no\nroom", ready_time=now() + 10**9)
    assert "task bad of shop/report has failed 4 times: no room" in doctor.wrong("tasks")


def test_an_action_whose_tasks_mostly_fail_is_told(doctor, taskhouse):
    taskhouse("orgs", "create", "acme")
    for number, state in enumerate(["FAILED", "SUCCEEDED", "SUCCEEDED"]):
        add_task(doctor.data, f"t{number}", state=state, end_time=now())
    doctor.well()
    for number in range(3, 6):
        add_task(doctor.data, f"t{number}", state="FAILED", end_time=now())
    assert "4 of the last 6 tasks of shop/report failed" in doctor.wrong("tasks")


def test_what_is_kept_and_what_is_due_is_told(doctor, taskhouse):
    taskhouse("orgs", "create", "acme")
    add_task(doctor.data, state="SUCCEEDED", end_time=now() - 3 * 86_400 * 10**6)
    (doctor.data / "config.toml").write_text("results_days = 1.5\ntasks_days = 2\n")
    text = doctor.well()
    assert "results are kept 1.5 days after their end, tasks 2 days after their end, " in text
    assert "lines of parts.log 30 days; never swept so far" in text
    assert "0 results and 1 tasks are due" in text


def test_a_house_that_runs_and_does_not_sweep_is_told(doctor):
    execute(doctor.data, "UPDATE retention SET due_time = ?", now() - 3600 * 10**6)
    doctor.well()
    with (doctor.data / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a sweep is late by 1:00:0" in doctor.wrong("retention")
        execute(doctor.data, "UPDATE retention SET due_time = ?", now() + 120 * 10**6)
        assert "by a clock that was ahead" in doctor.wrong("retention")
