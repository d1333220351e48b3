"""The worker kit against real servers."""

import asyncio
import threading
from contextlib import suppress

import pytest
import pytest_asyncio

from server.core import credentials, deliveries, results, tasks
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.tasks import TaskState
from server.identity.authority import Authority
from server.wiring import build_server
from server.worker import actions
from server.worker.houses import SocketHouse, WorkerRefused
from server.worker.kit import Result, Task, Worker
from server.worker.session import Session
from tests.core.filled import dataset, fill
from tests.core.scenes import HOUSE, organization, task

PATIENCE_SECONDS = 20
MIB = 1024 * 1024
OVER = frozenset(state for state in TaskState if state.is_over)


class Gate:
    """An action that waits until it is let through, and notes what it sees."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Event()
        self.attempts: list[int] = []
        self.worker = Worker(service="icloud")
        self.worker.action("fetch-data")(self.act)

    def act(self, task: Task) -> Result:
        self.attempts.append(task.attempt)
        self.began.set()
        while not (self.open.wait(0.005) or task.cancelled):
            pass
        return Result.histogram([("height", None, 5)])


class Crew:
    """Sessions that run in threads."""

    def __init__(self, token: str, addresses: list[str]) -> None:
        self.token, self.addresses = token, addresses
        self._running: list[tuple[Session, threading.Thread, list[Exception]]] = []

    def start(self, *workers: Worker, capacity: int = 5) -> Session:
        house = SocketHouse(lambda: [address.removeprefix("unix:") for address in self.addresses], self.token)
        session = Session(workers, house, capacity=capacity)
        failures: list[Exception] = []

        def run() -> None:
            try:
                session.run()
            except WorkerRefused as refusal:
                failures.append(refusal)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._running.append((session, thread, failures))
        return session

    async def ended(self, grace: float | None = None) -> list[Exception]:
        """Wait until all have ended, having stopped them if there is a grace, and return why they were refused."""
        failures = []
        for session, thread, failed in self._running:
            if grace is not None:
                session.stop(grace)
            await asyncio.to_thread(thread.join, PATIENCE_SECONDS)
            assert not thread.is_alive()
            failures += failed
        self._running.clear()
        return failures


@pytest_asyncio.fixture
async def caller(store) -> Caller:
    return await organization(store)


@pytest_asyncio.fixture
async def credential(store) -> tuple[str, str]:
    token = credentials.make_token()
    wanted = NewToken(organization="", kind=Role.TOKEN_WRITE)
    digest = credentials.token_digest(token)
    return token, (await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)).id


@pytest_asyncio.fixture
async def crew(server, credential):
    crew = Crew(credential[0], [server.address])
    yield crew
    await crew.ended(grace=0)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


async def until(store, caller, task_id, states=OVER) -> tasks.Task:
    """Wait until the task is in one of these states."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        generation = 0
        while (found := await store.read(tasks.get, caller=caller, task_id=task_id)).state not in states:
            generation = await store.changed(generation)
        return found


async def test_two_workers_share_many_tasks_and_each_is_done_once(crew, store, caller):
    done: list[str] = []
    worker = Worker(service="icloud")

    @worker.action("fetch-data")
    def act(task: Task):
        done.append(task.id)
        yield Result.histogram([("height", None, 5)])

    created = [(await task(store, caller)).id for _ in range(60)]
    crew.start(worker, capacity=3)
    crew.start(worker, capacity=7)
    for task_id in created:
        found = await until(store, caller, task_id)
        assert (found.state, found.attempt, found.result_count) == (TaskState.SUCCEEDED, 1, 1)
    assert sorted(done) == sorted(created)


async def test_the_house_s_own_action_publishes_anonymised_counts(crew, store, caller):
    await dataset(store, caller)
    await fill(store, caller, [160.5] * 400 + [175.0] * 300 + [201.0])
    crew.start(actions.worker)
    asked = {"dataset": "heights", "column": "height", "bin_width": "10"}
    created = await task(store, caller, service="cloak", action="histogram", parameters=asked)
    assert (await until(store, caller, created.id)).state is TaskState.SUCCEEDED
    page, _ = await store.read(results.page, caller=caller, task_id=created.id, page_size=0, page_token="")
    buckets = {value: users for _, value, users in page.items[0].histogram.buckets}
    assert set(buckets) == {"160", "170"}
    assert abs(buckets["160"] - 400) < 100
    assert all(users % 5 == 0 for users in buckets.values())


