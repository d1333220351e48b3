"""What every engine gives the house: statements compiled once, verbs run in transactions, and hints of change."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from sqlalchemy import Executable

Record = TypeVar("Record", bound=tuple[Any, ...])
P = ParamSpec("P")
T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store cannot be read or written at the moment; nothing was changed."""


class SchemaMismatch(Exception):
    """The database is not at the version that this taskhouse knows. The text says the remedy."""


class Query(Generic[Record]):
    """A statement that returns rows, and the NamedTuple that each row becomes (fields in the order of the columns).

    Write it once at module level: engines compile it once. Values come by name from `bindparam`s. As times are integers
    and JSON is text, every driver returns the same values; booleans are stored as integers for the same reason.
    """

    __slots__ = ("record", "statement")

    def __init__(self, statement: Executable, record: type[Record]) -> None:
        self.statement = statement
        self.record = record


class Command:
    """A statement that returns no rows."""

    __slots__ = ("statement",)

    def __init__(self, statement: Executable) -> None:
        self.statement = statement


class Size(NamedTuple):
    """How much there is of something."""

    bytes: int


class Tx(Protocol):
    """A transaction, as verbs see it."""

    now: int
    """Microseconds since 1970 in UTC, the same throughout the transaction."""

    async def one(self, query: Query[Record], **values: Any) -> Record | None:
        """Return the first row, or None."""

    async def all(self, query: Query[Record], **values: Any) -> list[Record]:
        """Return all rows."""

    async def run(self, command: Command, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""

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

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that only reads, on one snapshot. For what takes under 5 ms: on SQLite it holds the event loop."""

    async def scan(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As read, for what may take longer."""

    @property
    def generation(self) -> int:
        """Grows when something may have been committed, by any process."""

    async def changed(self, since: int) -> int:
        """Wait until the generation is past `since` and return it. A hint: the wait may also end without a change."""

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
