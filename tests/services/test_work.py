"""WorkService, over gRPC: a worker that is driven by hand."""

import asyncio
from typing import NamedTuple

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from sqlalchemy import bindparam, select, update

from server.core import credentials, tasks, work
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.store import tasks as stored_tasks
from server.store.engine import Command, Query, StoreUnavailable
from server.store.work import SESSIONS
from taskhouse.v1 import results_pb2, work_pb2_grpc
from taskhouse.v1 import work_pb2 as pb
from tests.core.scenes import HOUSE, organization, task

PATIENCE_SECONDS = 10
ICLOUD = pb.ActionName(service="icloud", action="fetch-data")


async def token_of_the_house(store, kind=Role.TOKEN_WRITE) -> tuple[str, str]:
    """Return a new token of the house and its id."""
    token = credentials.make_token()
    wanted = NewToken(organization="", kind=kind)
    digest = credentials.token_digest(token)
    created = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
    return token, created.id


class Stream:
    """One stream of a worker."""

    def __init__(self, channel, token) -> None:
        self.call = work_pb2_grpc.WorkServiceStub(channel).Work(metadata=(("authorization", f"Bearer {token}"),))

    async def say(self, **message) -> None:
        await self.call.write(pb.WorkRequest(**message))

    async def hear(self, kind: str):
        """Return the next message, which must be of this kind; None at the stream's end."""
        message = await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS)
        if message is grpc.aio.EOF:
            return None
        assert message.WhichOneof("message") == kind, message
        return getattr(message, kind)

    async def hello(self, session_id="", capacity=10, actions=(ICLOUD,)) -> str:
        hello = pb.Hello(worker="w", session_id=session_id, actions=actions, capacity=capacity)
        await self.say(hello=hello)
        return (await self.hear("welcome")).session_id

    async def leases(self, count=1) -> list[pb.LeaseName]:
        found = []
        while len(found) < count:
            found += (await self.hear("leases")).leases
        assert len(found) == count
        return [pb.LeaseName(task_id=lease.task_id, attempt=lease.attempt) for lease in found]

    async def report(self, *reports: pb.Report) -> list[str]:
        await self.say(reports=pb.Reports(reports=reports))
        acknowledgements = (await self.hear("acknowledgements")).acknowledgements
        assert [one.lease for one in acknowledgements] == [one.lease for one in reports]
        return [one.refusal for one in acknowledgements]

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        code = await asyncio.wait_for(self.call.code(), PATIENCE_SECONDS)
        return code, await self.call.details()


@pytest_asyncio.fixture
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as opened:
        yield opened


@pytest_asyncio.fixture
async def token(store) -> str:
    return (await token_of_the_house(store))[0]


@pytest_asyncio.fixture
async def stream(channel, token) -> Stream:
    return Stream(channel, token)


@pytest_asyncio.fixture
async def caller(store) -> Caller:
    return await organization(store)


def published(lease, number=1, *labels: str) -> pb.Report:
    buckets = [results_pb2.Bucket(label=label, count=5) for label in labels or ("height",)]
    histogram = results_pb2.Histogram(buckets=buckets)
    return pb.Report(lease=lease, publication=pb.Publication(number=number, histogram=histogram))


def completed(lease) -> pb.Report:
    return pb.Report(lease=lease, completion=pb.Completion())


def failed(lease) -> pb.Report:
    return pb.Report(lease=lease, failure=pb.Failure(error="no"))


async def test_a_task_goes_to_a_waiting_worker_and_its_outcome_comes_back(stream, store, caller):
    await stream.hello()
    created = await task(store, caller, parameters={"device": "x"})
    [lease] = (await stream.hear("leases")).leases
    assert (lease.task_id, lease.attempt, lease.service, lease.action) == (created.id, 1, "icloud", "fetch-data")
    assert lease.parameters == {"device": "x"}
    name = pb.LeaseName(task_id=lease.task_id, attempt=1)
    assert await stream.report(published(name), completed(name)) == ["", ""]
    done = await store.read(tasks.get, caller=caller, task_id=created.id)
    assert (done.state, done.result_count) == (tasks.TaskState.SUCCEEDED, 1)


async def test_a_worker_holds_no_more_leases_than_it_has_room_for(stream, store, caller):
    created = [(await task(store, caller)).id for _ in range(4)]
    await stream.hello(capacity=2)
    leases = await stream.leases(2)
    assert [lease.task_id for lease in leases] == created[:2]
    assert await stream.report(completed(leases[1])) == [""]
    [third] = await stream.leases()
    assert third.task_id == created[2]
    assert await stream.report(completed(leases[0]), completed(third)) == ["", ""]
    assert [lease.task_id for lease in await stream.leases()] == created[3:]


