"""`taskhouse db`, and where a database is."""

import os
import subprocess
import sys

import pytest

from server.store import migrate
from tests.cli.commands import BOTH

URL = "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters of the password as %XX"


@BOTH
def test_a_database_at_this_version_s_schema_is_told(taskhouse, address):
    assert taskhouse.json("db", "check") == [{"database": str(address), "schema": migrate.REVISION}]
    assert taskhouse.json("db", "upgrade") == [{"database": str(address), "schema": migrate.REVISION}]


def test_a_new_database_server_s_database_is_made_ready_by_one_command(taskhouse, postgres):
    address = postgres.fresh()
    where = ("--database", address.url)
    told = taskhouse("db", "check", *where).told
    assert told.startswith(f"the database {address} is not at schema {migrate.REVISION}: run `taskhouse db upgrade`")
    assert taskhouse("db", "upgrade", *where).code == 0
    assert taskhouse("db", "check", *where).code == 0


@pytest.mark.parametrize(
    "url",
    ["mysql://u:secret@h/db", "postgresql://h", "postgresql://u:sec/ret@h/db", "postgresql://u:secret@h:x/db",
     "postgresql://u:secret@h/db#x", "postgresql://u:secret@h/a/b", "postgresql://[u:secret@h/db", "secret",
     "postgresql://u:secret@h/\ndb", "postgresql://u:secret@..x/db", f"postgresql://u:secret@{'h' * 70}/db"],
)  # fmt: skip
def test_a_url_that_is_none_is_told_without_any_of_it(taskhouse, url):
    assert taskhouse("db", "check", "--database", url).told == f"database: {URL}"


def test_a_database_that_cannot_be_used_is_told_in_one_line_without_its_password(taskhouse, postgres):
    postgres.run("DROP ROLE IF EXISTS guarded", "CREATE ROLE guarded LOGIN PASSWORD 'right'")
    folder = postgres.folder / "data"
    for url, told in (
        ("postgresql://guarded:wr%40ng@/empty?host={}", 'password authentication failed for user "guarded"'),
        ("postgresql://postgres:wr%40ng@/nowhere?host={}", 'database "nowhere" does not exist'),
        ("postgresql://nobody:wr%40ng@/empty?host={}", 'role "nobody" does not exist'),
        ("postgresql://u:wr%40ng@127.0.0.1:1/db", "Connect call failed ('127.0.0.1', 1)"),
        ("postgresql://u:wr%40ng@taskhouse.invalid/db", "not known"),
        ("postgresql://u:wr%40ng@/db?host=/nowhere", "No such file or directory"),
        ("postgresql://u:wr%40ng@h/db?sslmode=wrong%40", "there is something in the URL that is not understood"),
        ("postgresql://u:wr%40ng@h/db?sslmode=verify-full&sslrootcert=/nowhere", "`sslrootcert`"),
        ("postgresql://u:wr%40ng@h/db?sslmode=verify-full", "name one that is there by `sslrootcert`"),
    ):
        for command in (("db", "check"), ("orgs", "list"), ("serve",), ("up", "--http", "127.0.0.1:1")):
            line = taskhouse(*command, "--database", url.format(folder)).told
            assert line.startswith("cannot use the database postgresql://")
            assert "(setting `database`)" in line
            assert told in line
            assert "--database or TASKHOUSE_DATABASE" in line
            assert "wr%40ng" not in line
            assert "wr@ng" not in line
    right = taskhouse("db", "check", "--database", f"postgresql://guarded:right@/empty?host={folder}")
    assert "permission denied for table alembic_version" in right.told


def test_a_house_on_sqlite_does_without_the_driver_of_the_other_engine(data):
    script = "import sys; from server.cli import serve, work, up; sys.exit('asyncpg' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"TASKHOUSE_DATA": str(data)})
