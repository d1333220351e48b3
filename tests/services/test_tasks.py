"""TaskService and ResultService, over gRPC."""

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from sqlalchemy import bindparam, update

from server.core import credentials, organizations
from server.core.caller import Role
from server.core.credentials import NewToken
from server.core.reports import Ending, Failure, Publication, Report
from server.store.engine import Command
from server.store.tasks import TASKS
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
    assert (failed.error.message, failed.last_error, failed.failure_count) == ("the device is off",) * 2 + (5,)


async def test_a_task_that_is_tried_again_tells_what_failed_and_when_it_may_start(tasks, acme, store):
    created = await tasks.CreateTask(asking(), metadata=acme)
    assert created.ready_time == created.create_time
    assert (created.last_error, created.failure_count) == ("", 0)
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    await worker.fail(lease, "the device is off")
    waiting = await tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=acme)
    assert (waiting.state, waiting.last_error, waiting.failure_count) == (
        pb.TASK_STATE_PENDING, "the device is off", 1,
    )  # fmt: skip
    assert waiting.ready_time.ToNanoseconds() > waiting.create_time.ToNanoseconds()
    assert not waiting.HasField("error")
    [lease] = await worker.lease(after=2)
    assert await worker.complete(lease) == ""
    done = await tasks.GetTask(pb.GetTaskRequest(task_id=created.id), metadata=acme)
    assert (done.state, done.last_error, done.failure_count) == (pb.TASK_STATE_SUCCEEDED, "", 1)
    assert not done.HasField("ready_time")


def batch(*requests: pb.CreateTaskRequest) -> pb.BatchCreateTasksRequest:
    return pb.BatchCreateTasksRequest(requests=requests)


async def test_a_batch_of_tasks_is_created_and_found_in_its_order(tasks, acme):
    requests = [asking(device=str(number)) for number in range(20)]
    created = (await tasks.BatchCreateTasks(batch(*requests), metadata=acme)).tasks
    assert [one.parameters["device"] for one in created] == [str(number) for number in range(20)]
    ids = [one.id for one in created]
    assert ids == sorted(ids)
    asked = [*ids[::-1], ids[3]]
    found = (await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=asked), metadata=acme)).tasks
    assert [one.id for one in found] == asked
    assert found[0] == created[-1]


async def test_a_batch_is_created_as_a_whole_or_not_at_all(tasks, acme):
    bad = pb.CreateTaskRequest(task=pb.Task(service="icloud", action="Fetch"), request_id="no")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await tasks.BatchCreateTasks(batch(asking(), asking(), bad), metadata=acme)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = raised.value.details()
    assert "requests[2].task.action: " in details
    assert "requests[2].request_id: " in details
    await tasks.CreateTask(asking(REQUEST, device="x"), metadata=acme)
    reused = tasks.BatchCreateTasks(batch(asking(), asking(REQUEST, device="y")), metadata=acme)
    assert await refusal(reused) is grpc.StatusCode.ALREADY_EXISTS
    assert len((await tasks.ListTasks(pb.ListTasksRequest(), metadata=acme)).tasks) == 1


async def test_what_an_unknown_id_of_a_batch_is_is_told(tasks, acme, store):
    await store.write(organizations.create, name="other")
    foreign = await tasks.CreateTask(asking(), metadata=await bearer(store, "other"))
    own = await tasks.CreateTask(asking(), metadata=acme)
    request = pb.BatchGetTasksRequest(task_ids=[own.id, foreign.id, "\0", "none"])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await tasks.BatchGetTasks(request, metadata=acme)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == f"There are no tasks {foreign.id}, \0, none."


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("BatchCreateTasks", pb.BatchCreateTasksRequest()),
        ("BatchCreateTasks", batch(*[asking()] * 1001)),
        ("BatchGetTasks", pb.BatchGetTasksRequest()),
        ("BatchGetTasks", pb.BatchGetTasksRequest(task_ids=["x"] * 10_001)),
    ],
)
async def test_empty_and_too_large_batches_are_refused(tasks, acme, method, request_):
    assert await refusal(getattr(tasks, method)(request_, metadata=acme)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_batch_whose_tasks_are_too_large_for_one_answer_is_refused(tasks, acme):
    large = batch(*[asking(device="x" * 60_000)] * 40)
    ids = [one.id for one in (await tasks.BatchCreateTasks(large, metadata=acme)).tasks]
    assert len((await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=ids[:30]), metadata=acme)).tasks) == 30
    too_many = tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=ids), metadata=acme)
    assert await refusal(too_many) is grpc.StatusCode.INVALID_ARGUMENT


async def test_ten_thousand_tasks_are_found_at_once(tasks, acme):
    ids = []
    for _ in range(10):
        created = await tasks.BatchCreateTasks(batch(*[asking()] * 1000), metadata=acme)
        ids += [one.id for one in created.tasks]
    found = (await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=ids), metadata=acme)).tasks
    assert [one.id for one in found] == ids


FAIL = Command(update(TASKS).where(TASKS.c.id == bindparam("task_id")).values(failures=TASKS.c.failures + 1))


async def fail_before(tx, *, task_id) -> None:
    await tx.run(FAIL, task_id=task_id)


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
