"""Workers that die, freeze, drain or come from another machine, as real processes."""

import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from server.core.work import DIED, MAX_FAILURES
from server.store.address import DatabaseAddress
from tests import databases
from tests.chaos.house import House, Part, post, until

TASKS = "SELECT id, state, attempt, failures, error, result_count FROM tasks ORDER BY id"
CONTENTS = "SELECT content FROM results"


class Task(NamedTuple):
    id: str
    state: str
    attempt: int
    failures: int
    error: str | None
    result_count: int


class Scene:
    """A house with some parts running, and its tasks."""

    def __init__(self, house: House, address: DatabaseAddress, folder: Path) -> None:
        self.house = house
        self.rows = partial(databases.rows, address)
        self.gate = folder / "gate"  # What the action `wait` waits for.

    def start(self, *parts: Part) -> None:
        for part in (*self.house.servers, self.house.edge, *parts):
            if not part.pid:
                self.house.start(part)

    async def ask(self, *actions: str) -> None:
        """Ask for tasks, one of each of these actions."""
        task = {"service": "test", "parameters": {"file": str(self.gate)}}
        body = {"requests": [{"task": {**task, "action": action}} for action in actions]}
        async with self.house.client("task_runner") as client:

            async def is_stored() -> bool:
                return await post(client, "/v1/tasks:batchCreate", body) is not None

            await until(is_stored, "the tasks to be stored")

    async def tasks(self) -> list[Task]:
        """Return all tasks, the oldest first."""
        return [Task(*row) for row in await self.rows(TASKS)]

    async def until(self, *wanted: tuple[str, int]) -> list[Task]:
        """Wait until all tasks are in these states, in these attempts."""
        found: list[Task] = []

        async def holds() -> bool:
            found[:] = await self.tasks()
            return [(task.state, task.attempt) for task in found] == list(wanted)

        try:
            await until(holds, f"tasks to be {wanted}")
        except AssertionError as failure:
            raise AssertionError(f"{failure}; they are {found}\n{self.house.told()}") from failure
        return found


@pytest.fixture
def scene(house: House, address: DatabaseAddress, tmp_path: Path) -> Scene:
    return Scene(house, address, tmp_path)


async def seconds(waiting: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await waiting()
    return time.monotonic() - began


async def test_the_task_of_a_killed_worker_starts_elsewhere_within_two_seconds(scene):
    scene.start(scene.house.near)
    await scene.ask("wait")
    await scene.until(("RUNNING", 1))
    scene.start(scene.house.far)  # So it is not this one that is waited for.
    await scene.ask("count")
    await scene.until(("RUNNING", 1), ("SUCCEEDED", 1))
    scene.house.kill(scene.house.near)
    assert await seconds(partial(scene.until, ("RUNNING", 2), ("SUCCEEDED", 1))) < 2
    scene.gate.touch()
    [task, _] = await scene.until(("SUCCEEDED", 2), ("SUCCEEDED", 1))
    assert (task.failures, task.result_count) == (1, 1)


async def test_a_frozen_worker_loses_its_session_and_is_not_heard_when_it_wakes(scene):
    """Nothing ends its connection: the server's socket stays open, as when a network is cut without a word."""
    scene.start(scene.house.near)
    await scene.ask("wait")
    await scene.until(("RUNNING", 1))
    os.kill(scene.house.near.pid, signal.SIGSTOP)
    scene.start(scene.house.far)
    lost = await seconds(partial(scene.until, ("RUNNING", 2)))
    assert 6 < lost < 13  # A session lasts ten seconds from its last renewal, which is made every three.
    scene.gate.touch()
    [done] = await scene.until(("SUCCEEDED", 2))
    os.kill(scene.house.near.pid, signal.SIGCONT)
    scene.house.kill(scene.house.far)
    scene.gate.unlink()
    await scene.ask("wait")  # It says hello again, as only a living session gets tasks.
    [again, _] = await scene.until(("SUCCEEDED", 2), ("RUNNING", 1))
    assert again == done
    [(content,)] = await scene.rows(CONTENTS)
    assert '"2"' in content, "the first attempt's result was accepted"


async def test_a_worker_that_is_told_to_stop_finishes_what_it_can_and_hands_back_the_rest(scene):
    scene.start(scene.house.near)
    await scene.ask("wait", "count", "wait")
    await scene.until(("RUNNING", 1), ("SUCCEEDED", 1), ("RUNNING", 1))
    assert scene.house.end(scene.house.near, signal.SIGTERM) == 0
    handed_back = await scene.until(("PENDING", 1), ("SUCCEEDED", 1), ("PENDING", 1))
    assert [(task.failures, task.error) for task in handed_back] == [(0, None)] * 3
    scene.gate.touch()
    scene.start(scene.house.far)
    done = await scene.until(("SUCCEEDED", 2), ("SUCCEEDED", 1), ("SUCCEEDED", 2))
    assert [task.result_count for task in done] == [1, 2, 1]


async def test_a_worker_elsewhere_works_over_tls_with_a_key_of_the_house_until_that_is_revoked(scene):
    scene.start(scene.house.far)
    await scene.ask("count")
    await scene.until(("SUCCEEDED", 1))
    [(credential_id,)] = await scene.rows("SELECT id FROM credentials WHERE kind = 'worker'")
    scene.house.run("keys", "revoke", credential_id)
    assert scene.house.exit_code(scene.house.far) == 1
    assert "its credential is unknown, revoked or expired" in scene.house.told()


async def test_a_result_that_is_too_large_fails_its_task_with_the_reason(scene):
    scene.start(scene.house.near)
    await scene.ask("swell")

    async def has_failed() -> bool:
        [task] = await scene.tasks()
        return task.failures > 0

    await until(has_failed, "the first attempt to fail")
    [task] = await scene.tasks()
    assert task.error.startswith("BadResult: a result must have at most 409600 bytes; as JSON this one has ")


@pytest.mark.parametrize("engine", ["sqlite"])  # The law is the same verb on both, and this takes its time.
async def test_a_task_that_kills_its_workers_is_given_up_after_the_fifth(scene):
    scene.start(scene.house.near)
    await scene.ask("die")
    for attempt in range(1, MAX_FAILURES + 1):
        assert scene.house.exit_code(scene.house.near) == 9
        if attempt < MAX_FAILURES:
            scene.start(scene.house.near)
    [task] = await scene.until(("FAILED", MAX_FAILURES))
    assert (task.failures, task.error) == (MAX_FAILURES, DIED)
