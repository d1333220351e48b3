"""What tests of several rooms share: a migrated store on either engine, and a server on a socket, without the edge."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from server.store import migrate
from server.store.address import DatabaseAddress
from server.store.engine import Store
from server.store.opening import open_store
from tests import databases

if TYPE_CHECKING:
    from server.wiring import Server

# Tests fork beside threads of gRPC, which writes a line about it on the standard error that other tests read. Nothing
# that is forked here goes on to use gRPC: it is another program at once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run side by side: one more than there are cores, as many of them wait."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that was migrated once, to be copied; with the catalogue of tests."""
    path = tmp_path_factory.mktemp("migrated") / "taskhouse.db"
    migrate.upgrade(path)
    databases.apart(databases.declare(path))
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[databases.Postgres]:
    """A PostgreSQL server, started when a test first needs one."""
    with databases.postgres() as running:
        yield running


@pytest.fixture
def data(tmp_path: Path, migrated: Path) -> Path:
    """A data folder with a migrated, empty SQLite database."""
    (tmp_path / "taskhouse.db").write_bytes(migrated.read_bytes())
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: whatever needs this is run on both."""
    return request.param


@pytest.fixture
def address(engine: str, request: pytest.FixtureRequest) -> DatabaseAddress:
    """A migrated, empty database."""
    if engine == "sqlite":
        return request.getfixturevalue("data") / "taskhouse.db"
    return request.getfixturevalue("postgres").wiped()


@pytest_asyncio.fixture
async def store(address: DatabaseAddress, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(address, tmp_path)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def elsewhere(address: DatabaseAddress, store: Store, tmp_path: Path) -> AsyncIterator[Store]:
    """The same database, as another process has it."""
    opened = await open_store(address, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def rows(address: DatabaseAddress) -> Callable[[str], Awaitable[list[tuple[Any, ...]]]]:
    """Look into the database by another way than the store's: `await rows("SELECT …")`."""
    return partial(databases.rows, address)


@pytest_asyncio.fixture
async def server(store: Store, data: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["Server"]:
    """A server as one process of the house runs it; it listens on `server.address`, a unix socket."""
    from server.identity.authority import Authority  # Here, as most tests need no server.
    from server.wiring import build_server

    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    built = build_server(store=store, authority=Authority.open(data), address=address)
    await built.grpc.start()
    yield built
    await built.stop(grace=0)
