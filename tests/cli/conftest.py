"""What tests of the commands share."""

from pathlib import Path

import pytest

from tests.cli.commands import Commands


@pytest.fixture
def engine() -> str:
    """SQLite, but for tests that are marked with BOTH: most commands know nothing of engines."""
    return "sqlite"


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
