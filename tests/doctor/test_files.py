"""The data folder, as the doctor sees it."""

import fcntl
import os
import re
import subprocess

import pytest

from server.doctor import files
from tests.databases import Postgres


@pytest.mark.parametrize("name", ["", "ca.key", "edge.key", "taskhouse.db", "worker.token"])
@pytest.mark.parametrize("bits", [0o040, 0o004])
def test_a_folder_or_key_that_others_may_read_is_told_with_the_command_that_mends_it(doctor, name, bits):
    path = doctor.data / name if name else doctor.data
    if not path.exists():
        path.touch(mode=0o600)
    path.chmod(path.stat().st_mode & 0o777 | bits)
    line = doctor.wrong("files")
    assert f"{path} is open to other users" in line
    command = re.search(r"Remedy: `(.*)`", line)[1]
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - that is what it is for.
    doctor.well()


def test_a_settings_file_matters_only_if_it_may_hold_a_password(doctor, postgres: Postgres):
    config = doctor.data / "config.toml"
    config.write_text("processes = 2\n")
    config.chmod(0o644)
    doctor.well()
    config.write_text(f'database = "{postgres.wiped().url}"\n')
    assert f"{config} is open to other users" in doctor.wrong("files")


def test_files_of_another_user_are_told_and_the_database_is_left_alone(doctor, monkeypatch):
    monkeypatch.setattr(files.os, "geteuid", lambda: 12345)  # Only root could give files away.
    line = doctor.wrong("files")
    assert f"{doctor.data} belongs to" in line
    assert "not to 12345" in line
    assert "chown" in line
    _, findings, _ = doctor.says()
    assert "schema" not in {one["check"] for one in findings}


@pytest.mark.parametrize(
    ("free", "files_left", "told"), [(100, 10**6, "only 0.1 GiB"), (10**9, 10, "only 10 more files")]
)
def test_a_disk_that_is_nearly_full_is_told(doctor, monkeypatch, free, files_left, told):
    full = os.statvfs_result((2**20, 2**20, 1000, free, free, 10**6, files_left, files_left, 0, 255))
    monkeypatch.setattr(files.os, "statvfs", lambda path: full)
    assert told in doctor.wrong("disk")


def test_sockets_of_dead_servers_are_told_and_those_of_live_ones_are_not(doctor):
    run_ = doctor.data / "run"
    run_.mkdir(mode=0o700)
    for number in (0, 1):
        (run_ / f"server-{number}.sock").touch()
        (run_ / f"server-{number}.sock.lock").touch()
    with (run_ / "server-1.sock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = doctor.wrong("sockets")
    assert "server-0.sock in" in line
    assert "server-1.sock" not in line