async def test_a_worker_of_an_action_that_nobody_asks_for_waits_without_harm(stream, channel, token, store, caller):
    await stream.hello(actions=[pb.ActionName(service="nobody", action="asks")])
    other = Stream(channel, token)
    await other.hello()
    created = await task(store, caller)
    assert [lease.task_id for lease in await other.leases()] == [created.id]
    await stream.say(renewal=pb.Renewal())
    assert await stream.report(completed(pb.LeaseName(task_id=created.id, attempt=1))) == ["LEASE_ENDED"]


async def test_many_workers_that_report_at_once_each_hear_their_own_answers(channel, token, store, caller):
    streams = [Stream(channel, token) for _ in range(10)]
    for _ in range(20):
        await task(store, caller)
    for one in streams:
        await one.hello(capacity=2)
    leases = [await one.leases(2) for one in streams]
    answers = await asyncio.gather(
        *(one.report(completed(mine), completed(mine)) for one, (mine, _) in zip(streams, leases, strict=True))
    )
    assert answers == [["", ""]] * 10
    others = leases[1:] + leases[:1]
    reports = [(completed(mine), failed(other)) for (_, mine), (_, other) in zip(leases, others, strict=True)]
    answers = await asyncio.gather(*(one.report(*said) for one, said in zip(streams, reports, strict=True)))
    assert answers == [["", "LEASE_ENDED"]] * 10


async def test_reports_under_an_ended_lease_are_told_so(stream, store, caller):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    assert await stream.report(completed(lease)) == [""]
    assert await stream.report(published(lease), failed(lease)) == ["LEASE_ENDED", "LEASE_ENDED"]


@pytest.mark.parametrize(
    "publication",
    [
        pb.Publication(number=0, histogram=results_pb2.Histogram()),
        pb.Publication(number=1),
        pb.Publication(number=1, histogram=results_pb2.Histogram(buckets=[results_pb2.Bucket(label="")])),
    ],
)
async def test_a_malformed_result_is_refused_and_so_is_the_task_s_completion(stream, store, caller, publication):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    assert await stream.report(pb.Report(lease=lease, publication=publication)) == ["INVALID_FIELD"]
    assert await stream.report(completed(lease)) == ["INVALID_FIELD"]
    assert await stream.report(failed(lease)) == [""]


async def test_too_large_a_result_is_refused(stream, store, caller):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    assert await stream.report(published(lease, 1, *(["x" * 200] * 6000))) == ["TOO_LARGE"]


async def test_a_failed_task_comes_back_when_its_time_has_come(stream, store, caller):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    assert await stream.report(failed(lease)) == [""]
    [again] = await stream.leases()
    assert (again.task_id, again.attempt) == (lease.task_id, 2)


async def test_the_worker_of_a_cancelled_task_is_told(stream, store, caller):
    created = await task(store, caller)
    await stream.hello(capacity=1)
    [lease] = await stream.leases()
    await store.write(tasks.cancel, caller=caller, task_id=created.id)
    assert list((await stream.hear("revocations")).leases) == [lease]
    other = await task(store, caller)
    [free] = await stream.leases()
    assert free.task_id == other.id


async def test_a_draining_worker_gets_nothing_more(stream, channel, token, store, caller):
    await stream.hello()
    await stream.say(drain=pb.Drain())
    await stream.say(reports=pb.Reports(reports=[completed(pb.LeaseName(task_id="none", attempt=1))]))
    await stream.hear("acknowledgements")  # So the drain was read, too.
    other = Stream(channel, token)
    await other.hello()
    created = await task(store, caller)
    [lease] = await other.leases()
    assert lease.task_id == created.id


async def test_when_a_stream_closes_its_tasks_start_elsewhere(stream, channel, token, store, caller):
    created = await task(store, caller)
    await stream.hello()
    await stream.leases()
    stream.call.cancel()
    other = Stream(channel, token)
    await other.hello()
    [lease] = await other.leases()
    assert (lease.task_id, lease.attempt) == (created.id, 2)


async def test_a_worker_that_comes_back_is_told_its_leases_again(stream, channel, token, store, caller):
    await task(store, caller)
    session_id = await stream.hello()
    [lease] = await stream.leases()
    stream.call.cancel()
    again = Stream(channel, token)
    assert await again.hello(session_id) == session_id
    assert await again.leases() == [lease]
    assert await again.report(completed(lease)) == [""]


async def test_a_stream_whose_session_ended_is_told_and_ends(stream, store, caller):
    await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    await store.write(end_all_sessions)
    assert list((await stream.hear("revocations")).leases) == [lease]
    assert await stream.hear("nothing") is None
    assert (await stream.refusal())[0] is grpc.StatusCode.OK


END_ALL = Command(update(SESSIONS).values(expire_time=bindparam("now")))


async def end_all_sessions(tx) -> None:
    await tx.run(END_ALL, now=tx.now)


async def test_a_session_that_is_taken_up_elsewhere_ends_its_earlier_stream(stream, channel, token):
    session_id = await stream.hello()
    other = Stream(channel, token)
    assert await other.hello(session_id) == session_id
    await stream.say(renewal=pb.Renewal())
    assert await stream.hear("nothing") is None


