"""What every engine gives."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from server.store.engine import StoreUnavailable, Tx
from server.store.opening import open_store
from tests.databases import apart
from tests.store.names import (
    ADD,
    RENAME,
    Refused,
    add,
    add_then_refuse,
    add_unless_there,
    count_on,
    names,
    names_for_ever,
    now,
    number,
)


async def test_a_verb_that_raises_changes_nothing_and_those_beside_it_commit(store):
    verbs = [store.write(add, f"good-{i}") for i in range(50)] + [store.write(add_then_refuse, "bad")]
    outcomes = await asyncio.gather(*verbs, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Refused) == 1
    assert await store.read(names) == sorted(f"good-{i}" for i in range(50))


@pytest.mark.parametrize("how", ["write", "write_guarded", "write_soon"])
async def test_a_write_is_answered_only_when_another_connection_can_read_it(store, rows, how):
    await getattr(store, how)(add, "seen")
    assert await rows("SELECT name FROM organizations") == [("seen",)]


async def test_a_read_cannot_write(store):
    for read in (store.read, store.scan, store.search):
        with suppress(StoreUnavailable):
            await read(add, "unwritten")
    assert await store.read(names) == []


@pytest.mark.parametrize("how", ["scan", "search"])
async def test_what_is_read_at_length_ends_when_nobody_waits_for_it(store, how):
    await store.write(add, "a")
    read = getattr(store, how)
    endless = [asyncio.ensure_future(read(names_for_ever)) for _ in range(5)]
    await asyncio.wait(endless, timeout=0.2)
    assert not any(one.done() for one in endless)
    for one in endless:
        one.cancel()
    await asyncio.gather(*endless, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await read(names) == ["a"]


async def test_no_scan_waits_for_searches(store):
    endless = [asyncio.ensure_future(store.search(names_for_ever)) for _ in range(5)]
    await asyncio.wait(endless, timeout=0.1)
    async with asyncio.timeout(5):
        assert await store.scan(names) == []
    for one in endless:
        one.cancel()
    await asyncio.gather(*endless, return_exceptions=True)


async def test_a_scan_sees_what_was_committed_before_it(store):
    await store.write(add, "a")
    assert await store.scan(names) == ["a"]


async def test_a_read_of_several_statements_is_as_good_as_one_of_a_single_one(store):
    async def twice(tx: Tx) -> list[str]:
        return [*await names(tx), *await names(tx)]

    await store.write(add, "a")
    for _ in range(3):
        assert await store.read(twice) == ["a", "a"]


async def test_run_tells_how_many_rows_it_touched(store):
    async def rename(tx: Tx, old: str) -> int:
        return await tx.run(RENAME, old=old, new="new")

    await store.write(add, "old")
    assert await store.write(rename, "old") == 1
    assert await store.write(rename, "old") == 0


async def test_many_rows_are_inserted_together_or_not_at_all(store):
    async def add_many(tx: Tx, wanted: list[str]) -> None:
        await tx.insert_many(ADD, ("name", "now"), [(name, tx.now) for name in wanted])

    wanted = [f"{number:05}" for number in range(20_000)]
    await store.write(add_many, wanted)
    assert await store.scan(names) == wanted
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.write(add_many, ["new", "00007"])
    assert await store.scan(names) == wanted


async def test_rows_in_another_order_than_the_statement_takes_are_refused(store):
    async def crossed(tx: Tx) -> None:
        await tx.insert_many(ADD, ("now", "name"), [(1, "x")])

    with pytest.raises(ValueError, match="takes"):
        await store.write(crossed)


async def test_names_are_in_the_order_of_their_code_points(store):
    wanted = sorted(["a", "B", "_", "-", "ä", "z", "Z", "10", "9", "a b", "ab", "\U0001f600", "\uffee"])
    for name in reversed(wanted):
        await store.write(add, name)
    assert await store.read(names) == wanted


# Several at once


async def test_no_update_of_two_processes_is_lost(store, elsewhere):
    await store.write(add, "counter")
    before = await store.read(number, "counter")
    await asyncio.gather(*(one.write(count_on, "counter") for one in (store, elsewhere) * 50))
    assert await store.read(number, "counter") == before + 100


async def test_of_those_who_look_and_add_the_same_at_once_one_adds_and_all_others_find_it(store, elsewhere):
    outcomes = await asyncio.gather(
        *(one.write(add_unless_there, "wanted") for one in (store, elsewhere) * 10), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] + ["Refused"] * 19
    assert await store.read(names) == ["wanted"]


# Time


async def test_the_time_of_a_transaction_is_that_of_the_machine_and_never_goes_back(store, elsewhere):
    before = time.time_ns() // 1000
    times = [await work(now) for _ in range(20) for one in (store, elsewhere) for work in (one.write, one.read)]
    after = time.time_ns() // 1000
    of_the_first = times[0::4]
    assert of_the_first == sorted(of_the_first)
    assert before - 100_000 <= min(times) <= max(times) <= after + 100_000


# Hints


async def test_a_commit_of_this_process_wakes_who_waits_for_change(store):
    waiting = asyncio.ensure_future(store.changed(store.generation))
    await asyncio.sleep(0)
    await store.write(add, "x")
    await asyncio.wait_for(waiting, 5)


async def test_a_commit_of_another_process_wakes_at_once_who_waits_for_change(store, elsewhere):
    async def delay(name: str) -> float:
        waiting = asyncio.ensure_future(store.changed(await store.changed(store.generation - 1)))
        await asyncio.sleep(0)
        await elsewhere.write(add, name)
        written = time.monotonic()
        await asyncio.wait_for(waiting, 5)
        return time.monotonic() - written

    delays = [await delay(str(number)) for number in range(15)]
    assert median(delays) < 0.1  # Without a hint it would be found by looking twice a second.


# Ends


async def test_a_closed_store_refuses_everything(address):
    closed = await open_store(address)
    await closed.close()
    await closed.close()
    with pytest.raises(StoreUnavailable):
        await closed.write(add, "late")


WRITER = """
import asyncio, sys
from server.settings import load
from server.store.opening import open_store
from tests.store.names import add

async def main():
    store = await open_store(load(data=sys.argv[1]).database)
    async def lane(number):
        for i in range(1_000_000):
            print(await store.write(add, f"{sys.argv[2]}-{number}-{i}"), flush=True)
    await asyncio.gather(*map(lane, range(20)))

asyncio.run(main())
"""


def test_no_acknowledged_write_is_lost_when_writing_processes_are_killed(address, rows, tmp_path):
    where = {} if isinstance(address, Path) else {"TASKHOUSE_DATABASE": address.url}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, prefix],
            stdout=subprocess.PIPE, text=True, env=os.environ | where,
        )
        for prefix in ("a", "b")
    ]  # fmt: skip
    acknowledged = {writer.stdout.readline() for writer in writers for _ in range(300)}
    for writer in writers:
        writer.kill()
        acknowledged |= {line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
        writer.stdout.close()
        writer.wait()
    stored = {name + "\n" for (name,) in apart(rows("SELECT name FROM organizations"))}
    assert len(acknowledged) >= 600
    assert acknowledged <= stored
