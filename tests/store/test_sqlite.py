"""What is SQLite's own: its one writer, its file, and the clock that all processes on it share."""

import asyncio
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from server.store.engine import StoreUnavailable, Tx
from server.store.sqlite import CHECKPOINT_PAGES, SqliteStore, SqliteTx
from server.store.waiting import BATCH_SECONDS
from tests.store.names import ADD, add, names, now


@pytest.fixture
def engine() -> str:
    return "sqlite"


async def test_a_verb_may_not_wait_for_anything_but_its_transaction(store: SqliteStore) -> None:
    async def sleepy(tx: Tx) -> None:
        await tx.run(ADD, name="half", now=tx.now)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something else"):
        await store.write(sleepy)
    assert await store.read(names) == []


async def test_what_is_to_be_soon_does_not_wait_for_what_waited_before_it(store: SqliteStore) -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def hold(tx: Tx) -> None:
        begun.set()
        assert go_on.wait(10)

    held = asyncio.ensure_future(store.write(hold))
    assert await asyncio.to_thread(begun.wait, 10)
    adding = [asyncio.ensure_future(store.write(add, str(number))) for number in range(50)]
    seen = asyncio.ensure_future(store.write_soon(names))
    await asyncio.sleep(0)
    go_on.set()
    assert await seen == []
    await asyncio.gather(held, *adding)


async def test_what_takes_long_is_committed_before_others_are_run_and_they_have_their_own_time(
    store: SqliteStore, data: Path
) -> None:
    async def long(tx: Tx) -> int:
        await add(tx, "long")
        until = time.monotonic() + 2 * BATCH_SECONDS
        while time.monotonic() < until:
            pass
        return tx.now

    async def look(tx: Tx) -> tuple[int, list[str]]:
        with closing(sqlite.connect(str(data / "taskhouse.db"))) as another:
            return tx.now, [name for (name,) in another.execute("SELECT name FROM organizations")]

    begun, (time_, seen) = await asyncio.gather(store.write(long), store.write(look))
    assert seen == ["long"]
    assert time_ >= begun + 2 * BATCH_SECONDS * 1_000_000


async def test_a_full_disk_refuses_the_write_and_the_store_works_on_when_there_is_room(store: SqliteStore) -> None:
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        await store.write(add, "x" * 100_000)
    store._writing.execute("PRAGMA max_page_count=1000000")
    assert await store.write(add, "fits") == "fits"
    assert await store.read(names) == ["fits"]


async def test_a_write_that_comes_while_the_store_closes_is_refused(data: Path) -> None:
    closing = SqliteStore(data / "taskhouse.db")
    ended = asyncio.ensure_future(closing.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(closing.write(add, "late"), 5)
    await ended


async def test_whatever_befalls_the_writer_is_answered_and_it_goes_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as broken:
        broken.setattr("server.store.sqlite.fcntl.flock", fail)
        with pytest.raises(StoreUnavailable, match="No locks available"):
            await asyncio.wait_for(store.write(add, "x"), 5)
    assert await store.write(add, "y") == "y"


async def test_a_transaction_that_could_not_be_rolled_back_keeps_no_later_one_from_committing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(SqliteTx):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            run = self.execute

            def failing(sql: str) -> object:
                if sql in fails:
                    fails.remove(sql)
                    raise sqlite.OperationalError(sql)
                return run(sql)

            self.execute = failing

    fails = ["COMMIT", "ROLLBACK"]
    await store.close()
    monkeypatch.setattr("server.store.sqlite.SqliteTx", Failing)
    again = SqliteStore(store._path)
    with pytest.raises(StoreUnavailable, match="ROLLBACK"):
        await asyncio.wait_for(again.write(add, "x"), 5)
    assert await again.write(add, "y") == "y"
    assert await again.scan(names) == ["y"]
    await again.close()


async def test_a_broken_database_is_unavailable_to_readers(data: Path) -> None:
    path = data / "taskhouse.db"
    broken = SqliteStore(path)
    path.write_bytes(b"broken" * 10_000)
    for read in (broken.read, broken.scan):
        with pytest.raises(StoreUnavailable, match=r"malformed|not a database"):
            await read(names)
    await broken.close()


# Time


def set_clock(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * 1e9))


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_time_goes_on_evenly_in_all_processes_when_the_machine_s_clock_is_set(
    store: SqliteStore, data: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    before = await store.write(now)
    set_clock(monkeypatch, seconds=seconds)
    late = SqliteStore(data / "taskhouse.db")  # As a process that starts only now.
    after = [await store.write(now), await late.write(now), await store.read(now), await late.scan(now)]
    await late.close()
    assert all(before <= one < before + 60_000_000 for one in after)


async def test_a_house_that_is_started_again_takes_the_machine_s_time(
    store: SqliteStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await store.write(now)
    await store.close()
    set_clock(monkeypatch, seconds=3600)
    again = SqliteStore(data / "taskhouse.db")
    assert await again.write(now) >= before + 3_600_000_000
    await again.close()


async def test_a_clock_that_cannot_be_kept_is_told(data: Path) -> None:
    (data / "clock").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot keep the time"):
        SqliteStore(data / "taskhouse.db")


def in_files(data: Path, text: str) -> list[str]:
    return [path.name for path in data.iterdir() if path.is_file() and text.encode() in path.read_bytes()]


async def test_what_was_deleted_is_in_no_file_after_a_wipe(store: SqliteStore, data: Path) -> None:
    await store.write(add, "to-be-forgotten")
    assert in_files(data, "to-be-forgotten")
    store._writing.execute("DELETE FROM organizations")
    await store.wipe()
    assert in_files(data, "to-be-forgotten") == []


async def test_a_wipe_does_not_wait_for_a_long_scan_and_keeps_nobody_from_writing(
    store: SqliteStore, data: Path
) -> None:
    await store.write(add, "x")
    reader = sqlite.connect(str(data / "taskhouse.db"), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT name FROM organizations").fetchall()
    await store.write(add, "y")
    wiped = asyncio.ensure_future(store.wipe())
    assert await asyncio.wait_for(store.write(add, "z"), 5) == "z"
    await asyncio.wait_for(wiped, 20)
    reader.close()


async def test_the_log_of_pages_grows_to_a_bound_and_is_empty_after_a_wipe(store: SqliteStore, data: Path) -> None:
    log = data / "taskhouse.db-wal"
    bound = CHECKPOINT_PAGES * 4096 + 10_000_000  # and what one commit adds
    sizes = []
    for number in range(24):
        await store.write(add, f"{number:02}" + "x" * 4_000_000)
        sizes.append(log.stat().st_size)
    assert 20_000_000 < max(sizes) < bound
    await store.wipe()
    assert log.stat().st_size == 0
