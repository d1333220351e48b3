"""DatasetService, over gRPC."""

import asyncio
import threading

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from server.core import budgets, credentials
from server.core.caller import Role
from server.core.credentials import NewToken
from server.core.noise import noisy
from server.store import counts as stored_counts
from taskhouse.v1 import datasets_pb2 as pb
from taskhouse.v1 import datasets_pb2_grpc
from taskhouse.v1.work_pb2 import LeaseName
from tests.core.filled import fill, kept_rows, upload
from tests.core.scenes import HOUSE, organization


async def bearer(store, name, kind=Role.TOKEN_ADMIN):
    token = credentials.make_token()
    wanted = NewToken(organization=name, kind=kind)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token))
    return (("authorization", f"Bearer {token}"),)


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield datasets_pb2_grpc.DatasetServiceStub(channel)


@pytest_asyncio.fixture
async def acme(store):
    return await organization(store)


@pytest_asyncio.fixture
async def admin(store, acme):
    return await bearer(store, "acme")


def heights(**changes) -> pb.Dataset:
    columns = [pb.Column(name="height", type=pb.COLUMN_TYPE_FLOAT), pb.Column(name="sex", type=pb.COLUMN_TYPE_TEXT)]
    return pb.Dataset(**({"name": "heights", "columns": columns} | changes))


async def refused(call) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return code, reason and bad fields of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    details = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info) or detail.Unpack(bad)
    return raised.value.code(), info.reason, [violation.field for violation in bad.field_violations]


async def test_a_declared_dataset_is_found_and_listed(stub, admin):
    declared = await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    assert declared.buckets_per_user == 1
    assert declared.version == 0
    assert declared.create_time.seconds > 1_700_000_000
    budget = pb.Budget(epsilon=20)
    assert heights(buckets_per_user=1, create_time=declared.create_time, budget=budget) == declared
    assert await stub.GetDataset(pb.GetDatasetRequest(dataset="heights"), metadata=admin) == declared
    page = await stub.ListDatasets(pb.ListDatasetsRequest(), metadata=admin)
    assert page == pb.ListDatasetsResponse(datasets=[declared])
    assert await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin) == declared


async def test_other_columns_under_the_same_name_are_refused(stub, admin):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    other = pb.CreateDatasetRequest(dataset=heights(columns=[pb.Column(name="x", type=pb.COLUMN_TYPE_TEXT)]))
    code, reason, _ = await refused(stub.CreateDataset(other, metadata=admin))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "DATASET_EXISTS")


async def test_all_faults_of_a_declaration_are_told_by_field(stub, admin):
    columns = [pb.Column(name="1"), pb.Column(name="a", type=99)]
    call = stub.CreateDataset(
        pb.CreateDatasetRequest(dataset=pb.Dataset(columns=columns, buckets_per_user=-1)), metadata=admin
    )
    assert await refused(call) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        ["dataset.columns[0].type", "dataset.columns[1].type", "dataset.name", "dataset.columns[0].name",
         "dataset.buckets_per_user"],
    )  # fmt: skip


async def test_counts_are_anonymised_and_the_same_for_all_askers(stub, store, acme, admin):
    await stub.CreateDataset(
        pb.CreateDatasetRequest(dataset=heights(columns=[pb.Column(name="height", type=pb.COLUMN_TYPE_FLOAT)])),
        metadata=admin,
    )
    await fill(store, acme, [155] * 503 + [165.5] * 203 + [204])
    asked = pb.CountUsersRequest(dataset="heights", column="height", bin_width="10")
    counted = await stub.CountUsers(asked, metadata=admin)
    assert [(one.label, one.value) for one in counted.buckets] == [("height", "150"), ("height", "160")]
    assert all(one.count % 5 == 0 for one in counted.buckets)
    assert counted.epsilon == 0.5
    assert 0 < counted.delta < 3e-5
    other = await bearer(store, "acme", Role.TOKEN_WRITE)
    assert await stub.CountUsers(asked, metadata=other) == counted


async def test_the_house_writes_while_users_are_counted(stub, store, acme, admin, monkeypatch):
    await stub.CreateDataset(
        pb.CreateDatasetRequest(dataset=heights(columns=[pb.Column(name="height", type=pb.COLUMN_TYPE_FLOAT)])),
        metadata=admin,
    )
    await fill(store, acme, [155] * 500)
    counted, go_on = threading.Event(), threading.Event()

    def slowly(counts):
        counted.set()
        assert go_on.wait(30)
        return noisy(counts)

    monkeypatch.setattr("server.core.counts.noisy", slowly)
    asked = pb.CountUsersRequest(dataset="heights", column="height", bin_width="10")
    asking = [asyncio.ensure_future(stub.CountUsers(asked, metadata=admin)) for _ in range(3)]
    try:
        assert await asyncio.to_thread(counted.wait, 30)
        later = {f"later-{number}": {"heights": [{"height": 155}]} for number in range(500)}
        await asyncio.wait_for(upload(store, acme, later), 10)
        # Nor does it matter how many count: other long reads have their turn.
        await asyncio.wait_for(stub.ListDatasets(pb.ListDatasetsRequest(), metadata=admin), 10)
    finally:
        go_on.set()
    [together] = {(await one).buckets[0].count for one in asking}
    assert together < 750 < (await stub.CountUsers(asked, metadata=admin)).buckets[0].count


