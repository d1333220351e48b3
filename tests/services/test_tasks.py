"""TaskService and ResultService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from server.core import credentials, organizations
from server.core.caller import Role
from server.core.credentials import NewToken
from server.core.work import Ending, Failure, Publication, Report
from taskhouse.v1 import results_pb2, results_pb2_grpc, tasks_pb2_grpc
from taskhouse.v1 import tasks_pb2 as pb
from tests.core.scenes import HOUSE, Worker, histogram

REQUEST = "0190b1e5-5d6a-7000-8000-0123456789ab"


async def bearer(store, organization, kind=Role.TOKEN_WRITE):
    token = credentials.make_token()
    wanted = NewToken(organization=organization, kind=kind)
    digest = credentials.token_digest(token)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    return (("authorization", f"Bearer {token}"),)


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def tasks(channel):
    return tasks_pb2_grpc.TaskServiceStub(channel)


@pytest_asyncio.fixture
async def results(channel):
    return results_pb2_grpc.ResultServiceStub(channel)


@pytest_asyncio.fixture
async def acme(store):
    await store.write(organizations.create, name="acme")
    return await bearer(store, "acme")


def asking(request_id="", **parameters) -> pb.CreateTaskRequest:
    task = pb.Task(service="icloud", action="fetch-data", parameters=parameters)
    return pb.CreateTaskRequest(task=task, request_id=request_id)


async def refusal(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code()


async def test_a_task_is_created_found_listed_and_cancelled(tasks, acme):
    created = await tasks.CreateTask(asking(device="x"), metadata=acme)
    assert created.state == pb.TASK_STATE_PENDING
    assert created.parameters == {"device": "x"}
    assert created.create_time.seconds > 1_700_000_000
    assert not created.HasField("start_time")
    assert not created.HasField("error")
    assert await tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=acme) == created
    listed = await tasks.ListTasks(pb.ListTasksRequest(), metadata=acme)
    assert list(listed.tasks) == [created]
    assert listed.next_page_token == ""
    cancelled = await tasks.CancelTask(pb.CancelTaskRequest(task_id=created.id), metadata=acme)
    assert cancelled.state == pb.TASK_STATE_CANCELLED
    assert cancelled.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert cancelled.HasField("end_time")


async def test_repeating_a_request_is_safe(tasks, acme):
    created = await tasks.CreateTask(asking(REQUEST, device="x"), metadata=acme)
    assert await tasks.CreateTask(asking(REQUEST, device="x"), metadata=acme) == created
    other = tasks.CreateTask(asking(REQUEST, device="y"), metadata=acme)
    assert await refusal(other) is grpc.StatusCode.ALREADY_EXISTS


async def test_an_empty_request_is_refused_by_its_fields(tasks, acme):
    with pytest.raises(grpc.aio.AioRpcError, match=r"task\.service.*task\.action"):
        await tasks.CreateTask(pb.CreateTaskRequest(), metadata=acme)


async def test_a_failed_task_says_why(tasks, acme, store):
    created = await tasks.CreateTask(asking(), metadata=acme)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    for _ in range(4):
        await store.write(fail_before, task_id=created.id)
    assert await worker.report(Report(lease, Failure("the device is off"))) == [""]
    failed = await tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=acme)
    assert failed.state == pb.TASK_STATE_FAILED
    assert failed.error.message == "the device is off"


async def fail_before(tx, *, task_id) -> None:
    tx._cursor.execute("UPDATE tasks SET failures = failures + 1 WHERE id = ?", (task_id,))


async def test_another_organization_s_task_and_results_do_not_exist(tasks, results, acme, store):
    await store.write(organizations.create, name="other")
    stranger = await bearer(store, "other")
    created = await tasks.CreateTask(asking(), metadata=acme)
    get = tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=stranger)
    assert await refusal(get) is grpc.StatusCode.NOT_FOUND
    page = results.ListResults(results_pb2.ListResultsRequest(task_id=created.id), metadata=stranger)
    assert await refusal(page) is grpc.StatusCode.NOT_FOUND


async def test_results_are_listed_with_their_number_and_found_one_by_one(tasks, results, acme, store):
    created = await tasks.CreateTask(asking(), metadata=acme)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    reports = [Report(lease, Publication(number, histogram(number, 5))) for number in (1, 2, 3)]
    await worker.report(*reports, Report(lease, Ending.COMPLETED))
    asked = results_pb2.ListResultsRequest(task_id=created.id, page_size=2)
    page = await results.ListResults(asked, metadata=acme)
    assert page.total_size == 3
    assert [result.histogram.buckets[0].count for result in page.results] == [3, 2]
    asked.page_token = page.next_page_token
    rest = await results.ListResults(asked, metadata=acme)
    assert rest.next_page_token == ""
    [first] = rest.results
    assert first.histogram.buckets[1] == results_pb2.Bucket(label="height", value="1", count=5)
    assert await results.GetResult(results_pb2.GetResultRequest(result_id=first.id), metadata=acme) == first
    unknown = results.GetResult(results_pb2.GetResultRequest(result_id="none"), metadata=acme)
    assert await refusal(unknown) is grpc.StatusCode.NOT_FOUND


async def test_a_reading_token_creates_and_cancels_nothing(tasks, acme, store):
    reader = await bearer(store, "acme", Role.TOKEN_READ)
    created = await tasks.CreateTask(asking(), metadata=acme)
    assert await tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=reader) == created
    for call in (
        tasks.CreateTask(asking(), metadata=reader),
        tasks.CancelTask(pb.CancelTaskRequest(task_id=created.id), metadata=reader),
    ):
        assert await refusal(call) is grpc.StatusCode.PERMISSION_DENIED