async def test_a_worker_that_closes_its_side_hears_the_last_acknowledgements(stream, store, caller):
    created = await task(store, caller)
    await stream.hello()
    [lease] = await stream.leases()
    await stream.say(reports=pb.Reports(reports=[completed(lease)]))
    await stream.call.done_writing()
    [acknowledged] = (await stream.hear("acknowledgements")).acknowledgements
    assert acknowledged == pb.Acknowledgement(lease=lease)
    assert await stream.hear("nothing") is None
    stored = await store.read(stored_tasks.by_id, organization_id=caller.tenant, task_id=created.id)
    assert stored.state == "SUCCEEDED"


async def test_a_worker_says_hello_first(stream):
    await stream.say(renewal=pb.Renewal())
    assert await stream.refusal() == (grpc.StatusCode.FAILED_PRECONDITION, "A worker says hello first.")


async def test_a_worker_says_hello_once(stream):
    await stream.hello()
    await stream.say(hello=pb.Hello(actions=[ICLOUD], capacity=1))
    assert (await stream.refusal())[0] is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("hello", "field"),
    [
        (pb.Hello(capacity=1), "hello.actions"),
        (pb.Hello(actions=[ICLOUD]), "hello.capacity"),
        (pb.Hello(actions=[ICLOUD], capacity=10_001), "hello.capacity"),
        (pb.Hello(actions=[ICLOUD], capacity=1, worker="w" * 201), "hello.worker"),
        (pb.Hello(actions=[pb.ActionName(service="A", action="b")], capacity=1), "hello.actions[0].service"),
    ],
)
async def test_a_malformed_hello_is_refused_by_the_field(stream, hello, field):
    await stream.say(hello=hello)
    code, details = await stream.refusal()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}: ")


async def test_too_many_reports_at_once_are_refused(stream):
    await stream.hello()
    lease = pb.LeaseName(task_id="t", attempt=1)
    await stream.say(reports=pb.Reports(reports=[completed(lease)] * 1001))
    assert (await stream.refusal())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_no_message_of_the_contract_is_refused(channel, token):
    call = channel.stream_stream("/taskhouse.v1.WorkService/Work")(metadata=(("authorization", f"Bearer {token}"),))
    await call.write(b"\xff\xff\xff")
    assert await asyncio.wait_for(call.code(), PATIENCE_SECONDS) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_server_that_stops_sends_its_workers_elsewhere_and_keeps_their_sessions(stream, server, store, caller):
    await task(store, caller)
    await stream.hello()
    await stream.leases()
    server.stopping.set()
    assert (await stream.refusal())[0] is grpc.StatusCode.UNAVAILABLE
    expire_time, now = await store.read(first_session)
    assert expire_time - now > 5_000_000


async def test_a_house_that_fails_its_worker_keeps_its_session(stream, store, monkeypatch):
    await stream.hello()

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(work, "renew", away)
    await stream.say(renewal=pb.Renewal())
    assert (await stream.refusal())[0] is grpc.StatusCode.UNAVAILABLE
    expire_time, now = await store.write_soon(first_session)
    assert expire_time - now > 5_000_000


class Expiry(NamedTuple):
    time: int


EXPIRIES = Query(select(SESSIONS.c.expire_time), Expiry)


async def first_session(tx) -> tuple[int, int]:
    [expiry] = await tx.all(EXPIRIES)
    return expiry.time, tx.now


async def test_a_stopping_server_waits_for_no_hello(stream, server):
    await stream.call.wait_for_connection()
    server.stopping.set()
    assert (await stream.refusal())[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_revoked_worker_s_stream_ends_and_its_tasks_start_elsewhere(channel, store, caller, token):
    revoked, credential_id = await token_of_the_house(store)
    stream = Stream(channel, revoked)
    created = await task(store, caller)
    await stream.hello()
    await stream.leases()
    await store.write(credentials.revoke, caller=HOUSE, credential_id=credential_id)
    assert (await stream.refusal())[0] is grpc.StatusCode.UNAUTHENTICATED
    other = Stream(channel, token)
    await other.hello()
    assert [lease.task_id for lease in await other.leases()] == [created.id]


async def test_only_workers_may_work(channel, store):
    operator, _ = await token_of_the_house(store, Role.TOKEN_ADMIN)
    stream = Stream(channel, operator)
    assert (await stream.refusal())[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_leasing_goes_on_after_a_failure_that_nobody_foresaw(stream, store, caller, monkeypatch, caplog):
    failures = [ZeroDivisionError("unforeseen")]
    real = work.look

    async def look(tx, **values):
        if failures:
            raise failures.pop()
        return await real(tx, **values)

    monkeypatch.setattr(work, "look", look)
    created = await task(store, caller)
    await stream.hello()
    assert [lease.task_id for lease in await stream.leases()] == [created.id]
    assert "leasing failed, and starts again" in caplog.text
