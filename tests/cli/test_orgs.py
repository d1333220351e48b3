"""`taskhouse orgs`, and what all commands share."""

import io
import os
import subprocess
import sys

import pytest
from pysqlite3 import dbapi2 as sqlite

from server.cli import main
from server.core import organizations
from server.store import migrate
from tests.cli.commands import BOTH


def test_a_created_organization_is_listed(taskhouse):
    [created] = taskhouse.json("orgs", "create", "b")
    assert set(created) == {"name", "create_time", "sharing", "workflow", "reason_mode", "token"}
    assert (created["sharing"], created["workflow"]) == (False, False)
    assert created["reason_mode"] == "REASON_MODE_OPTIONAL"
    taskhouse("orgs", "create", "a")
    assert [each["name"] for each in taskhouse.json("orgs", "list")] == ["a", "b"]


def test_people_get_an_aligned_table(acme):
    title, row = acme("orgs", "list").out.splitlines()
    assert title.split() == ["NAME", "CREATED", "SHARING", "WORKFLOW", "REASON"]
    assert row.startswith("acme  20")
    assert row[title.index("SHARING") :].split() == ["off", "off", "optional"]


def test_an_organization_comes_with_a_token_that_is_shown_once_and_may_be_chosen(taskhouse):
    name, token = (line.split(maxsplit=1) for line in taskhouse("orgs", "create", "a").out.splitlines())
    assert (name, token[0], len(token[1])) == (["Name", "a"], "Token", 86)
    assert token[1] not in taskhouse("tokens", "list").out
    chosen = "oypvIaGU7uvuJbR4wgYrB7ef1HeXc9sh5g-zrH9WjmHbWHDk3L36lycYEgJevQ9wo-Wv_5PvxNlbIgZTBXVaMw"
    assert taskhouse.json("orgs", "create", "b", "--token", chosen)[0]["token"] == chosen
    assert "This token is in use already" in taskhouse("orgs", "create", "c", "--token", chosen).told
    assert "--token: must be 16 to 256" in taskhouse("orgs", "create", "c", "--token", "short").told
    assert [each["name"] for each in taskhouse.json("orgs", "list")] == ["a", "b"]


def stdin(line):
    return io.TextIOWrapper(io.BytesIO(line.encode()))


@pytest.mark.parametrize(
    "line", ["a-token-that-nobody-saw\n", "a-token-that-nobody-saw\r\nmore", "a-token-that-nobody-saw"]
)
def test_a_chosen_token_may_come_on_standard_input(taskhouse, monkeypatch, line):
    monkeypatch.setattr("sys.stdin", stdin(line))
    assert taskhouse.json("orgs", "create", "a", "--token", "-")[0]["token"] == "a-token-that-nobody-saw"
    monkeypatch.setattr("sys.stdin", stdin(line))
    asked = ("tokens", "create", "--org", "a", "--api", "monarc", "--token", "-")
    assert "This token is in use already" in taskhouse(*asked).told
    assert "--token: must be 16 to 256" in taskhouse(*asked).told


def test_an_organization_shares_and_stops_sharing(acme):
    for said, shares in (("on", True), ("on", True), ("off", False)):
        [changed] = acme.json("orgs", "set", "acme", "--sharing", said)
        assert changed["sharing"] is shares
        assert [each["sharing"] for each in acme.json("orgs", "list")] == [shares]
    assert "There is no organization nope" in acme("orgs", "set", "nope", "--sharing", "on").told
    assert "give what is to be set" in acme("orgs", "set", "acme").told


def test_an_organization_says_how_its_rules_are_reviewed(acme):
    [changed] = acme.json("orgs", "set", "acme", "--workflow", "on", "--reason", "mandatory")
    assert (changed["workflow"], changed["reason_mode"]) == (True, "REASON_MODE_MANDATORY")
    [changed] = acme.json("orgs", "set", "acme", "--reason", "disabled")
    assert (changed["workflow"], changed["reason_mode"]) == (True, "REASON_MODE_DISABLED")
    assert acme.json("orgs", "list") == [changed]
    assert acme("orgs", "list").out.splitlines()[1].split()[-3:] == ["off", "on", "disabled"]
    assert "'sometimes' is not one of" in acme("orgs", "set", "acme", "--reason", "sometimes").told


