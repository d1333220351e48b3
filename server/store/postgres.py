"""PostgreSQL, for houses of more than one machine, and any engine that speaks its protocol, by asyncpg.

A write is SERIALIZABLE and is run again as a whole when it collided with another; for a while such verbs take turns. A
guarded write is READ COMMITTED.
Reads are on one snapshot (REPEATABLE READ), on connections that cannot write. Nothing waits for ever: connecting,
statements, locks and idle transactions all have their time.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from types import CodeType
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from server.store.address import PostgresAddress
from server.store.clocks import DatabaseClock
from server.store.engine import Changes, P, Statements, StoreUnavailable, T, Verb
from server.store.heads import Heads, HeadsTogether
from server.store.postgres_tx import Connection, PostgresTx, SeveralStatements

CHANNEL = "taskhouse"
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
KEEPER_SECONDS = 3.0  # Of what must keep its time: a session whose renewal fails then is renewed by another.
SCAN_SECONDS = 600.0
LOCK_SECONDS = 10.0
IDLE_SECONDS = 15.0  # In a transaction: a process that was stopped in one gives its locks back.
BUSY_SECONDS = 10.0  # How long a verb waits for a connection.
WRITERS, KEEPERS, READERS, SCANNERS, SEARCHERS = 8, 2, 8, 2, 2  # Connections, at most.
CONNECTIONS = WRITERS + KEEPERS + READERS + SCANNERS + SEARCHERS + 1  # The last one is for hints.
POLL_SECONDS = 0.5
CLOSE_SECONDS = 5.0
DEBOUNCE_SECONDS = 0.005  # Between two hints to the other processes.
TRIES = 50  # At most, of a verb that collides with others.
LONGEST_PAUSE = 0.1  # Seconds, before a verb is run again.
CALM_SECONDS = 1.0  # Until a verb that has collided is run beside others again.

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
_Sealing: TypeAlias = "list[asyncio.Future[None]]"

_SERIALIZABLE = "BEGIN ISOLATION LEVEL SERIALIZABLE"
_READ_COMMITTED = "BEGIN ISOLATION LEVEL READ COMMITTED"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Who waits for a table has no snapshot yet, and then sees what the one before has committed. All may read and write it
# meanwhile, and there is nothing in it for a vacuum, which would have to wait.
_IN_TURN = "; LOCK TABLE alembic_version IN SHARE UPDATE EXCLUSIVE MODE"
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT"
_SETTINGS = {
    "application_name": "taskhouse",
    "default_transaction_isolation": "read committed",  # Whatever the database's owner has set.
    "jit": "off",
    "lock_timeout": f"{LOCK_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS:.0f}s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# A sequential scan of a table, however small, collides with every write to it; and statements that were planned while
# a table was empty would go on scanning it when it is large.
_BY_INDEX = {"enable_seqscan": "off"}
_READ_ONLY = {"default_transaction_read_only": "on"}

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_OURS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.InterfaceError,
)
"""Mistakes of ours, which trying again will not mend; unless the connection is lost, which is told as the last too."""
_COLLISIONS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
"""As verbs look before they add, what is not unique was added by another that looked at the same time."""


class PostgresStore:
    """The database at an address. Get it by `open`, inside the event loop that will use it.

    The heads of event logs are kept in the folder; without one, no events can be recorded.
    """

    def __init__(self, address: PostgresAddress, folder: Path | None = None) -> None:
        self._address = address
        self._heads = None if folder is None else Heads(folder)
        self._sealing = None if self._heads is None else HeadsTogether(self._heads)
        self._statements = Statements(dialect())  # type: ignore[no-untyped-call]
        self._clock = DatabaseClock()
        self._changes = Changes()
        self._untold = asyncio.Event()
        self._turn = asyncio.Lock()
        self._collided: dict[CodeType | None, float] = {}
        self._several: set[CodeType] = set()
        self._closed = False
        self._writers = self._pool(WRITERS, STATEMENT_SECONDS, _BY_INDEX)
        self._keepers = self._pool(KEEPERS, KEEPER_SECONDS, _BY_INDEX)
        self._readers = self._pool(READERS, STATEMENT_SECONDS, _BY_INDEX | _READ_ONLY)
        self._scanners = self._pool(SCANNERS, SCAN_SECONDS, _READ_ONLY)
        self._searchers = self._pool(SEARCHERS, STATEMENT_SECONDS, _READ_ONLY)
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: PostgresAddress, folder: Path | None = None) -> "PostgresStore":
        """Return the store once the database has answered. Raises StoreUnavailable if it does not, saying why."""
        store = cls(address, folder)
        for pool in (store._writers, store._keepers, store._readers, store._scanners, store._searchers):
            await pool  # It needs to be waited for, though it connects only when it is used.
        try:
            async with store._borrowed(store._writers) as connection:
                await store._look_at_clock(connection)
        except BaseException:
            await store.close()
            raise
        store._watch = asyncio.create_task(store._watch_other_processes())
        return store

    def _pool(self, size: int, seconds: float, settings: dict[str, str]) -> Pool:
        async def leave(_: Any) -> None:
            """Leave a connection that is handed back as it is: no verb sets anything on it."""

        timeout = {"statement_timeout": f"{seconds:.0f}s"}
        return asyncpg.create_pool(
            self._address.url,
            min_size=0,
            max_size=size,
            timeout=min(CONNECT_SECONDS, seconds),
            command_timeout=1.2 * seconds,  # For a server that is gone without a word.
            statement_cache_size=1000,
            max_cached_statement_lifetime=0,
            reset=leave,
            server_settings=_SETTINGS | timeout | settings,
        )

    # Reading

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb that only reads, on one snapshot.

        Most such verbs are one statement, which is a snapshot of its own and takes one round trip instead of three; for
        that they are begun without a transaction, and begun again in one if they go on to another statement.
        """
        code: CodeType | None = getattr(verb, "__code__", None)
        if code is not None and code not in self._several:
            try:
                async with self._borrowed(self._readers) as connection:
                    return await verb(self._tx(connection, most=1), *args, **kwargs)
            except SeveralStatements:
                self._several.add(code)
        return await self._transact(self._readers, _SNAPSHOT, [], verb, *args, **kwargs)

    async def scan(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As read, for what may take longer: it takes no connection from quick reads."""
        return await self._transact(self._scanners, _SNAPSHOT, [], verb, *args, **kwargs)

    async def search(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As scan: it takes no connection from scans."""
        return await self._transact(self._searchers, _SNAPSHOT, [], verb, *args, **kwargs)

    # Writing

    async def write(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the verb as if alone, again if it collided, and return after its commit."""
        return await self._write(self._writers, _SERIALIZABLE, verb, *args, **kwargs)

    async def write_guarded(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb whose statements guard themselves, and return after its commit."""
        return await self._write(self._writers, _READ_COMMITTED, verb, *args, **kwargs)

    async def write_soon(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As write_guarded: it waits for no connection that others have."""
        return await self._write(self._keepers, _READ_COMMITTED, verb, *args, **kwargs)

    async def _write(self, pool: Pool, begin: str, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        sealing: _Sealing = []
        value = await self._until_alone(pool, begin, sealing, verb, *args, **kwargs)
        for sealed in sealing:  # By now others may write to the same logs.
            await sealed
        self._changes.add()
        self._untold.set()
        return value

    async def _until_alone(
        self, pool: Pool, begin: str, sealing: _Sealing, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a verb until it does not collide. One that has collided, and may wait, takes turns in all processes."""
        code: CodeType | None = getattr(verb, "__code__", None)
        not_unique = 0
        for tries in range(TRIES):
            try:
                if pool is self._keepers or time.monotonic() - self._collided.get(code, -inf) >= CALM_SECONDS:
                    return await self._transact(pool, begin, sealing, verb, *args, **kwargs)
                async with self._turn:
                    return await self._transact(pool, begin + _IN_TURN, sealing, verb, *args, **kwargs)
            except _COLLISIONS as error:
                not_unique += isinstance(error, asyncpg.UniqueViolationError)
                if not_unique == 3:  # That is no collision.
                    raise
            self._collided[code] = time.monotonic()
            if tries:
                await asyncio.sleep(random.uniform(0, min(0.001 * 2**tries, LONGEST_PAUSE)))  # noqa: S311 - no secret.
        raise StoreUnavailable(f"others have changed the same {TRIES} times meanwhile")

    async def _transact(
        self, pool: Pool, begin: str, sealing: _Sealing, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a verb in a transaction. What is added to `sealing` is done once the heads of its logs are written."""
        async with self._borrowed(pool) as connection:
            try:
                await connection.execute(begin)
                tx = self._tx(connection)  # Its time is later than that of whoever had the turn before.
                value = await verb(tx, *args, **kwargs)
            except TimeoutError:  # The server did not even say so itself: a ROLLBACK would have no answer, either.
                connection.terminate()
                raise
            except BaseException:
                with suppress(*FAILURES):  # Then the connection is of no more use, and its end rolls back.
                    await connection.execute("ROLLBACK")
                raise
            if tx.heads:
                await _whole(self._commit_and_seal(connection, tx, sealing))
            else:
                await self._commit(connection)
            return value

    async def _commit(self, connection: Connection) -> None:
        if await connection.execute("COMMIT") != "COMMIT":
            raise RuntimeError("a verb went on after a statement of it had failed")

    async def _commit_and_seal(self, connection: Connection, tx: PostgresTx, sealing: _Sealing) -> None:
        await self._commit(connection)
        if self._sealing:
            sealing.append(self._sealing.begin(tx.heads.values()))

    # Connections

    def _tx(self, connection: Connection, most: float = inf) -> PostgresTx:
        return PostgresTx(connection, self._statements, self._clock.now(), self._heads, most)

    @asynccontextmanager
    async def _borrowed(self, pool: Pool) -> AsyncIterator[Connection]:
        """Give a connection for as long as the block takes. What befalls it is StoreUnavailable, or our mistake."""
        given, lost = False, True
        try:
            async with pool.acquire(timeout=BUSY_SECONDS) as connection:
                given = True
                try:
                    yield connection
                finally:
                    with suppress(asyncpg.InterfaceError):  # Then the pool has dropped it already.
                        lost = connection.is_closed()
        except FAILURES as error:
            ours = isinstance(error, _OURS) and not isinstance(error, asyncpg.InsufficientPrivilegeError)
            if isinstance(error, _COLLISIONS) or (ours and not lost):
                raise
            if isinstance(error, TimeoutError) and not given and pool.get_size() == pool.get_max_size():
                what = f"all {pool.get_size()} connections to {self._address} for such calls are in use"
                raise _busy(
                    f"{what}, for {BUSY_SECONDS:.0f} s now", "try again later, or run more server processes"
                ) from error
            if isinstance(error, asyncpg.LockNotAvailableError):
                raise _busy(
                    f"others have locked what is needed in {self._address}: {error}", "try again later"
                ) from error
            raise unavailable(self._address, error) from error

    # Hints

    @property
    def generation(self) -> int:
        """Grows when something may have been committed, by any process."""
        return self._changes.count

    async def changed(self, since: int) -> int:
        """Wait until the generation is past `since` and return it."""
        return await self._changes.past(since)

    async def _watch_other_processes(self) -> None:
        while True:
            with suppress(*FAILURES):  # Whoever reads or writes next is told.
                connection = await connect(self._address, synchronous_commit="off")  # A hint is not worth a write.
                try:
                    await self._exchange_hints(connection)
                finally:
                    connection.terminate()
            self._changes.add()
            await asyncio.sleep(POLL_SECONDS)

    async def _exchange_hints(self, connection: Connection) -> None:
        """Hear of other processes' commits, and tell them of ours, until the connection fails."""
        ours = connection.get_server_pid()

        def heard(_: Connection, sender: int, channel: str, payload: object) -> None:
            del channel, payload
            if sender != ours:
                self._changes.add()

        await connection.add_listener(CHANNEL, heard)
        polled = -inf
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._untold.wait()
            if self._untold.is_set():
                self._untold.clear()
                await connection.execute(f"NOTIFY {CHANNEL}")
            if time.monotonic() - polled >= POLL_SECONDS:
                polled = time.monotonic()
                await self._look_at_clock(connection)
                self._changes.add()
            await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _look_at_clock(self, connection: Connection) -> None:
        began = self._clock.begin_look()
        self._clock.end_look(began, await connection.fetchval(_NOW))

    async def wipe(self) -> None:
        """Do nothing: see Store."""

    async def close(self) -> None:
        """End the transactions that were begun, tell the others of the last commits, and let go of the database."""
        if self._closed:
            return
        self._closed = True
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        with suppress(*FAILURES):
            if self._untold.is_set():
                async with self._writers.acquire(timeout=CLOSE_SECONDS) as connection:
                    await connection.execute(f"NOTIFY {CHANNEL}")
        for pool in (self._readers, self._scanners, self._searchers, self._keepers, self._writers):
            try:
                await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
            except FAILURES:
                pool.terminate()


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do something to its end, even if whoever asked for it does not wait: an event that is committed gets its head."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        doing.exception()  # There is nobody to tell.
        raise


async def connect(address: PostgresAddress, *, seconds: float = STATEMENT_SECONDS, **settings: str) -> Connection:
    """Return a connection of its own, outside all pools, whose statements may take so long."""
    return await asyncpg.connect(
        address.url,
        timeout=CONNECT_SECONDS,
        command_timeout=seconds,
        statement_cache_size=0,
        server_settings=_SETTINGS | settings,
    )


def _busy(what: str, remedy: str) -> StoreUnavailable:
    """Return what is told when others have for long what is needed; the database itself is well."""
    failure = StoreUnavailable(what)
    failure.remedy = remedy
    return failure


def unavailable(address: PostgresAddress, error: Exception) -> StoreUnavailable:
    """Return what is told of a database that cannot be used, in one line that names the setting."""
    if isinstance(error, asyncpg.ClientConfigurationError):  # Its text may hold parts of the URL, and so of a password.
        what = "there is something in the URL that is not understood"
        if "root certificate file" in str(error):
            what = "its `sslmode` needs the file of a root certificate: name one that is there by `sslrootcert`"
    elif isinstance(error, FileNotFoundError) and "sslrootcert" in address.url:
        what = "there is no file that its `sslrootcert` names"
    elif isinstance(error, TimeoutError):
        what = "no answer in time"
    else:
        what = " ".join(str(error).split()) or type(error).__name__
    failure = StoreUnavailable(f"cannot use the database {address} (setting `database`): {what}")
    failure.remedy = "see that it runs, and that --database or TASKHOUSE_DATABASE is its URL"
    return failure
