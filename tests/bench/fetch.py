"""asapi from end to end: submit, lease, publish and fetch, through the edge. How many small tasks a second get through.

A client submits over some connections, asks `/task-status/` again and again, as the documented ones do, and fetches
over as many other connections what has come; meanwhile one worker of the kit leaves one small result a task. The time
is that from the first submission to the last result in the client's hands. Beside it, on the same PostgreSQL with the
same durability: Procrastinate's worker, which does jobs that were asked for before, and leaves a row as result.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson

from tests.bench.house import House, kit, running, working
from tests.bench.load import asking, request_of
from tests.bench.postgres import Postgres
from tests.bench.work import CAPACITY, Run, cpu_by_part, procrastinate, tell

ROUNDS, TASKS = 3, 10_000
CONNECTIONS = 16  # for submissions, and as many for results
STATUS_SECONDS, STATUS_IDS = 0.5, 1000  # How often to ask, and for how many of the oldest.
RESULT = b'{"done": true}'
MODULE = """
from server.worker.kit import Result, Worker

worker = Worker(service="bench")


@worker.action("nothing")
def nothing(task):
    return Result.bytes(b'{"done": true}', "application/json")
"""


@dataclass
class Client:
    """Whoever wants the results."""

    house: House
    token: str
    open: dict[str, None] = field(default_factory=dict)  # submitted, and not known to be done; the oldest first
    done: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """Submit the tasks, and fetch all that comes of them."""
        submitting = [self._submit(first) for first in range(CONNECTIONS)]
        fetching = [self._fetch() for _ in range(CONNECTIONS)]
        await asyncio.gather(*submitting, *fetching, self._look())

    async def _submit(self, first: int) -> None:
        async with asking(self.house.http) as ask:
            for number in range(first, TASKS, CONNECTIONS):
                form = f"service=bench&action=nothing&account=bench&number={number}"
                told = orjson.loads(await ask(self._post("/submit-task/", form)))
                self.open[told["task_id"]] = None

    async def _look(self) -> None:
        found = 0
        async with asking(self.house.http) as ask:
            while found < TASKS:
                await asyncio.sleep(STATUS_SECONDS)
                if some := list(islice(self.open, STATUS_IDS)):
                    statuses = orjson.loads(await ask(self._post("/task-status/", f"task_ids={','.join(some)}")))
                    done = [task_id for task_id in some if statuses[task_id]["status"] == "Publish complete"]
                    found += len(done)
                    for task_id in done:
                        del self.open[task_id]
                        self.done.put_nowait(task_id)
        for _ in range(CONNECTIONS):
            self.done.put_nowait("")

    async def _fetch(self) -> None:
        async with asking(self.house.http) as ask:
            while task_id := await self.done.get():
                if await ask(request_of("GET", f"/fetch/{task_id}/", headers=(self._credential,))) != RESULT:
                    raise RuntimeError("that is not the result")

    def _post(self, path: str, form: str) -> bytes:
        headers = (self._credential, "content-type: application/x-www-form-urlencoded")
        return request_of("POST", path, headers=headers, body=form.encode())

    @property
    def _credential(self) -> str:
        return f"authorization: Token {self.token}"


@dataclass
class Way:
    """A house with its worker."""

    house: House
    token: str
    worker: int  # pid
    postgres: Postgres | None

    def run(self) -> Run:
        """Have all tasks done, and tell what that cost."""
        before, began = cpu_by_part(self.house, self.worker, self.postgres), time.perf_counter()
        asyncio.run(Client(self.house, self.token).run())
        seconds, after = time.perf_counter() - began, cpu_by_part(self.house, self.worker, self.postgres)
        return Run(TASKS, seconds, {part: after[part] - before[part] for part in after})


@contextmanager
def ready(folder: Path, postgres: Postgres | None = None) -> Iterator[Way]:
    """Run a house on SQLite or PostgreSQL with a worker, until the block ends."""
    folder.mkdir()
    with running(folder / "data", database=postgres.database("taskhouse") if postgres else None) as house:
        house.prepare(folder)
        token = house.token("asapi", "--retrieval", "asstore")
        asyncio.run(register(house, token))
        with working(kit(MODULE, folder, "--capacity", CAPACITY, "--data", house.data), folder) as worker:
            yield Way(house, token, worker, postgres)


async def register(house: House, token: str) -> None:
    """Register the account that tasks are for."""
    headers = (f"authorization: Token {token}", "content-type: application/x-www-form-urlencoded")
    async with asking(house.http) as ask:
        await ask(request_of("POST", "/register-account/", headers=headers, body=b"service=bench&username=bench"))


def measure(folder: Path) -> None:
    """Print the rates of both, and where the CPU goes."""
    postgres = Postgres(folder / "postgres")
    try:
        _, peer = procrastinate(postgres, postgres.database("peers"))
        with ready(folder / "SQLite") as on_sqlite, ready(folder / "PostgreSQL", postgres) as on_postgresql:
            ways = {"SQLite": on_sqlite, "PostgreSQL": on_postgresql}
            runs: dict[str, list[Run]] = {name: [] for name in (*ways, peer.name)}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    runs[name].append(way.run())
                runs[peer.name].append(peer.run())
        for name in ways:
            what = f"asapi, submit to fetch of {TASKS:,} tasks, on {name}"
            tell(what, runs[name], f"{peer.name}, its worker alone, on PostgreSQL", runs[peer.name])
    finally:
        postgres.stop()
