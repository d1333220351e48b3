import asyncio
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import bindparam, insert, select, update

from server.store.engine import Command, Query, StoreUnavailable, Tx
from server.store.organizations import ORGANIZATIONS
from server.store.sqlite import SqliteStore, SqliteTx

ADD = Command(insert(ORGANIZATIONS).values(name=bindparam("name"), create_time=bindparam("now")))
RENAME = Command(update(ORGANIZATIONS).where(ORGANIZATIONS.c.name == bindparam("old")).values(name=bindparam("new")))


class Name(NamedTuple):
    name: str


NAMES = Query(select(ORGANIZATIONS.c.name).order_by(ORGANIZATIONS.c.name), Name)


class Refused(Exception):
    pass


async def add(tx: Tx, name: str) -> str:
    await tx.run(ADD, name=name, now=tx.now)
    return name


async def add_then_refuse(tx: Tx, name: str) -> None:
    await tx.run(ADD, name=name, now=tx.now)
    raise Refused


async def names(tx: Tx) -> list[str]:
    return [row.name for row in await tx.all(NAMES)]


async def test_a_verb_that_raises_changes_nothing_and_its_neighbours_in_the_batch_commit(store: SqliteStore) -> None:
    verbs = [store.write(add, f"good-{i}") for i in range(50)] + [store.write(add_then_refuse, "bad")]
    outcomes = await asyncio.gather(*verbs, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Refused) == 1
    assert await store.read(names) == sorted(f"good-{i}" for i in range(50))


async def test_a_write_is_answered_only_when_another_connection_can_read_it(store: SqliteStore, data: Path) -> None:
    await store.write(add, "seen")
    other = sqlite.connect(str(data / "taskhouse.db"))
    assert other.execute("SELECT name FROM organizations").fetchall() == [("seen",)]
    other.close()


async def test_a_verb_may_not_wait_for_anything_but_its_transaction(store: SqliteStore) -> None:
    async def sleepy(tx: Tx) -> None:
        await tx.run(ADD, name="half", now=tx.now)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something else"):
        await store.write(sleepy)
    assert await store.read(names) == []


async def test_a_read_cannot_write(store: SqliteStore) -> None:
    await store.read(add, "unwritten")
    assert await store.read(names) == []


async def test_a_scan_sees_what_was_committed_before_it(store: SqliteStore) -> None:
    await store.write(add, "a")
    assert await store.scan(names) == ["a"]


async def test_run_tells_how_many_rows_it_touched(store: SqliteStore) -> None:
    await store.write(add, "old")

    async def rename(tx: Tx, old: str) -> int:
        return await tx.run(RENAME, old=old, new="new")

    assert await store.write(rename, "old") == 1
    assert await store.write(rename, "old") == 0


async def test_rows_in_another_order_than_the_statement_takes_are_refused(store: SqliteStore) -> None:
    async def crossed(tx: Tx) -> None:
        await tx.insert_many(ADD, ("now", "name"), [(1, "x")])

    with pytest.raises(ValueError, match="takes"):
        await store.write(crossed)


async def test_a_commit_of_this_process_wakes_who_waits_for_change(store: SqliteStore) -> None:
    waiting = asyncio.ensure_future(store.changed(store.generation))
    await asyncio.sleep(0)
    await store.write(add, "x")
    await asyncio.wait_for(waiting, 5)


async def test_a_commit_of_another_process_wakes_who_waits_for_change(store: SqliteStore, data: Path) -> None:
    waiting = asyncio.ensure_future(store.changed(store.generation))
    await asyncio.sleep(0)
    other = SqliteStore(data / "taskhouse.db")
    await other.write(add, "x")
    await other.close()
    await asyncio.wait_for(waiting, 5)


async def test_a_full_disk_refuses_the_write_and_the_store_works_on_when_there_is_room(store: SqliteStore) -> None:
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        await store.write(add, "x" * 100_000)
    store._writing.execute("PRAGMA max_page_count=1000000")
    assert await store.write(add, "fits") == "fits"
    assert await store.read(names) == ["fits"]


async def test_a_closed_store_refuses_writes(data: Path) -> None:
    closed = SqliteStore(data / "taskhouse.db")
    await closed.close()
    with pytest.raises(StoreUnavailable):
        await closed.write(add, "late")


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


WRITER = """
import asyncio, sys
from pathlib import Path
from server.store.sqlite import SqliteStore
from tests.store.test_sqlite import add

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    async def lane(number):
        for i in range(1_000_000):
            print(await store.write(add, f"{sys.argv[2]}-{number}-{i}"), flush=True)
    await asyncio.gather(*map(lane, range(20)))

asyncio.run(main())
"""


def test_no_acknowledged_write_is_lost_when_writing_processes_are_killed(data: Path) -> None:
    path = data / "taskhouse.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, prefix], stdout=subprocess.PIPE, text=True)
        for prefix in ("a", "b")
    ]
    acknowledged = {writer.stdout.readline() for writer in writers for _ in range(300)}
    for writer in writers:
        writer.kill()
        acknowledged |= {line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
        writer.stdout.close()
        writer.wait()
    connection = sqlite.connect(str(path))
    stored = {name + "\n" for (name,) in connection.execute("SELECT name FROM organizations")}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert len(acknowledged) >= 600
    assert acknowledged <= stored
