"""`/task-status/` with 10,000 ids through the edge, beside the same rows read by raw SQL and dumped by orjson.

The house is on SQLite. Each round asks once for each shape of the form, and reads the rows once.
"""

import asyncio
import http.client
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import orjson
from pysqlite3 import dbapi2 as sqlite

from server.core import accounts, credentials, tasks
from server.core.caller import Caller
from server.core.tasks import Retrieval, Wanted
from server.store.opening import open_store
from tests.bench.house import House, running
from tests.bench.table import compared

IDS = 10_000
ROUNDS = 30
ROWS = """
    SELECT tasks.id, tasks.state, tasks.retrieval, deliveries.state, failed, unstorable, retrieved
    FROM tasks LEFT JOIN deliveries ON task_id = tasks.id
    WHERE tasks.id IN (SELECT value FROM json_each(?)) AND organization_id = ? AND account IS NOT NULL
"""


async def filled(house: House, token: str) -> tuple[list[str], int]:
    """Return the ids of tasks, every other one failed and so with an address of its own; and their organization's."""
    store = await open_store(house.data / "taskhouse.db", house.data)
    digest = credentials.token_digest(token)
    good = await store.read(credentials.by_digest, digest=digest, token=True, api="asapi")
    caller: Caller = good.caller
    ids: list[str] = []
    for username in ("waiting", "failed"):
        await store.write(accounts.register, caller=caller, service="icloud", username=username)
        wanted = [Wanted("icloud", "fetch-data", {}, "", Retrieval.ASSTORE, username)] * 1000
        for _ in range(IDS // 2000):
            ids += [task.id for task in await store.write(tasks.create_many, caller=caller, wanted=wanted)]
    await store.write(accounts.deregister_username, caller=caller, service="icloud", username="failed")
    await store.close()
    half = IDS // 2
    return [each for pair in zip(ids[:half], ids[half:], strict=True) for each in pair], caller.tenant


def bodies(ids: list[str]) -> dict[str, str]:
    """Return the forms that name the ids, by their shapes."""
    half = len(ids) // 2
    return {
        "repeated": "&".join(f"task_ids={each}" for each in ids),
        "with commas": f"task_ids={','.join(ids)}",
        "with escaped commas": f"task_ids={quote(','.join(ids))}",
        "mixed": "&".join([f"task_ids={','.join(ids[:half])}", *(f"task_ids={each}" for each in ids[half:])]),
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def measure(folder: Path) -> None:
    """Print what each shape of the form takes."""
    with running(folder / "status") as house:
        house.prepare(folder)
        token = house.token("asapi", "--retrieval", "asstore")
        ids, organization = asyncio.run(filled(house, token))
        headers = {"authorization": f"Token {token}", "content-type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection(*house.http)
        database = sqlite.connect(str(house.data / "taskhouse.db"))

        def ask(body: str) -> dict[str, object]:
            connection.request("POST", "/task-status/", body, headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(told[:500])
            return told

        def raw() -> bytes:
            return orjson.dumps(database.execute(ROWS, (orjson.dumps(ids).decode(), organization)).fetchall())

        forms = bodies(ids)
        for body in forms.values():
            told = orjson.loads(ask(body))
            if list(told) != [*ids, "success"] or len({entry["status"] for entry in list(told.values())[:-1]}) != 2:
                raise RuntimeError("the answer is not what was asked for")
        times: dict[str, list[tuple[float, float]]] = {shape: [] for shape in forms}
        for _ in range(ROUNDS):
            rows = milliseconds(raw)
            for shape, body in forms.items():
                times[shape].append((milliseconds(lambda body=body: ask(body)), rows))
        connection.close()
        database.close()
    for shape, pairs in times.items():
        what = f"`/task-status/` with {IDS:,} ids, {shape} ({len(forms[shape]) // 1000} KB)"
        compared(what, pairs, "{:.1f} ms", beside="raw SQL and orjson", aim="at most 4")
