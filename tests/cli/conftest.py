"""What tests of the commands share."""

import json
from pathlib import Path

import pytest

from server.store.address import DatabaseAddress
from tests.cli.commands import Commands


@pytest.fixture
def engine() -> str:
    """SQLite, but for tests that are marked with BOTH: most commands know nothing of engines."""
    return "sqlite"


@pytest.fixture
def founded(engine, tmp_path, request) -> tuple[Path, DatabaseAddress]:
    """A data folder for a house that was never started, and the address of its database."""
    data = tmp_path / "data"
    if engine == "sqlite":
        return data, data / "taskhouse.db"
    address = request.getfixturevalue("postgres").fresh()
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(f"database = {json.dumps(address.url)}\n")
    return data, address


@pytest.fixture
def taskhouse(address, data, capsys, monkeypatch) -> Commands:
    """Commands on a house whose database is there, on either engine, and with no other settings from outside."""
    monkeypatch.delenv("TASKHOUSE_DATA", raising=False)
    monkeypatch.setenv("TASKHOUSE_DATABASE", "" if isinstance(address, Path) else address.url)
    return Commands(data, capsys)


@pytest.fixture
def acme(taskhouse) -> Commands:
    """The same, with an organization."""
    assert taskhouse("orgs", "create", "acme").code == 0
    return taskhouse
