"""A house, or its database, that is away and comes back: living workers keep their tasks, and nothing is done twice.

`AWAY=14` has the database be away for longer than a session lasts; without it, until it is noticed.
"""

import asyncio
import os
import signal
import time

import pytest
from sqlalchemy import update

from server.store.address import DatabaseAddress
from server.store.engine import Command, Tx
from server.store.opening import open_store
from server.store.work import SESSIONS
from tests.chaos.house import until
from tests.chaos.test_workers import scene
from tests.databases import Postgres

__all__ = ["scene"]  # A fixture.

AWAY_SECONDS = float(os.environ.get("AWAY", "0"))
END_ALL = Command(update(SESSIONS).values(expire_time=1))


async def end_all_sessions(tx: Tx) -> None:
    await tx.run(END_ALL)


async def long_after(address: DatabaseAddress) -> None:
    """Have it be long after every session's time, while no server runs."""
    store = await open_store(address)
    await store.write(end_all_sessions)
    await store.close()


async def test_a_house_that_was_away_for_long_leaves_a_living_worker_its_task(scene, address):
    near, far = scene.house.near, scene.house.far
    scene.start(far)
    await scene.ask("wait")
    await scene.until(("RUNNING", 1))
    for server in scene.house.servers:
        scene.house.kill(server)
    await long_after(address)
    os.kill(far.pid, signal.SIGSTOP)  # So the other one is there before it.
    scene.start(near)
    await scene.ask("count")
    await scene.until(("RUNNING", 1), ("SUCCEEDED", 1))
    os.kill(far.pid, signal.SIGCONT)
    scene.gate.touch()
    await scene.until(("SUCCEEDED", 1), ("SUCCEEDED", 1))


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_a_database_that_was_away_leaves_living_workers_their_tasks(scene, postgres: Postgres):
    scene.start(scene.house.near, scene.house.far)
    await scene.ask("wait", "wait")
    await scene.until(("RUNNING", 1), ("RUNNING", 1))
    await asyncio.to_thread(postgres.stop, keep=True)
    back = time.monotonic() + AWAY_SECONDS
    try:
        async with scene.house.client("task_runner") as client:

            async def is_noticed() -> bool:
                return (await client.get("/v1/tasks")).status_code == 503 and time.monotonic() >= back

            await until(is_noticed, "the database's end to be noticed")
    finally:
        await asyncio.to_thread(postgres.start)
    await scene.ask("count")
    await scene.until(("RUNNING", 1), ("RUNNING", 1), ("SUCCEEDED", 1))
    scene.gate.touch()
    await scene.until(*[("SUCCEEDED", 1)] * 3)
