"""Brings a database to the schema of this taskhouse, once, before any process serves it."""

import fcntl
import logging
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError

from server.store.engine import SchemaMismatch, StoreUnavailable

REVISION = "0006"  # The newest migration; a test holds it against the folder.


def current(path: Path) -> str | None:
    """Return the revision of the SQLite database at `path`; None if there is no database or nothing in it."""
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


def check(path: Path) -> None:
    """Raise SchemaMismatch unless the database is at REVISION."""
    revision = current(path)
    if revision == REVISION:
        return
    if revision is not None and revision > REVISION:
        raise SchemaMismatch(
            f"the database {path} is of a newer taskhouse (schema {revision}, this one knows {REVISION}):"
            " install that version"
        )
    command = f"taskhouse db upgrade --data {shlex.quote(str(path.parent))}"
    raise SchemaMismatch(f"the database {path} is not at schema {REVISION}: run `{command}`")


def upgrade(path: Path) -> None:
    """Create or migrate the database, wholly or not at all, even if this process is killed meanwhile.

    Raises SchemaMismatch if it is of a newer taskhouse; then nothing is touched.
    """
    with _write_lock(path):
        revision = current(path)
        if revision == REVISION:
            return
        if revision is not None and revision > REVISION:
            check(path)
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


def _run_alembic(connection: Connection) -> None:
    # Imported here: it costs every process 11 MB, and only this function needs it.
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)  # Else it speaks to people who asked for something else.
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    command.upgrade(config, "head")


@contextmanager
def _write_lock(path: Path) -> Iterator[Any]:
    try:
        with path.with_name("write.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
    except OSError as error:
        raise StoreUnavailable(f"cannot write in {path.parent}: {error.strerror}") from error
