"""A house for the doctor to visit."""

import os

import pytest

from server.identity.authority import Authority
from tests.cli.commands import Commands
from tests.doctor.visits import Doctor


@pytest.fixture
def taskhouse(data, capsys, monkeypatch) -> Commands:
    """Commands on a house on SQLite, with no settings from outside."""
    for name in [name for name in os.environ if name.startswith("TASKHOUSE_")]:
        monkeypatch.delenv(name)
    return Commands(data, capsys)


@pytest.fixture
def doctor(taskhouse) -> Doctor:
    """The doctor of a house that has been started before, with nothing wrong."""
    taskhouse.data.chmod(0o700)
    (taskhouse.data / "taskhouse.db").chmod(0o600)
    Authority.open(taskhouse.data).server_certificate()
    return Doctor(taskhouse)
