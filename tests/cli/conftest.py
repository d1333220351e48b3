"""What tests of the commands share."""

import pytest

from tests.cli.commands import Commands


@pytest.fixture
def taskhouse(data, capsys, monkeypatch) -> Commands:
    """Commands on a house whose database is there, and with no settings from outside."""
    monkeypatch.delenv("TASKHOUSE_DATA", raising=False)
    return Commands(data, capsys)


@pytest.fixture
def acme(taskhouse) -> Commands:
    """The same, with an organization."""
    assert taskhouse("orgs", "create", "acme").code == 0
    return taskhouse