async def test_counting_goes_on_when_its_caller_gives_up_and_the_next_one_finds_the_answer(
    stub, store, acme, admin, monkeypatch
):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    people = {f"user-{number}": {"heights": [{"height": 155, "sex": "f"}]} for number in range(500)}
    await upload(store, acme, people)
    began, go_on, draws = threading.Event(), threading.Event(), []

    def slowly(counts):
        draws.append(1)
        began.set()
        assert go_on.wait(30)
        return noisy(counts)

    monkeypatch.setattr("server.core.counts.noisy", slowly)
    asked = pb.CountUsersRequest(dataset="heights", column="height", bin_width="10")
    impatient = stub.CountUsers(asked, metadata=admin)
    asking = asyncio.ensure_future(impatient)
    try:
        assert await asyncio.to_thread(began.wait, 30)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    finally:
        go_on.set()
    assert (await stub.CountUsers(asked, metadata=admin)).buckets
    assert len(draws) == 1
    budget = (await stub.GetDataset(pb.GetDatasetRequest(dataset="heights"), metadata=admin)).budget
    assert budget.spent_epsilon == 0.5


async def test_what_nobody_can_pay_for_any_more_is_not_counted(stub, store, acme, admin, monkeypatch):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    await store.write(budgets.set_budget, caller=HOUSE, organization="acme", dataset="heights", epsilon=0.5)
    widths, scans, count = range(1, 21), [], stored_counts.count

    async def count_and_tell(tx, **values):
        scans.append(1)
        return await count(tx, **values)

    monkeypatch.setattr(stored_counts, "count", count_and_tell)
    asked = [pb.CountUsersRequest(dataset="heights", column="height", bin_width=str(width)) for width in widths]
    told = await asyncio.gather(*(stub.CountUsers(one, metadata=admin) for one in asked), return_exceptions=True)
    refusals = [one.code() for one in told if isinstance(one, grpc.aio.AioRpcError)]
    assert refusals == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 19
    assert len(scans) == 1


