"""What is PostgreSQL's own: collisions, lost connections, and that nothing waits for ever."""

import asyncio
import socket
import time
from functools import partial

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from server.store import postgres as engine_room
from server.store.address import PostgresAddress
from server.store.engine import Command, Query, StoreUnavailable, Tx
from server.store.opening import open_store
from server.store.postgres import PostgresStore, connect
from tests import databases
from tests.store.names import NAMES, RENAME, Name, Refused, add, add_then_refuse, count_on, names, number

COLLIDE = Command(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))
SLEEP = Command(text("SELECT pg_sleep(60)"))
LOCK_TABLE = Query(text("LOCK TABLE organizations IN ACCESS EXCLUSIVE MODE"), Name)
ISOLATION = Query(text("SELECT current_setting('transaction_isolation')"), Name)
OPEN = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
DIE = Command(text("SELECT pg_terminate_backend(pg_backend_pid())"))
DIE_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON organizations DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION die();
"""


@pytest.fixture
def engine() -> str:
    return "postgresql"


async def until(enough) -> None:
    async with asyncio.timeout(20):
        while not enough():  # noqa: ASYNC110 - what is waited for has no event.
            await asyncio.sleep(0.01)


# Collisions


async def test_a_verb_that_collided_is_run_again_as_a_whole(store):
    times = []

    async def collide_at_first(tx: Tx, name: str) -> str:
        times.append(tx.now)
        await add(tx, f"{name} {len(times)}")
        if len(times) < 3:
            await tx.run(COLLIDE)
        return await add(tx, name)

    assert await store.write(collide_at_first, "try") == "try"
    assert await store.read(names) == ["try", "try 3"]
    assert times == sorted(set(times))


async def test_a_verb_that_always_collides_is_given_up(store, monkeypatch):
    monkeypatch.setattr(engine_room, "TRIES", 5)
    tries = []

    async def collide(tx: Tx) -> None:
        tries.append(await add(tx, "never"))
        await tx.run(COLLIDE)

    with pytest.raises(StoreUnavailable, match="others have changed the same"):
        await store.write(collide)
    assert len(tries) == 5
    assert await store.read(names) == []


async def test_what_is_not_unique_is_our_mistake_in_the_end(store):
    await store.write(add, "there")
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.write(add, "there")
    assert await store.write(add, "next") == "next"


async def test_verbs_that_have_collided_take_turns_with_those_of_other_processes(store, elsewhere, monkeypatch):
    monkeypatch.setattr(engine_room, "CALM_SECONDS", 60)
    await store.write(add, "a")
    tries = []

    async def count(tx: Tx, *, collides: bool = False) -> None:
        tries.append(collides)
        await count_on(tx, "a")
        if collides and len(tries) % 2:
            await tx.run(COLLIDE)

    for one in (store, elsewhere):
        await one.write(count, collides=True)
    before = await store.read(number, "a")
    tries.clear()
    await asyncio.gather(*(one.write(count) for one in (store, elsewhere) for _ in range(50)))
    assert len(tries) == 100
    assert await store.read(number, "a") == before + 100


@pytest_asyncio.fixture
async def turn(store, address):
    """Another process has the turn of those that have collided, in all tests' time; `turn` ends it."""
    connection = await connect(address)
    await connection.execute("BEGIN; LOCK TABLE alembic_version IN SHARE UPDATE EXCLUSIVE MODE")
    yield partial(connection.execute, "ROLLBACK")
    await connection.close()


@pytest.fixture
def collided(store, monkeypatch):
    """A verb that takes turns, and returns its time."""
    monkeypatch.setattr(engine_room, "CALM_SECONDS", 60)

    async def tell_time(tx: Tx) -> int:
        await names(tx)
        return tx.now

    store._collided[tell_time.__code__] = time.monotonic()
    return tell_time


WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"


async def waits(rows) -> None:
    async with asyncio.timeout(20):
        while not await rows(WAITING):  # noqa: ASYNC110 - what is waited for has no event.
            await asyncio.sleep(0.01)


async def test_the_time_of_a_verb_that_took_turns_is_later_than_its_turn_s_begin(store, turn, collided, rows):
    writing = asyncio.ensure_future(store.write(collided))
    await waits(rows)
    before = await store.write_soon(collided)
    await turn()
    assert await writing > before


