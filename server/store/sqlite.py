"""The embedded engine: SQLite in WAL mode with synchronous=FULL, one group-committing writer a process.

Writers of all processes queue in the kernel at `flock(DIR/write.lock)`. SQLite's own busy wait starves some of them
(measured: p99.9 of 80-130 ms against 2-4 ms under the lock). Heads of event logs are written under the same lock.
"""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.dialects.sqlite import dialect

from server.store.clocks import HouseClock
from server.store.engine import Changes, Command, Head, P, Query, Record, Statements, StoreUnavailable, T, Verb
from server.store.heads import Heads
from server.store.waiting import Job, Waiting

DIALECT = dialect(paramstyle="qmark")
FLOOR = (3, 51, 3)  # Before it, two connections that write and checkpoint at once can corrupt a WAL database.
WIPE_TRIES = 20
WIPE_PAUSE_SECONDS = 0.05
POLL_SECONDS = 0.01  # How soon another process's commit is noticed; one look costs 3 microseconds.
CHECKPOINT_PAGES = 8000  # 32 MiB; at SQLite's own 1,000, stats that are written in bulk take twice as long.
STOP_STEPS = 1_000_000  # of SQLite's machine, some tens of milliseconds
BUSY_SECONDS = 5.0  # Only recovery and outsiders hold SQLite's own locks for long.

_Value = TypeVar("_Value")


