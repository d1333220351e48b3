"""A transaction on PostgreSQL, as verbs see it."""

from collections.abc import Sequence
from math import inf
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import Insert

from server.store.engine import Command, Head, Query, Record, Statements
from server.store.heads import Heads

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class SeveralStatements(Exception):
    """A verb needs a transaction after all."""


class PostgresTx:
    """A transaction on a connection of its own. `most` is how many statements it may run.

    PostgreSQL's texts cannot hold U+0000. Whatever looks for one that does finds nothing, as on SQLite, unasked.
    """

    __slots__ = ("_connection", "_kept", "_most", "_statements", "heads", "now")

    def __init__(
        self, connection: Connection, statements: Statements, now: int, kept: Heads | None, most: float = inf
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._kept = kept
        self._most = most
        self.now = now
        self.heads: dict[int, Head] = {}

    @property
    def host(self) -> str:
        """The name of the folder in which heads are kept."""
        return self._heads_kept.host

    def seal(self, digest: bytes) -> bytes:
        """Return the host's seal of an event's digest."""
        return self._heads_kept.seal(digest)

    @property
    def _heads_kept(self) -> Heads:
        if self._kept is None:
            raise ValueError("this store was opened without a folder for the heads of event logs")
        return self._kept

    def _prepare(self, query: Query[Any] | Command, values: dict[str, Any]) -> tuple[Any, ...]:
        if not self._most:
            raise SeveralStatements
        self._most -= 1
        compiled = self._statements[query]
        given = compiled.values(values)
        if any(type(value) is str and "\0" in value for value in given):
            if isinstance(query.statement, Insert):
                raise ValueError("U+0000 cannot be stored")
            return ()
        return compiled.sql, *given

    async def one(self, query: Query[Record], **values: Any) -> Record | None:
        """Return the first row, or None."""
        call = self._prepare(query, values)
        row = await self._connection.fetchrow(*call) if call else None
        return query.record._make(row) if row else None  # type: ignore[attr-defined]

    async def all(self, query: Query[Record], **values: Any) -> list[Record]:
        """Return all rows."""
        call = self._prepare(query, values)
        rows = await self._connection.fetch(*call) if call else ()
        return list(map(query.record._make, rows))  # type: ignore[attr-defined]

    async def run(self, command: Command, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""
        call = self._prepare(command, values)
        return int((await self._connection.execute(*call)).rpartition(" ")[2]) if call else 0

    async def wait_turn(self, command: Command, **values: Any) -> None:
        """Wait for others."""
        await self.run(command, **values)

    async def insert_many(self, command: Command, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Run an INSERT once for each row, in one go."""
        compiled = self._statements[command]
        if compiled.names != names:
            raise ValueError(f"the statement takes {compiled.names}, not {names}")
        await self._connection.executemany(compiled.sql, rows)