async def test_what_must_keep_its_time_takes_no_turns(store, turn):
    tries = []

    async def collide_at_first(tx: Tx) -> int:
        tries.append(await names(tx))
        if len(tries) < 3:
            await tx.run(COLLIDE)
        return len(tries)

    assert await asyncio.wait_for(store.write_soon(collide_at_first), 5) == 3


async def test_who_gives_up_while_it_waits_for_its_turn_leaves_no_transaction_open(store, turn, collided, rows, caplog):
    writing = asyncio.ensure_future(store.write(collided))
    await waits(rows)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(writing, 5)
    await turn()
    assert await rows(OPEN) == []
    assert await store.write(collided)
    assert caplog.text == ""


async def test_verbs_that_wait_for_each_other_both_succeed(store, elsewhere):
    for name in ("a", "b"):
        await store.write(add, name)
    before = await store.read(number, "a")

    async def both(tx: Tx, first: str, second: str) -> None:
        await count_on(tx, first)
        await count_on(tx, second)

    orders = [("a", "b"), ("b", "a")] * 10
    await asyncio.gather(*(one.write(both, *order) for one in (store, elsewhere) for order in orders))
    assert await store.read(number, "a") == before + 40


async def test_a_guarded_write_sees_what_was_committed_before_each_statement(store, elsewhere):
    async def watch(tx: Tx) -> list[str]:
        before = await tx.all(NAMES)
        await elsewhere.write(add, "meanwhile")  # No verb of the house would: this is another's commit, at that moment.
        return [row.name for row in await tx.all(NAMES) if row not in before]

    assert await store.write_guarded(watch) == ["meanwhile"]


async def test_a_read_of_several_statements_is_on_one_snapshot(store, elsewhere):
    async def watch(tx: Tx, name: str) -> tuple[list[str], list[str]]:
        before = await names(tx)
        if before or await names(tx) == before:  # In a transaction, at any rate.
            await elsewhere.write(add, name)
        return before, await names(tx)

    for name, read in (("a", store.read), ("b", store.read), ("c", store.scan)):
        before, after = await read(watch, name)
        assert before == after


async def test_a_verb_cannot_go_on_after_a_statement_of_it_failed(store):
    async def go_on(tx: Tx) -> None:
        await add(tx, "lost")
        with pytest.raises(asyncpg.UndefinedTableError):
            await tx.run(Command(text("DELETE FROM nothing")))

    with pytest.raises(RuntimeError, match="went on"):
        await store.write(go_on)
    assert await store.read(names) == []


async def test_what_the_database_s_owner_has_set_makes_no_other_transactions(postgres):
    address = postgres.fresh(template="template")
    name = databases.name_of(address)
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    store = await open_store(address)

    async def isolation(tx: Tx) -> str:
        [found] = await tx.all(ISOLATION)
        return found.name

    assert await store.read(isolation) == "read committed"  # Of a single statement, which cannot collide.
    assert await store.write(isolation) == "serializable"
    await store.close()


# Connections that are lost


async def test_a_connection_that_is_lost_is_told_at_once_and_followed_by_another(store):
    async def die(tx: Tx) -> None:
        await add(tx, "lost")
        await tx.run(DIE)

    with pytest.raises(StoreUnavailable, match="terminating connection"):
        await store.write(die)
    assert await store.write(add, "next") == "next"
    assert await store.read(names) == ["next"]


async def test_a_commit_whose_outcome_is_unknown_is_not_tried_again(postgres):
    address = postgres.fresh(template="template")
    postgres.run(DIE_AT_COMMIT, database=databases.name_of(address))
    store = await open_store(address)
    runs = []

    async def counted(tx: Tx) -> None:
        runs.append(await add(tx, "unknown"))

    with pytest.raises(StoreUnavailable):
        await store.write(counted)
    assert len(runs) == 1
    await store.close()


@pytest.fixture
def own_server():
    """A database server that a test may stop."""
    with databases.postgres() as server:
        yield server


