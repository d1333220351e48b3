"""WatchTask, over gRPC."""

import asyncio

import grpc
import grpc.aio
import pytest_asyncio

from server.core import credentials, organizations, tasks, work
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.reports import Ending, Publication, Report
from server.services import watching
from taskhouse.v1 import tasks_pb2 as pb
from taskhouse.v1 import tasks_pb2_grpc
from tests.core.scenes import HOUSE, Worker, histogram, organization, task

PATIENCE_SECONDS = 20
PENDING, RUNNING, SUCCEEDED = pb.TASK_STATE_PENDING, pb.TASK_STATE_RUNNING, pb.TASK_STATE_SUCCEEDED


class Watch:
    """One stream."""

    def __init__(self, channel, token: str, task_id: str) -> None:
        metadata = (("authorization", f"Bearer {token}"),)
        self.call = tasks_pb2_grpc.TaskServiceStub(channel).WatchTask(
            pb.WatchTaskRequest(task_id=task_id), metadata=metadata
        )

    async def next(self) -> pb.Task | None:
        """Return the next task; None at the stream's end."""
        message = await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS)
        return None if message is grpc.aio.EOF else message

    async def until(self, state) -> pb.Task:
        while (found := await self.next()).state != state:
            pass
        return found

    async def refusal(self) -> grpc.StatusCode:
        while True:
            try:
                await self.next()
            except grpc.aio.AioRpcError as error:
                return error.code()


async def reader(store, name: str = "acme") -> tuple[str, str]:
    """Return a new reading token of an organization, and its id."""
    token = credentials.make_token()
    wanted = NewToken(organization=name, kind=Role.TOKEN_READ)
    created = await store.write(
        credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token)
    )
    return token, created.id


@pytest_asyncio.fixture
async def caller(store) -> Caller:
    return await organization(store)


@pytest_asyncio.fixture
async def watch(server, store, caller):
    """Watches a task with a token of the organization."""
    token, _ = await reader(store)
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield lambda task_id, token=token: Watch(channel, token, task_id)


async def test_a_watched_task_is_sent_as_it_is_and_after_each_change_until_it_is_over(watch, store, caller):
    created = await task(store, caller)
    stream = watch(created.id)
    assert (await stream.next()).state == PENDING
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    running = await stream.next()
    assert (running.state, running.attempt) == (RUNNING, 1)
    await worker.publish(lease)
    assert (await stream.next()).result_count == 1
    await worker.complete(lease)
    assert (await stream.next()).state == SUCCEEDED
    assert await stream.next() is None
    assert await stream.call.code() is grpc.StatusCode.OK


async def test_a_retry_is_a_change(watch, store, caller):
    created = await task(store, caller)
    stream = watch(created.id)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    await stream.until(RUNNING)
    await worker.fail(lease, "the device is off")
    again = await stream.next()
    assert (again.state, again.last_error, again.failure_count) == (PENDING, "the device is off", 1)


async def test_a_task_that_is_over_is_sent_once(watch, store, caller):
    created = await task(store, caller)
    await store.write(tasks.cancel, caller=caller, task_id=created.id)
    stream = watch(created.id)
    assert (await stream.next()).state == pb.TASK_STATE_CANCELLED
    assert await stream.next() is None


async def test_another_organization_s_task_cannot_be_watched(watch, store, caller):
    await store.write(organizations.create, name="other")
    created = await task(store, caller)
    stranger, _ = await reader(store, "other")
    for task_id, token in ((created.id, stranger), ("none", stranger)):
        assert await watch(task_id, token).refusal() is grpc.StatusCode.NOT_FOUND


async def test_changes_that_another_process_makes_are_seen(watch, store, elsewhere, caller):
    created = await task(store, caller)
    streams = [watch(created.id) for _ in range(5)]
    assert [(await stream.next()).state for stream in streams] == [PENDING] * 5
    await elsewhere.write(tasks.cancel, caller=caller, task_id=created.id)
    assert [(await stream.next()).state for stream in streams] == [pb.TASK_STATE_CANCELLED] * 5


async def test_a_change_is_seen_even_if_no_hint_tells_of_it(watch, store, caller, monkeypatch):
    async def never(since: int) -> int:
        return await asyncio.Event().wait()

    monkeypatch.setattr(store, "changed", never)
    monkeypatch.setattr(watching, "MAX_WAIT_SECONDS", 0.05)
    created = await task(store, caller)
    stream = watch(created.id)
    assert (await stream.next()).state == PENDING
    await store.write(tasks.cancel, caller=caller, task_id=created.id)
    assert (await stream.next()).state == pb.TASK_STATE_CANCELLED


async def test_many_tasks_are_watched_by_one_look_each_time(watch, store, caller):
    wanted = [tasks.Wanted("icloud", "fetch-data", {}, "")] * 60
    created = await store.write(tasks.create_many, caller=caller, wanted=wanted)
    streams = [watch(one.id) for one in created]
    for stream in streams:
        assert (await stream.next()).state == PENDING
    worker = await Worker.seated(store)
    leases = await worker.lease(60)
    done = [Report(lease, outcome) for lease in leases for outcome in (Publication(1, histogram(1)), Ending.COMPLETED)]
    assert set(await worker.report(*done)) == {""}
    for stream in streams:
        assert (await stream.until(SUCCEEDED)).result_count == 1
        assert await stream.next() is None


async def test_a_stream_is_cut_when_its_token_is_revoked(watch, store, caller):
    created = await task(store, caller)
    token, credential_id = await reader(store)
    stream = watch(created.id, token)
    assert (await stream.next()).state == PENDING
    await store.write(credentials.revoke, caller=HOUSE, credential_id=credential_id)
    async with asyncio.timeout(1.5):
        assert await stream.refusal() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stopping_server_tells_watchers_to_ask_again(watch, store, caller, server):
    stream = watch((await task(store, caller)).id)
    assert (await stream.next()).state == PENDING
    server.stopping.set()
    assert await stream.refusal() is grpc.StatusCode.UNAVAILABLE


async def test_a_failure_that_nobody_foresaw_ends_the_streams_and_the_next_ones_are_served(
    watch, store, caller, monkeypatch
):
    created = await task(store, caller)
    with monkeypatch.context() as patched:
        patched.setattr(tasks, "progress", work.look)  # It takes other values.
        assert await watch(created.id).refusal() is grpc.StatusCode.INTERNAL
    stream = watch(created.id)
    assert (await stream.next()).state == PENDING
    await store.write(tasks.cancel, caller=caller, task_id=created.id)
    assert (await stream.next()).state == pb.TASK_STATE_CANCELLED
