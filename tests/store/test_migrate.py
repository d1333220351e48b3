import logging
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from server.store import migrate
from server.store.engine import SchemaMismatch, StoreUnavailable
from server.store.postgres import connect
from server.store.tables import METADATA
from tests.databases import Postgres, name_of


def differences(connection: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection), METADATA)


def test_the_migrations_make_what_the_tables_declare(data: Path) -> None:
    engine = create_engine(f"sqlite:///{data}/taskhouse.db", module=sqlite)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def test_the_migrations_make_the_same_on_postgresql(postgres: Postgres) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=partial(connect, postgres.address("empty")))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def test_a_database_server_s_database_is_migrated_once_however_many_begin(postgres: Postgres) -> None:
    address = postgres.fresh()
    assert migrate.current(address) is None
    with pytest.raises(SchemaMismatch, match="with the same --database"):
        migrate.check(address)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(migrate.upgrade, [address] * 3))
    migrate.check(address)


def test_a_database_server_s_database_of_a_newer_version_is_refused_and_left_alone(postgres: Postgres) -> None:
    address = postgres.fresh(template="template")
    postgres.run("UPDATE alembic_version SET version_num = '9999'", database=name_of(address))
    with pytest.raises(SchemaMismatch, match="newer taskhouse"):
        migrate.upgrade(address)
    assert migrate.current(address) == "9999"


def test_a_database_that_cannot_hold_all_texts_is_refused(postgres: Postgres) -> None:
    postgres.run("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with pytest.raises(StoreUnavailable, match="encoding SQL_ASCII"):
        migrate.upgrade(postgres.address("ascii"))
    assert migrate.current(postgres.address("ascii")) is None


def test_the_newest_migration_is_the_one_that_servers_ask_for() -> None:
    script = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations")))
    assert script.get_current_head() == migrate.REVISION


def test_a_migrated_database_passes_and_is_not_touched_again(data: Path) -> None:
    path = data / "taskhouse.db"
    before = path.stat().st_mtime_ns
    migrate.upgrade(path)
    migrate.check(path)
    assert path.stat().st_mtime_ns == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(data: Path) -> None:
    path = data / "taskhouse.db"
    connection = sqlite.connect(str(path))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(SchemaMismatch, match="newer taskhouse"):
        migrate.upgrade(path)
    assert migrate.current(path) == "9999"


def test_a_missing_database_is_not_at_the_schema(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="taskhouse db upgrade"):
        migrate.check(tmp_path / "taskhouse.db")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "taskhouse.db"
    path.write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StoreUnavailable, match="cannot read"):
        migrate.upgrade(path)


KILLED_MIDWAY = """
import os, signal, sys
from pathlib import Path
from alembic import op
from server.store import migrate

create_index = op.create_index

def create_or_die(name, *args, **kwargs):
    if name == "datasets_by_name":
        os.kill(os.getpid(), signal.SIGKILL)
    create_index(name, *args, **kwargs)

op.create_index = create_or_die
migrate.upgrade(Path(sys.argv[1]))
"""


def test_a_migration_that_is_killed_midway_leaves_nothing_and_can_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "taskhouse.db"
    done = subprocess.run([sys.executable, "-c", KILLED_MIDWAY, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert migrate.current(path) is None
    migrate.upgrade(path)
    migrate.check(path)


def test_a_migration_keeps_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    migrate.upgrade(tmp_path / "taskhouse.db")
    assert caplog.text == ""
