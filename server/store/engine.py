"""What every engine gives the house: statements compiled once, verbs run in transactions, and hints of change."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler

Record = TypeVar("Record", bound=tuple[Any, ...])
P = ParamSpec("P")
T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store cannot be read or written at the moment.

    Nothing was changed, unless the connection to a database server broke during a commit: then nobody knows; or unless
    the heads of event logs could not be written after it, for example on a full disk.
    """

    remedy: str | None = None
    """What whoever runs the house can do about it, if that is known."""


class SchemaMismatch(Exception):
    """The database is not at the version that this taskhouse knows. The text says the remedy."""


class Statement:
    """A statement, and what engines made of it, by the names of their dialects: compiled once, forgotten with it."""

    __slots__ = ("compiled", "statement")

    def __init__(self, statement: Executable) -> None:
        self.statement = statement
        self.compiled: dict[str, Compiled] = {}


class Query(Statement, Generic[Record]):
    """A statement that returns rows, and the NamedTuple that each row becomes (fields in the order of the columns).

    Write it once at module level. Values come by name from `bindparam`s. As times are integers and JSON is text, every
    driver returns the same values; booleans are stored as integers for the same reason.
    """

    __slots__ = ("record",)

    def __init__(self, statement: Executable, record: type[Record]) -> None:
        super().__init__(statement)
        self.record = record


class Command(Statement):
    """A statement that returns no rows."""

    __slots__ = ()


class Compiled:
    """A statement as an engine takes it: its text, and where each value goes."""

    __slots__ = ("_defaults", "_pick", "names", "sql")

    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        compiled = cast("SQLCompiler", statement.statement.compile(dialect=dialect))  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self.names = tuple(compiled.positiontup or ())
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}
        self._pick = itemgetter(*self.names) if len(self.names) > 1 else None

    def values(self, given: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values in the order in which the statement takes them."""
        merged = {**self._defaults, **given} if self._defaults else given
        if self._pick:
            return cast("tuple[Any, ...]", self._pick(merged))
        return (merged[self.names[0]],) if self.names else ()


class Statements:
    """The statements as one engine takes them, each compiled when it is first asked for."""

    __slots__ = ("_dialect", "_name")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._name = dialect.name

    def __getitem__(self, statement: Statement) -> Compiled:
        compiled = statement.compiled.get(self._name)
        if compiled is None:
            compiled = statement.compiled[self._name] = Compiled(statement, self._dialect)
        return compiled


class Changes:
    """How many changes there were, and a place to wait for the next."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def add(self) -> None:
        """Count one, and wake who waits."""
        self.count += 1
        self._next.set()
        self._next.clear()

    async def past(self, since: int) -> int:
        """Wait until there were more than `since`, and return how many."""
        while self.count <= since:
            await self._next.wait()
        return self.count


class Size(NamedTuple):
    """How much there is of something."""

    bytes: int


class Head(NamedTuple):
    """The last of the events that were added to a log at once: numbered without gaps, so its number is their count."""

    log_id: int
    first: int  # the number of the first of them
    sequence: int
    digest: bytes  # of that event and, through it, of all before


class Tx(Protocol):
    """A transaction, as verbs see it."""

    now: int
    """Microseconds since 1970 in UTC, the same throughout the transaction."""

    heads: dict[int, Head]
    """The new heads of the event logs to which it added, by log. They are on the disk, outside the database, after the
    commit and before the verb is answered."""

    @property
    def host(self) -> str:
        """The name of the folder in which heads are kept; see store/heads.py."""

    def seal(self, digest: bytes) -> bytes:
        """Return the host's seal of an event's digest."""

    async def one(self, query: Query[Record], **values: Any) -> Record | None:
        """Return the first row, or None."""

    async def all(self, query: Query[Record], **values: Any) -> list[Record]:
        """Return all rows."""

    async def run(self, command: Command, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""

    async def wait_turn(self, command: Command, **values: Any) -> None:
        """Run a SELECT … FOR UPDATE that only waits for others; SQLite, with one writer at a time, leaves it out."""

    async def insert_many(self, command: Command, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Run an INSERT once for each row. `names` says which bind parameters a row holds, in its order."""


Verb = Callable[Concatenate[Tx, P], Awaitable[T]]


class Store(Protocol):
    """A database. A verb is `async def verb(tx, …)` and awaits nothing but its tx."""

    async def write(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the verb in a transaction and return after its commit; a verb that raises has changed nothing.

        Raises StoreUnavailable, and whatever the verb raises. Verbs are as if they had run one after another; for that,
        PostgreSQL may run the whole verb again.
        """

    async def write_guarded(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As write, for a verb whose every statement guards itself: by the state in its WHERE, or by SKIP LOCKED.

        On PostgreSQL each statement sees what was committed before it (READ COMMITTED), so such verbs never collide.
        """

    async def write_soon(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As write_guarded, for what must keep its time whatever else is written: sessions, leases, claims.

        On SQLite it goes before all that waits to be written in its process, so there must never be much of it; on
        PostgreSQL it has connections of its own.
        """

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that only reads, on one snapshot. For what takes under 5 ms: on SQLite it holds the event loop."""

    async def scan(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As read, for what may take longer. If whoever waits for it is cancelled, it ends soon."""

    async def search(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As scan, for what callers can make take very long: no scan waits for it. Limit its time by cancelling it."""

    @property
    def generation(self) -> int:
        """Grows when something may have been committed, by any process."""

    async def changed(self, since: int) -> int:
        """Wait until the generation is past `since` and return it. A hint: the wait may also end without a change."""

    async def wipe(self) -> None:
        """Leave as little as the engine can of what was deleted, without making anybody wait for long.

        SQLite overwrites what it deletes, and this empties its log of older pages, unless a long scan needs them.
        PostgreSQL overwrites nothing: its vacuum gives deleted rows' room to others, in its own time.
        """

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
