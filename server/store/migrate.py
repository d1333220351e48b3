"""Brings a database to the schema of this taskhouse, once, before any process serves it."""

import asyncio
import fcntl
import logging
import shlex
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from server.store.address import DatabaseAddress, PostgresAddress
from server.store.engine import SchemaMismatch, StoreUnavailable

REVISION = "0012"  # The newest migration; a test holds it against the folder.
MIGRATION_SECONDS = 3600.0  # For one statement of a migration, and for waiting until another process has migrated.
ADVISORY_LOCK = 0x7461736B  # Any number; of all that use the database, only migrations use this one.

T = TypeVar("T")


def current(address: DatabaseAddress) -> str | None:
    """Return the revision of the database; None if there is no database or nothing in it."""
    return _current_sqlite(address) if isinstance(address, Path) else _on_postgres(address, _current_postgres(address))


def check(address: DatabaseAddress) -> None:
    """Raise SchemaMismatch unless the database is at REVISION."""
    _check(address, current(address))


def upgrade(address: DatabaseAddress) -> None:
    """Create or migrate the database, wholly or not at all, even if this process is killed meanwhile.

    Raises SchemaMismatch if it is of a newer taskhouse; then nothing is touched.
    """
    if isinstance(address, Path):
        _upgrade_sqlite(address)
    else:
        _on_postgres(address, _upgrade_postgres(address))


def _check(address: DatabaseAddress, revision: str | None) -> None:
    if revision == REVISION:
        return
    if _is_newer(revision):
        raise SchemaMismatch(
            f"the database {address} is of a newer taskhouse (schema {revision}, this one knows {REVISION}):"
            " install that version"
        )
    remedy = "run `taskhouse db upgrade` with the same --database"
    if isinstance(address, Path):
        remedy = f"run `taskhouse db upgrade --data {shlex.quote(str(address.parent))}`"
    raise SchemaMismatch(f"the database {address} is not at schema {REVISION}: {remedy}")


def _is_newer(revision: str | None) -> bool:
    return revision is not None and revision > REVISION


def _run_alembic(connection: Connection) -> None:
    # Imported here: it costs every process 11 MB, and only this function needs it.
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)  # Else it speaks to people who asked for something else.
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    command.upgrade(config, "head")


# SQLite


def _current_sqlite(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with closing(sqlite.connect(str(path))) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None
    except sqlite.Error as error:
        raise StoreUnavailable(f"cannot read the database {path}: {error}") from error


def _upgrade_sqlite(path: Path) -> None:
    with _write_lock(path):
        revision = _current_sqlite(path)
        if revision == REVISION:
            return
        if _is_newer(revision):
            _check(path, revision)
        # Without an isolation level the driver begins and commits nothing by itself; with one, it would leave tables
        # outside the transaction.
        engine = create_engine(f"sqlite:///{path}", module=sqlite, connect_args={"isolation_level": None})
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                _run_alembic(connection)
                connection.commit()
        except DBAPIError as error:  # As SQLAlchemy hands on what its driver raised.
            raise StoreUnavailable(f"cannot migrate the database {path}: {error.orig}") from error
        finally:
            engine.dispose()


@contextmanager
def _write_lock(path: Path) -> Iterator[Any]:
    try:
        with path.with_name("write.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
    except OSError as error:
        raise StoreUnavailable(f"cannot write in {path.parent}: {error.strerror}") from error


# PostgreSQL. Its driver is imported where it is used: a house on SQLite can do without its memory.


def _on_postgres(address: PostgresAddress, work: Coroutine[Any, Any, T]) -> T:
    from server.store.postgres import FAILURES, unavailable

    try:
        return asyncio.run(work)
    except DBAPIError as error:
        raise unavailable(address, error.orig or error) from error
    except FAILURES as error:
        raise unavailable(address, error) from error


async def _current_postgres(address: PostgresAddress) -> str | None:
    from server.store.postgres import connect

    connection = await connect(address)
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
            return None
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        connection.terminate()


async def _upgrade_postgres(address: PostgresAddress) -> None:
    if await _current_postgres(address) == REVISION:
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    from server.store.postgres import connect

    async def patient() -> Any:
        return await connect(address, seconds=MIGRATION_SECONDS, lock_timeout="0")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=patient, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            revision = await _current_postgres(address)  # Of what is committed, maybe by whoever had the lock before.
            if _is_newer(revision):
                _check(address, revision)
            encoding = (await connection.exec_driver_sql("SHOW server_encoding")).scalar_one()
            if encoding != "UTF8":
                raise StoreUnavailable(f"the database {address} has the encoding {encoding}: create it with UTF8")
            if revision != REVISION:
                await connection.run_sync(_run_alembic)
    finally:
        await engine.dispose()
