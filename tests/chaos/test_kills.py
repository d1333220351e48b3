"""kill -9 of servers, workers and Envoy while clients upload and ask; then everything is counted.

What was acknowledged is there, and nothing was done twice. `make soak` does the same for longer; CYCLES and SEED in the
environment say how often parts are killed, and in which order.
"""

import asyncio
import os
import random
from collections import Counter
from functools import partial
from typing import NamedTuple

import pytest

from server.store.address import DatabaseAddress
from tests import databases
from tests.chaos.house import ROWS, USERS, Asker, Part, Uploader, until

CYCLES = int(os.environ.get("CYCLES", "25"))  # on each engine
LEAST_KILLS = CYCLES // 5  # of each kind of part
FINISHED = "SELECT id, attempt, end_time FROM tasks WHERE state = 'SUCCEEDED'"
UNFINISHED = "SELECT count(*) FROM tasks WHERE state IN ('PENDING', 'RUNNING')"


class Outcome(NamedTuple):
    """How a task ended: what may never change again."""

    attempt: int
    end_time: int


class Witness:
    """Looks into the database while the house runs."""

    def __init__(self, address: DatabaseAddress) -> None:
        self.rows = partial(databases.rows, address)
        self.seen: dict[str, Outcome] = {}

    async def look(self) -> int:
        """Return how many tasks have succeeded, and see that those seen before are as they were."""
        found = {task_id: Outcome(*outcome) for task_id, *outcome in await self.rows(FINISHED)}
        changed = {task_id for task_id, outcome in self.seen.items() if found.get(task_id) != outcome}
        assert not changed, f"finished tasks changed: {changed}"
        self.seen = found
        return len(found)


def order_of_kills(parts: list[Part], chance: random.Random) -> list[Part]:
    """Return whom to kill in each cycle: every part about as often, in an order drawn by chance."""
    order = [parts[number % len(parts)] for number in range(CYCLES)]
    chance.shuffle(order)
    return order


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_is_done_twice(house, address, engine):
    seed = int(os.environ.get("SEED") or (1 if engine == "sqlite" else 2))
    print(f"SEED={seed} CYCLES={CYCLES}")
    chance = random.Random(seed)  # noqa: S311 - an order that can be had again.
    witness = Witness(address)
    async with house.client("upload_any") as uploading, house.client("task_runner") as asking:
        uploader, asker = Uploader(uploading), Asker(asking)
        load = [asyncio.ensure_future(uploader.run()), asyncio.ensure_future(asker.run())]
        try:
            for part in house.parts:
                house.start(part)
            await progress(witness, uploader, asker, load)
            for victim in order_of_kills(house.parts, chance):
                await asyncio.sleep(chance.uniform(0, 0.1))
                house.kill(victim)
                await asyncio.sleep(chance.choice([0, 0, 0.05]))
                house.start(victim)
                await progress(witness, uploader, asker, load)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{house.told()}") from failure
        finally:
            for one in load:
                one.cancel()
            await asyncio.gather(*load, return_exceptions=True)
    await until(lambda: is_done(witness), "every task to end")
    await witness.look()
    await check_tasks(witness, asker)
    await check_rows(witness, uploader)
    kills = Counter()
    for part in house.parts:
        kills[part.kind] += part.kills
    assert min(kills[kind] for kind in ("server", "worker", "edge")) >= LEAST_KILLS, kills


async def progress(witness: Witness, uploader: Uploader, asker: Asker, load: list[asyncio.Task[None]]) -> None:
    """Wait until something more was uploaded, asked and done."""
    before = len(uploader.acknowledged), len(asker.acknowledged), await witness.look()

    async def is_made() -> bool:
        for failed in (one for one in load if one.done()):
            failed.result()
        uploads, asked, done = before
        return len(uploader.acknowledged) > uploads and len(asker.acknowledged) > asked and await witness.look() > done

    await until(is_made, f"progress after {before}")


async def is_done(witness: Witness) -> bool:
    [(left,)] = await witness.rows(UNFINISHED)
    return left == 0


async def check_tasks(witness: Witness, asker: Asker) -> None:
    stored = await witness.rows("SELECT id, request_id, state, result_count, failures, error FROM tasks")
    by_request = Counter(request_id for _, request_id, *_ in stored)
    assert set(by_request.values()) == {1}, "a request made two tasks"
    found = {task_id: (request_id, state, count) for task_id, request_id, state, count, *_ in stored}
    lost = {task_id for task_id in asker.acknowledged.values() if task_id not in found}
    assert not lost, f"acknowledged tasks are gone: {lost}"
    wrong = {task_id for request, task_id in asker.acknowledged.items() if found[task_id] != (request, "SUCCEEDED", 2)}
    assert not wrong, [row for row in stored if row[0] in wrong]
    numbers: dict[str, list[int]] = {}
    for task_id, number in await witness.rows("SELECT task_id, number FROM results"):
        numbers.setdefault(task_id, []).append(number)
    twice = {task_id: given for task_id, given in numbers.items() if sorted(given) != [1, 2]}
    assert not twice, f"results are missing or doubled: {twice}"


async def check_rows(witness: Witness, uploader: Uploader) -> None:
    rows = Counter(await witness.rows("SELECT user_id, data FROM dataset_rows"))
    assert max(rows.values()) == 1, "rows were stored twice"
    users = Counter(user_id for user_id, _ in rows)
    for upload in uploader.sent:
        counts = {users.pop(f"{upload}-{user}", 0) for user in USERS}
        assert counts == {ROWS} or (counts == {0} and upload not in uploader.acknowledged), (upload, counts)
    assert not users, "there are rows that nobody sent"
