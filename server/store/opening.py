"""Opens the store at an address, whichever engine it is of."""

from pathlib import Path

from server.store.address import DatabaseAddress
from server.store.engine import Store
from server.store.sqlite import SqliteStore


async def open_store(address: DatabaseAddress, folder: Path | None = None) -> Store:
    """Return the store, for the running event loop. Raises StoreUnavailable if there is no way to its database.

    The heads of event logs are kept in `folder`, which is needed for writing: the house's data folder, in which SQLite
    is as well.
    """
    if isinstance(address, Path):
        return SqliteStore(address)
    from server.store.postgres import PostgresStore  # Here, as a house on SQLite can do without the memory of asyncpg.

    return await PostgresStore.open(address, folder)