async def test_the_questions_of_an_organization_that_wait_are_bounded(store, stub, acme, admin, monkeypatch):
    monkeypatch.setattr("server.services.datasets.MAX_QUESTIONS", 2)
    await organization(store, "other")
    other = await bearer(store, "other")
    for caller in (admin, other):
        await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=caller)
    counting, go_on = threading.Event(), threading.Event()

    def slowly(counts):
        counting.set()
        assert go_on.wait(30)
        return noisy(counts)

    def ask(width: int, caller):
        asked = pb.CountUsersRequest(dataset="heights", column="height", bin_width=str(width))
        return asyncio.ensure_future(stub.CountUsers(asked, metadata=caller))

    monkeypatch.setattr("server.core.counts.noisy", slowly)
    try:
        waiting = [ask(1, admin)]
        assert await asyncio.to_thread(counting.wait, 30)
        three = [ask(width, admin) for width in (2, 3, 4)]
        done, rest = await asyncio.wait(three, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        while len(rest) > 1:
            more, rest = await asyncio.wait(rest, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for one in done:
            code, reason, _ = await refused(one)
            assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_QUESTIONS")
        waiting += [*rest, ask(1, admin), ask(1, other)]  # The same question waits with the first.
    finally:
        go_on.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 30)


async def test_categories_where_and_exceptions_are_counted(stub, store, acme, admin):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    kinds = [("female", 300, 165), ("male", 200, 180), ("x" * 201, 100, 170), ("diverse", 3, 170)]
    people = {
        f"{sex[:9]}-{number}": {"heights": [{"height": height, "sex": sex}]}
        for sex, many, height in kinds
        for number in range(many)
    }
    await upload(store, acme, people)
    every = await stub.CountUsers(pb.CountUsersRequest(dataset="heights", column="sex", categories="*"), metadata=admin)
    assert [(one.label, one.value) for one in every.buckets] == [("sex", "female"), ("sex", "male")]
    assert [one.error for one in every.exceptions] == ["The value has more than 200 characters."]
    assert all(abs(one.count - 100) < 40 and one.count % 5 == 0 for one in every.exceptions)
    tall = pb.CountUsersRequest(
        dataset="heights", column="sex", categories='["male", "female"]', where='{"$$height": {"$gt": 170}}'
    )
    assert [one.value for one in (await stub.CountUsers(tall, metadata=admin)).buckets] == ["male"]


async def test_an_exhausted_budget_refuses_new_questions_and_an_operator_raises_it(stub, store, acme, admin):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    await upload(store, acme, {f"user-{number}": {"heights": [{"height": 155, "sex": "f"}]} for number in range(99)})
    operator = await bearer(store, "", Role.TOKEN_ADMIN)
    wanted = pb.SetBudgetRequest(organization="acme", dataset="heights", epsilon=0.75)
    assert await stub.SetBudget(wanted, metadata=operator) == pb.Budget(epsilon=0.75)
    first = pb.CountUsersRequest(dataset="heights", column="height", bin_width="10")
    answer = await stub.CountUsers(first, metadata=admin)
    second = pb.CountUsersRequest(dataset="heights", column="height", bin_width="20")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.CountUsers(second, metadata=admin)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == (
        "The privacy budget of dataset heights does not suffice: this question costs 0.5, and 0.25 is left."
    )
    details = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    assert info.reason == "BUDGET_EXHAUSTED"
    assert dict(info.metadata) == {"dataset": "heights", "cost": "0.5", "remaining": "0.25"}
    assert await stub.CountUsers(first, metadata=admin) == answer
    code, reason, _ = await refused(stub.SetBudget(wanted, metadata=admin))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
    await stub.SetBudget(pb.SetBudgetRequest(organization="acme", dataset="heights", epsilon=1), metadata=operator)
    assert (await stub.CountUsers(second, metadata=admin)).buckets
    budget = (await stub.GetDataset(pb.GetDatasetRequest(dataset="heights"), metadata=admin)).budget
    assert (budget.epsilon, budget.spent_epsilon) == (1, 1)
    assert budget.spent_delta == pytest.approx(2 * answer.delta, rel=1e-6)


async def test_a_budget_of_nothing_must_be_said(stub, store, acme, admin):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    operator = await bearer(store, "", Role.TOKEN_ADMIN)
    wanted = pb.SetBudgetRequest(organization="acme", dataset="heights")
    assert await refused(stub.SetBudget(wanted, metadata=operator)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["epsilon"],
    )  # fmt: skip
    wanted.epsilon = 0
    assert (await stub.SetBudget(wanted, metadata=operator)).epsilon == 0


async def test_reading_is_not_enough_to_count(stub, store, admin):
    reader = await bearer(store, "acme", Role.TOKEN_READ)
    code, reason, _ = await refused(stub.CountUsers(pb.CountUsersRequest(), metadata=reader))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")


async def test_a_worker_s_lease_must_be_live(stub, store, admin):
    worker = await bearer(store, "", Role.TOKEN_WRITE)
    ended = pb.CountUsersRequest(dataset="heights", lease=LeaseName(task_id="x", attempt=1))
    code, reason, _ = await refused(stub.CountUsers(ended, metadata=worker))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "LEASE_ENDED")
    assert await refused(stub.CountUsers(pb.CountUsersRequest(), metadata=worker)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["lease"],
    )  # fmt: skip


async def test_another_organization_s_dataset_is_not_found(stub, store, admin):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    await organization(store, "other")
    stranger = await bearer(store, "other")
    asked = pb.CountUsersRequest(dataset="heights", column="height", bin_width="10")
    for call in (
        stub.GetDataset(pb.GetDatasetRequest(dataset="heights"), metadata=stranger),
        stub.CountUsers(asked, metadata=stranger),
        stub.EraseUser(pb.EraseUserRequest(dataset="heights", user="a"), metadata=stranger),
    ):
        code, reason, _ = await refused(call)
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND")


@pytest.mark.parametrize("changes", [{"page_size": -1}, {"page_token": "!"}])
async def test_bad_pages_are_refused_by_field(stub, admin, changes):
    code, reason, fields = await refused(stub.ListDatasets(pb.ListDatasetsRequest(**changes), metadata=admin))
    assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", list(changes))


def test_nothing_in_the_contract_reads_rows():
    service = pb.DESCRIPTOR.services_by_name["DatasetService"]
    assert {method.name for method in service.methods} == {
        "CreateDataset", "GetDataset", "ListDatasets", "Upload", "GetUpload", "EraseUser", "CountUsers", "SetBudget",
    }  # fmt: skip


async def test_a_user_is_erased(stub, admin, store, acme):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    await upload(store, acme, {user: {"heights": [{"height": 1, "sex": "f"}]} for user in ("anna", "bert")})
    erased = await stub.EraseUser(pb.EraseUserRequest(dataset="heights", user="anna"), metadata=admin)
    assert erased == await stub.GetDataset(pb.GetDatasetRequest(dataset="heights"), metadata=admin)
    assert erased.version == 2
    assert [row.user_id for row in await kept_rows(store)] == ["bert"]


@pytest.mark.parametrize("user", ["", "x" * 256, "a\0"])
async def test_no_user_can_have_such_a_name(stub, admin, user):
    await stub.CreateDataset(pb.CreateDatasetRequest(dataset=heights()), metadata=admin)
    asked = pb.EraseUserRequest(dataset="heights", user=user)
    code, reason, fields = await refused(stub.EraseUser(asked, metadata=admin))
    assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["user"])