class SqliteTx:
    """A transaction that calls the driver directly and never suspends."""

    __slots__ = ("_cursor", "_kept", "_statements", "execute", "heads", "now")

    def __init__(self, connection: sqlite.Connection, statements: Statements, kept: Heads) -> None:
        self._cursor = connection.cursor()
        # For the engine. connection.execute would make a cursor each time, and remember what the last 200 of them held.
        self.execute = self._cursor.execute
        self._statements = statements
        self._kept = kept
        self.now = 0
        self.heads: dict[int, Head] = {}

    @property
    def host(self) -> str:
        return self._kept.host

    def seal(self, digest: bytes) -> bytes:
        return self._kept.seal(digest)

    async def one(self, query: Query[Record], **values: Any) -> Record | None:
        compiled = self._statements[query]
        # All rows are fetched: a statement left half read would keep its snapshot, and hide later changes of RETURNING.
        rows = self._cursor.execute(compiled.sql, compiled.values(values)).fetchall()
        return query.record._make(rows[0]) if rows else None  # type: ignore[attr-defined]

    async def all(self, query: Query[Record], **values: Any) -> list[Record]:
        compiled = self._statements[query]
        rows = self._cursor.execute(compiled.sql, compiled.values(values)).fetchall()
        return list(map(query.record._make, rows))  # type: ignore[attr-defined]

    async def run(self, command: Command, **values: Any) -> int:
        compiled = self._statements[command]
        return cast("int", self._cursor.execute(compiled.sql, compiled.values(values)).rowcount)

    async def wait_turn(self, command: Command, **values: Any) -> None:
        pass

    async def insert_many(self, command: Command, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        compiled = self._statements[command]
        if compiled.names != names:
            raise ValueError(f"the statement takes {compiled.names}, not {names}")
        self._cursor.executemany(compiled.sql, rows)


_Outcome = tuple[Any, BaseException | None]


def _drive(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    """Run a verb to its end; on this engine nothing that it may await suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("_Value", stop.value)
    coroutine.close()
    raise RuntimeError("a verb awaited something else than its transaction")


def _connect(path: Path) -> sqlite.Connection:
    connection = sqlite.connect(
        str(path), isolation_level=None, check_same_thread=False, cached_statements=512, timeout=BUSY_SECONDS
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # Erased users' rows are overwritten with zeros.
    connection.create_function("keyed_sha256", 2, keyed_sha256, deterministic=True)
    connection.create_function("exact_bin", 3, exact_bin, deterministic=True)
    return connection


class _Look:
    """A connection of its own in a thread, which another thread may stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite.Connection | None = None
        self._stopped = False

    def begin(self, path: Path) -> sqlite.Connection:
        connection = _connect(path)
        # For a stop that comes between two statements. Seldom: each time it waits for the interpreter.
        connection.set_progress_handler(lambda: self._stopped, STOP_STEPS)
        with self._lock:
            self._connection = connection
        return connection

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._connection:
                self._connection.interrupt()

    def end(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection.close()


# What PostgreSQL has and SQLite has not: see store/counts.py.


def keyed_sha256(key: bytes, text: str) -> bytes:
    """Return the SHA-256 of a key and a text behind it."""
    return sha256(key + text.encode()).digest()


def exact_bin(value: float, p: float, q: float) -> str:
    """Return the number of the bin of width p / q that a value is in."""
    return str((Fraction(repr(value)) * Fraction(q) / Fraction(p)).__floor__())


class SqliteStore:
    """The database file at `path`. Open it inside the event loop that will use it."""

    def __init__(self, path: Path) -> None:
        if sqlite.sqlite_version_info < FLOOR:
            raise StoreUnavailable(
                f"SQLite {sqlite.sqlite_version} can corrupt data; {'.'.join(map(str, FLOOR))} is needed"
            )
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._statements = Statements(DIALECT)
        self._heads = Heads(path.parent)
        try:
            self._clock = HouseClock(path.with_name("clock"))
            self._lock = os.open(path.with_name("write.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._quick = _connect(path)
            self._writing = _connect(path)
        except (OSError, sqlite.Error) as error:
            raise StoreUnavailable(f"cannot open the database {path}: {error}") from error
        self._quick_tx = SqliteTx(self._quick, self._statements, self._heads)
        self._scanners = ThreadPoolExecutor(max_workers=2, thread_name_prefix="scan")
        self._searchers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="search")
        self._changes = Changes()
        self._seen = self._data_version()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._waiting = Waiting()
        self._writer = threading.Thread(target=self._write_until_closed, name="writer", daemon=True)
        self._writer.start()

    # Reading

    async def read(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._read(self._quick_tx, verb, *args, **kwargs)

    async def scan(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._beside(self._scanners, verb, *args, **kwargs)

    async def search(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._beside(self._searchers, verb, *args, **kwargs)

    async def _beside(self, threads: ThreadPoolExecutor, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        look = _Look()

        def in_thread() -> T:
            try:
                connection = look.begin(self._path)
            except sqlite.Error as error:
                raise StoreUnavailable(str(error)) from error
            try:
                return self._read(SqliteTx(connection, self._statements, self._heads), verb, *args, **kwargs)
            finally:
                look.end()

        try:
            return await self._loop.run_in_executor(threads, in_thread)
        except asyncio.CancelledError:
            look.stop()
            raise

    def _read(self, tx: SqliteTx, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        tx.now = self._clock.now()
        try:
            tx.execute("BEGIN")
            try:
                return _drive(cast("Coroutine[Any, Any, T]", verb(tx, *args, **kwargs)))
            finally:
                tx.execute("ROLLBACK")
        except (sqlite.ProgrammingError, sqlite.IntegrityError):
            raise  # A mistake of ours, which trying again will not mend.
        except sqlite.Error as error:
            raise StoreUnavailable(str(error)) from error

    # Writing

    async def write(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", await self._ask(Job(verb, args, kwargs, self._loop.create_future())))

    write_guarded = write  # One writer at a time needs no guards.

    async def write_soon(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", await self._ask(Job(verb, args, kwargs, self._loop.create_future(), soon=True)))

    def _ask(self, job: Job) -> "asyncio.Future[Any]":
        if self._closed:
            raise StoreUnavailable("the store is closed")
        self._waiting.put(job)
        return job.answer

    def _write_until_closed(self) -> None:
        tx = SqliteTx(self._writing, self._statements, self._heads)
        while self._waiting.wait():
            self._write_some(tx)  # It keeps nothing: rows of a large upload would stay in memory until the next verb.

    def _write_some(self, tx: SqliteTx) -> None:
        """Run some jobs in one transaction, each in its savepoint, and have them answered after the commit."""
        jobs: list[Job] = []
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                outcomes = self._commit(tx, jobs)
                if tx.heads:
                    self._heads.write(tx.heads.values())
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        except StoreUnavailable as error:  # Of the heads.
            outcomes = [(None, error)] * len(jobs)
        except (OSError, sqlite.Error) as error:  # The transaction as a whole is lost, for example on a full disk.
            lost = StoreUnavailable(str(error))
            lost.__cause__ = error
            jobs = jobs or list(self._waiting.batch())
            outcomes = [(None, lost)] * len(jobs)
        self._loop.call_soon_threadsafe(self._answer, jobs, outcomes)

    def _commit(self, tx: SqliteTx, jobs: list[Job]) -> list[_Outcome]:
        """Take jobs, each before it is run, and return their outcomes after the commit."""
        if self._writing.in_transaction:  # What the last one could not roll back.
            tx.execute("ROLLBACK")
        tx.execute("BEGIN IMMEDIATE")
        outcomes: list[_Outcome] = []
        try:
            tx.heads = {}
            for job in self._waiting.batch():
                jobs.append(job)
                outcomes.append(self._run_in_savepoint(tx, job))
            tx.execute("COMMIT")
        except sqlite.Error:
            if self._writing.in_transaction:
                tx.execute("ROLLBACK")
            raise
        return outcomes

    def _run_in_savepoint(self, tx: SqliteTx, job: Job) -> _Outcome:
        tx.execute("SAVEPOINT verb")
        heads = tx.heads.copy()
        tx.now = self._clock.now()  # Those before it may have taken long.
        try:
            value = _drive(cast("Coroutine[Any, Any, Any]", job.verb(tx, *job.args, **job.kwargs)))
        except sqlite.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a verb raises belongs to its caller, not to the batch.
            tx.execute("ROLLBACK TO verb")
            tx.execute("RELEASE verb")
            tx.heads = heads
            return None, error
        tx.execute("RELEASE verb")
        return value, None

    def _answer(self, jobs: list[Job], outcomes: list[_Outcome]) -> None:
        self._changes.add()
        for job, (value, error) in zip(jobs, outcomes, strict=True):
            if job.answer.done():
                continue
            if error is None:
                job.answer.set_result(value)
            else:
                job.answer.set_exception(error)

    # Hints

    @property
    def generation(self) -> int:
        return self._changes.count

    async def changed(self, since: int) -> int:
        if self._watch is None:
            self._watch = self._loop.create_task(self._watch_other_processes())
        return await self._changes.past(since)

    def _data_version(self) -> int:
        return cast("int", self._quick.execute("PRAGMA data_version").fetchone()[0])

    async def _watch_other_processes(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                version = self._data_version()
            except sqlite.Error:  # Whoever reads next is told.
                continue
            if version != self._seen:
                self._seen = version
                self._changes.add()

    async def wipe(self) -> None:
        await self._loop.run_in_executor(None, self._empty_log)

    def _empty_log(self) -> None:
        try:
            with closing(_connect(self._path)) as connection, self._path.with_name("write.lock").open("a") as lock:
                connection.execute("PRAGMA busy_timeout=0")
                for _ in range(WIPE_TRIES):  # Readers that look at an older state are in the way.
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    if not busy:
                        return
                    time.sleep(WIPE_PAUSE_SECONDS)
        except (OSError, sqlite.Error) as error:
            raise StoreUnavailable(str(error)) from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True  # Before the last of the queue: behind it, a write would wait for ever.
        if self._watch:
            self._watch.cancel()
        self._waiting.close()
        await self._loop.run_in_executor(None, self._writer.join)
        self._scanners.shutdown()
        self._searchers.shutdown()
        self._quick.close()
        self._writing.close()
        self._clock.close()
        os.close(self._lock)
