"""What an event costs a change, committed with fsync, 16 writers at a time.

The change is a row that is updated, as a rule is; then the same with its event, in one organization's log (so all
writers wait for each other) and in sixteen. SQLite in one process and in two; PostgreSQL, with fsync, likewise.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, update

from server.core import credentials, events, organizations
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.events import Object
from server.store import migrate
from server.store.address import DatabaseAddress, PostgresAddress
from server.store.credentials import CREDENTIALS
from server.store.engine import Command, Store, StoreUnavailable, Tx
from server.store.opening import open_store
from tests.bench.postgres import Postgres
from tests.bench.table import compared

WRITERS, EACH, ROUNDS = 16, 100, 5
HOUSE = Caller("operator", Role.OPERATOR, None, "", "")
ACTOR = Caller("c1", Role.ADMIN, 1, "acme", "", "Anna")
_RENAME = Command(
    update(CREDENTIALS).where(CREDENTIALS.c.id == bindparam("credential")).values(display_name=bindparam("new"))
)
HOW = ("without event", "with event, 16 logs", "with event, one log")


async def change(tx: Tx, row: str, number: int, log: int | None) -> None:
    """Update a row, and tell of it in a log."""
    await tx.run(_RENAME, credential=row, new=str(number))
    if log is not None:
        about, after = Object("rule", row), {"name": str(number), "directives": [row] * 5}
        await events.record(tx, organization_id=log, actor=ACTOR, action="rule.updated", object=about, after=after)


async def fill(address: DatabaseAddress, folder: Path) -> tuple[list[str], list[int]]:
    """Make a row and an organization for each writer."""
    store = await open_store(address, folder)
    rows, logs = [], []
    for number in range(WRITERS):
        wanted = NewToken(organization="", kind=Role.TOKEN_ADMIN)
        digest = number.to_bytes(32, "big")
        made = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
        rows.append(made.id)
        logs.append((await store.write(organizations.create, name=f"o{number}")).id)
    await store.close()
    return rows, logs


async def write(store: Store, rows: list[str], logs: list[int | None]) -> tuple[list[float], int]:
    """Write from as many lanes as there are rows; return how long each change took, and how many were refused."""
    took: list[float] = []
    refused = 0

    async def lane(row: str, log: int | None) -> None:
        nonlocal refused
        for number in range(EACH):
            began = time.perf_counter()
            try:
                await store.write(change, row, number, log)
            except StoreUnavailable:
                refused += 1
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(lane(row, log) for row, log in zip(rows, logs, strict=True)))
    return took, refused


def process(
    address: DatabaseAddress, folder: Path, rows: list[str], logs: list[Any], start: Barrier, told: Any
) -> None:
    """Be one of the processes that write."""

    async def run() -> None:
        store = await open_store(address, folder)
        await store.read(organizations.names, caller=HOUSE, every=True, skip=0, most=1)
        start.wait()
        told.put(await write(store, rows, logs))
        await store.close()

    asyncio.run(run())


def round_of(
    address: DatabaseAddress, folder: Path, rows: list[str], logs: list[Any], processes: int
) -> tuple[float, list[float], int]:
    """Return the changes a second of all processes together, how long each took, and how many were refused."""
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(processes + 1), context.Queue()
    workers = [
        context.Process(target=process, args=(address, folder, rows[i::processes], logs[i::processes], start, told))
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    answers = [told.get() for _ in workers]
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    took = sorted(each for answer, _ in answers for each in answer)
    return len(took) / seconds, took, sum(refused for _, refused in answers)


def measure_on(name: str, address: DatabaseAddress, folder: Path) -> None:
    """Print what changes cost with and without their event, in interleaved rounds."""
    rows, logs = asyncio.run(fill(address, folder))
    kinds: dict[str, list[Any]] = {HOW[0]: [None] * WRITERS, HOW[1]: list(logs), HOW[2]: [logs[0]] * WRITERS}
    for processes in (1, 2):
        found: dict[str, list[tuple[float, list[float], int]]] = {how: [] for how in HOW}
        for _ in range(ROUNDS):
            for how, whose in kinds.items():
                found[how].append(round_of(address, folder, rows, whose, processes))
        plain = [rate for rate, _, _ in found[HOW[0]]]
        for how in HOW:
            pairs = [(rate, base) for (rate, _, _), base in zip(found[how], plain, strict=True)]
            took = sorted(each for _, times, _ in found[how] for each in times)
            p50, p99 = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
            refused = sum(refused for _, _, refused in found[how])
            what = f"changes on {name}, {processes} process{'es' * (processes > 1)}, {how}"
            seen = f", p50 {p50:.1f} ms, p99 {p99:.1f} ms, {refused} refused"
            compared(what, pairs, "{:.0f}/s", beside=HOW[0], seen=seen)


def measure(folder: Path) -> None:
    """Measure on both engines."""
    database = folder / "taskhouse.db"
    migrate.upgrade(database)
    measure_on("SQLite", database, folder)
    heads = folder / "heads"
    heads.mkdir()
    postgres = Postgres(folder / "postgres")
    try:
        address = PostgresAddress.parse(postgres.database("events"))
        migrate.upgrade(address)
        measure_on("PostgreSQL", address, heads)
    finally:
        postgres.stop()