async def test_a_cancelled_task_s_action_learns_of_it_and_is_not_heard(crew, store, caller, gate):
    created = await task(store, caller)
    crew.start(gate.worker)
    assert await asyncio.to_thread(gate.began.wait, PATIENCE_SECONDS)
    await store.write(tasks.cancel, caller=caller, task_id=created.id)
    next_ = await task(store, caller)
    await until(store, caller, next_.id, {TaskState.RUNNING})
    gate.open.set()
    await until(store, caller, next_.id)
    found = await store.read(tasks.get, caller=caller, task_id=created.id)
    assert (found.state, found.result_count) == (TaskState.CANCELLED, 0)


async def test_an_attempt_outlives_the_server_that_gave_it(server, crew, store, caller, gate, data, tmp_path_factory):
    created = await task(store, caller)
    crew.start(gate.worker)
    assert await asyncio.to_thread(gate.began.wait, PATIENCE_SECONDS)
    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    other = build_server(store=store, authority=Authority.open(data), address=address)
    await other.grpc.start()
    crew.addresses[:] = [address]
    server.stopping.set()
    await server.grpc.stop(0)
    gate.open.set()
    found = await until(store, caller, created.id)
    assert (found.state, found.attempt, gate.attempts) == (TaskState.SUCCEEDED, 1, [1])
    assert await crew.ended(grace=PATIENCE_SECONDS) == []
    other.stopping.set()
    await other.grpc.stop(0)


class Wire:
    """What lies between a worker and a server, and breaks once, after so many bytes from the worker."""

    def __init__(self, server: str, breaks_after: int) -> None:
        self.connections = 0
        self._server = server
        self._left = breaks_after

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        theirs, ours = await asyncio.open_unix_connection(self._server)
        back = asyncio.ensure_future(self._pipe(theirs, writer))
        await self._pipe(reader, ours, is_first=self.connections == 1)
        await back

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_first: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(64 * 1024):
                self._left -= len(data)
                if is_first and self._left < 0:
                    writer.transport.abort()
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_result_arrives_whole_although_its_connection_breaks_midway(
    server, crew, store, caller, tmp_path_factory
):
    path = f"{tmp_path_factory.mktemp('w')}/w"
    wire = Wire(server.address.removeprefix("unix:"), breaks_after=7 * MIB)
    listener = await asyncio.start_unix_server(wire.serve, path)
    crew.addresses[:] = [f"unix:{path}"]
    worker = Worker(service="icloud")
    attempts: list[int] = []

    @worker.action("fetch-data")
    def act(task: Task) -> Result:
        attempts.append(task.attempt)
        return Result.bytes((bytes([number]) * MIB for number in range(20)), "text/plain")

    created = await task(store, caller, retrieval="asstore")
    crew.start(worker)
    found = await until(store, caller, created.id)
    assert (found.state, found.attempt, attempts) == (TaskState.SUCCEEDED, 1, [1])
    parcel = await store.write_guarded(deliveries.claim, caller=caller, task_id=created.id)
    parts = [await store.read(deliveries.part, parcel=parcel, number=number) for number in range(1, parcel.parts + 1)]
    assert b"".join(parts) == b"".join(bytes([number]) * MIB for number in range(20))
    assert wire.connections == 2
    await crew.ended(grace=0)
    listener.close()
    await listener.wait_closed()


async def test_a_stopping_worker_hands_back_what_another_does(crew, store, caller, gate):
    created = await task(store, caller)
    crew.start(gate.worker)
    assert await asyncio.to_thread(gate.began.wait, PATIENCE_SECONDS)
    assert await crew.ended(grace=0.05) == []
    other = Gate()
    other.open.set()
    crew.start(other.worker)
    found = await until(store, caller, created.id)
    assert (found.state, other.attempts) == (TaskState.SUCCEEDED, [2])


async def test_a_worker_whose_credential_is_revoked_ends(crew, store, caller, gate, credential):
    await task(store, caller)
    crew.start(gate.worker)
    assert await asyncio.to_thread(gate.began.wait, PATIENCE_SECONDS)
    await store.write(credentials.revoke, caller=HOUSE, credential_id=credential[1])
    [refusal] = await crew.ended()
    assert "revoked" in str(refusal)
