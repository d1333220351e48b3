"""What tests of several rooms share: a migrated store, organizations, and a server on a unix socket without the edge."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from server.identity.authority import Authority
from server.store import migrate
from server.store.engine import Store
from server.store.sqlite import SqliteStore
from server.wiring import Server, build_server


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
async def store(data: Path) -> AsyncIterator[Store]:
    opened = SqliteStore(data / "taskhouse.db")
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def server(store: Store, data: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server as one process of the house runs it; `server.address` is its unix socket."""
    folder = tmp_path_factory.mktemp("s")
    built = build_server(store=store, authority=Authority.open(data), address=f"unix:{folder}/s")
    await built.grpc.start()
    yield built
    await built.stop(grace=0)
