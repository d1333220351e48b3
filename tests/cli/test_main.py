"""What every command tells when it cannot do its work."""

import os
import subprocess
import sys

import pytest

from server.cli.house import remedy
from server.store.engine import StoreUnavailable

ROOM = "its disk has room"


def test_a_file_that_is_no_database_is_told_with_a_remedy_that_fits(taskhouse, data):
    (data / "taskhouse.db").write_bytes(b"not a database, but long enough to look at" * 50)
    told = taskhouse("orgs", "list").told
    assert "file is not a database; give another folder with --data" in told
    assert ROOM not in told


def test_a_folder_that_cannot_be_written_is_told_as_such():
    failure = StoreUnavailable("cannot write in data")
    failure.__cause__ = PermissionError(13, "Permission denied")
    assert ROOM in remedy(failure)


def test_what_nobody_knows_a_remedy_for_is_told_without_one():
    assert remedy(StoreUnavailable("the store is closed")) == "the store is closed"


def test_a_schema_that_is_not_there_is_told_with_the_command_that_makes_it(taskhouse, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert taskhouse("db", "check", data=folder).told.endswith(f"run `taskhouse db upgrade --data {folder}`")


@pytest.mark.parametrize("command", [["edge"], ["edge", "--validate"], ["work"]])
def test_a_folder_without_a_house_is_told_and_stays_as_it_is(taskhouse, tmp_path, command):
    folder = tmp_path / "empty"
    folder.mkdir()
    told = taskhouse(*command, data=folder).told
    assert told == f"no house in {folder}: start one with `taskhouse up --data {folder}`, or give another --data"
    assert list(folder.iterdir()) == []


def test_a_worker_s_key_without_a_server_is_refused(taskhouse, tmp_path):
    assert taskhouse("work", "--key", "k.pem").code == 2
    assert "--key and --ca go with --server" in taskhouse("work", "--ca", "ca.pem").told


def test_nobody_reading_standard_error_is_no_failure_of_its_own(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "server.cli.main", "edge", "--nonsense"], stderr=writing, check=False)
    os.close(writing)
    assert done.returncode == 2  # As for any wrong usage; a traceback's would be 1.