def test_the_first_command_of_a_house_makes_it_for_its_owner_alone(taskhouse, tmp_path):
    data = tmp_path / "new" / "house"
    done = taskhouse("orgs", "create", "acme", data=data)
    assert done.code == 0
    assert data.stat().st_mode & 0o777 == 0o700
    migrate.check(data / "taskhouse.db")


@BOTH
async def test_commands_work_while_the_house_runs(store, taskhouse):
    await store.write(organizations.create, name="before")
    command = [sys.executable, "-m", "server.cli.main", "orgs", "create", "during", "--data", str(taskhouse.data)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else happens meanwhile.
    page = await store.read(organizations.page, caller=_operator(), page_size=0, page_token="")
    assert [each.name for each in page.items] == ["before", "during"]


def _operator():
    from server.cli.house import COMMAND_LINE

    return COMMAND_LINE


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("orgs", "create", "acme"), 1, "There is an organization acme already; choose another name"),
        (("orgs", "create", "a/b"), 1, 'NAME: must be 1 to 100 characters, no control characters and no "/"'),
        (("orgs", "create", "a\udcff"), 1, 'NAME: must be 1 to 100 characters, no control characters and no "/"'),
        (("orgs", "create"), 2, "Missing argument 'NAME'."),
        (("orgs", "list", "--nope"), 2, "No such option"),
        (("nope",), 2, "No such command 'nope'."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(acme, arguments, code, told):
    done = acme(*arguments)
    assert done.code == code
    assert told in done.told


def test_a_database_of_a_newer_version_is_told_and_left_alone(acme):
    with sqlite.connect(str(acme.data / "taskhouse.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (acme.data / "taskhouse.db").read_bytes()
    done = acme("orgs", "list")
    assert done.code == 1
    assert "is of a newer taskhouse (schema 9999" in done.told
    assert (acme.data / "taskhouse.db").read_bytes() == before


def test_a_file_that_is_no_database_is_told(taskhouse, tmp_path):
    data = tmp_path / "other"
    data.mkdir()
    (data / "taskhouse.db").write_text("this is not a database, and long enough to be taken for one " * 10)
    assert "cannot read the database" in taskhouse("orgs", "list", data=data).told


def test_a_database_that_cannot_be_opened_or_migrated_is_told(taskhouse, tmp_path):
    (tmp_path / "folder" / "taskhouse.db").mkdir(parents=True)
    assert "cannot read the database" in taskhouse("orgs", "list", data=tmp_path / "folder").told
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    connection = sqlite.connect(str(foreign / "taskhouse.db"))
    connection.execute("CREATE TABLE organizations (something)")
    connection.close()
    assert "cannot migrate the database" in taskhouse("orgs", "list", data=foreign).told


def test_a_folder_that_cannot_be_made_is_told(taskhouse, tmp_path):
    (tmp_path / "file").write_text("")
    told = taskhouse("orgs", "list", data=tmp_path / "file" / "house").told
    assert "cannot make the data folder" in told
    assert "--data" in told


def test_settings_that_are_wrong_are_told(taskhouse):
    (taskhouse.data / "config.toml").write_text('processes = "many"\nnope = 1\n')
    done = taskhouse("orgs", "list")
    assert done.code == 1
    assert "processes" in done.told
    assert "nope" in done.told
    assert "there is no settings file" in taskhouse("orgs", "list", "--config", "/nowhere.toml").told


def test_the_folder_comes_from_the_environment_too(acme, monkeypatch, capsys):
    monkeypatch.setenv("TASKHOUSE_DATA", str(acme.data))
    assert main.run(["orgs", "list"]) == 0
    assert "acme" in capsys.readouterr().out


def test_help_lists_every_command_without_importing_any():
    script = (
        "import sys; from server.cli.main import run; code = run(['--help']);"
        "assert not {'sqlalchemy', 'grpc', 'pydantic', 'cryptography'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in main.COMMANDS)


def test_a_reader_that_goes_away_is_no_error(acme):
    command = [sys.executable, "-m", "server.cli.main", "orgs", "list", "--data", str(acme.data)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""


def test_the_database_is_created_and_checked_on_its_own(taskhouse, tmp_path):
    data = tmp_path / "new"
    assert f"run `taskhouse db upgrade --data {data}`" in taskhouse("db", "check", data=data).told
    assert taskhouse("db", "upgrade", data=data).code == 0
    done = taskhouse("db", "check", "--json", data=data)
    assert done.items == [{"database": str(data / "taskhouse.db"), "schema": migrate.REVISION}]