async def test_a_database_that_goes_away_and_comes_back_loses_nothing_that_was_acknowledged(own_server):
    address = own_server.address("empty")
    store = await open_store(address)
    waiting = asyncio.ensure_future(store.changed(store.generation))
    acknowledged, refused, stopping = [], [], asyncio.Event()

    async def write_on(lane: int) -> None:
        number = 0
        while not stopping.is_set():
            name = f"{lane} {number}"
            try:
                acknowledged.append(await store.write(add, name))
            except StoreUnavailable:
                refused.append(name)
                await asyncio.sleep(0.01)
            number += 1

    lanes = [asyncio.ensure_future(write_on(lane)) for lane in range(10)]
    await until(lambda: len(acknowledged) > 100)
    await asyncio.to_thread(own_server.stop, keep=True)
    await until(lambda: len(refused) > 100)
    for call in (store.read, store.scan):
        with pytest.raises(StoreUnavailable, match="setting `database`"):
            await call(names)
    before = len(acknowledged)
    await asyncio.to_thread(own_server.start)
    await until(lambda: len(acknowledged) > before + 100)
    stopping.set()
    await asyncio.gather(*lanes)
    assert set(acknowledged) <= set(await store.read(names))
    await asyncio.wait_for(waiting, 5)

    elsewhere = await open_store(address)  # And hints come again.
    since = store.generation
    await elsewhere.write(add, "hint")
    await asyncio.wait_for(store.changed(since), 5)
    await elsewhere.close()
    await store.close()


# Nothing waits for ever


@pytest.mark.parametrize(("how", "limit"), [("write", "STATEMENT_SECONDS"), ("write_soon", "KEEPER_SECONDS")])
async def test_a_statement_that_takes_too_long_is_ended(address, monkeypatch, how, limit):
    monkeypatch.setattr(engine_room, limit, 1)
    store = await open_store(address)

    async def sleep(tx: Tx) -> None:
        await tx.run(SLEEP)

    with pytest.raises(StoreUnavailable, match="statement timeout"):
        await asyncio.wait_for(getattr(store, how)(sleep), 10)
    assert await store.write(add, "next") == "next"
    await store.close()


async def test_who_waits_too_long_for_a_lock_or_a_connection_is_told(address, monkeypatch):
    monkeypatch.setitem(engine_room._SETTINGS, "lock_timeout", "200ms")
    monkeypatch.setattr(engine_room, "WRITERS", 2)
    monkeypatch.setattr(engine_room, "BUSY_SECONDS", 0.5)
    store = await open_store(address)
    held, enough = [], asyncio.Event()

    async def hold(tx: Tx, *, lock: bool) -> None:
        if lock:
            await tx.all(LOCK_TABLE)
        held.append(lock)
        await enough.wait()

    holding = [asyncio.ensure_future(store.write(hold, lock=True))]
    await until(lambda: held)
    with pytest.raises(StoreUnavailable, match="lock timeout") as told:
        await asyncio.wait_for(store.write(add, "late"), 5)
    assert told.value.remedy == "try again later"
    holding.append(asyncio.ensure_future(store.write(hold, lock=False)))
    await until(lambda: len(held) == 2)
    with pytest.raises(StoreUnavailable, match=r"all 2 connections to .* are in use") as told:
        await asyncio.wait_for(store.write(add, "late"), 5)
    assert "its URL" not in told.value.remedy  # The database is well.
    other = engine_room.KEEPERS * ["soon"]
    assert await asyncio.wait_for(asyncio.gather(*(store.write_soon(say, word) for word in other)), 5) == other
    enough.set()
    await asyncio.gather(*holding)
    assert await store.write(add, "next") == "next"
    await store.close()


async def say(tx: Tx, word: str) -> str:
    await tx.all(ISOLATION)
    return word


async def test_a_server_that_accepts_and_says_nothing_is_unavailable(monkeypatch):
    monkeypatch.setattr(engine_room, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = PostgresAddress.parse(f"postgresql://u:secret@127.0.0.1:{silent.getsockname()[1]}/db")
        with pytest.raises(StoreUnavailable, match="no answer in time") as told:
            await asyncio.wait_for(open_store(address), 5)
    assert "secret" not in str(told.value)


async def test_a_caller_that_gives_up_leaves_nothing_and_no_transaction_open(store, rows):
    locked = asyncio.Event()

    async def hang(tx: Tx) -> None:
        await add(tx, "left")
        locked.set()
        await tx.run(SLEEP)

    calling = asyncio.ensure_future(store.write(hang))
    await locked.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(calling, 5)
    assert await store.write(add, "next") == "next"
    assert await store.read(names) == ["next"]
    assert await rows(OPEN) == []


# Ends


async def test_the_last_write_of_a_command_is_told_to_the_others(store, address):
    since = await store.changed(store.generation)  # Which is past the listener's start.
    command = await PostgresStore.open(address)
    await command.write(add, "x")
    await command.close()
    await asyncio.wait_for(store.changed(since), 5)
    with pytest.raises(Refused):
        await store.write(add_then_refuse, "y")
    assert await store.write(lambda tx: tx.run(RENAME, old="x", new="z")) == 1
