"""What tests of several rooms share: a migrated store, and a server on a unix socket without the edge."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from server.store import migrate
from server.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from server.wiring import Server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that was migrated once, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "taskhouse.db"
    migrate.upgrade(path)
    return path


@pytest.fixture
def data(tmp_path: Path, migrated: Path) -> Path:
    """A data folder with a migrated, empty database."""
    (tmp_path / "taskhouse.db").write_bytes(migrated.read_bytes())
    return tmp_path


@pytest_asyncio.fixture
async def store(data: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(data / "taskhouse.db")
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def server(store: SqliteStore, data: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["Server"]:
    """A server as one process of the house runs it; it listens on `server.address`, a unix socket."""
    from server.identity.authority import Authority  # Here, as most tests need no server.
    from server.wiring import build_server

    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    built = build_server(store=store, authority=Authority.open(data), address=address)
    await built.grpc.start()
    yield built
    await built.stop(grace=0)
