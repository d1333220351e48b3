"""StatService, over gRPC."""

import asyncio

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from server.core import credentials, organizations
from server.core.caller import Role
from server.core.credentials import NewToken
from taskhouse.v1 import stats_pb2 as pb
from taskhouse.v1 import stats_pb2_grpc
from tests.core.scenes import HOUSE

INVALID, NOT_FOUND, EXISTS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
)
UUID = "76a3999f-ab22-4008-a540-f68082f44cb2"


class Client:
    """The stub of an organization's token."""

    def __init__(self, channel, token) -> None:
        self._stub = stats_pb2_grpc.StatServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def write(self, *messages):
        return await self.send(iter([pb.WriteRequest(stats=stats) for stats in messages]))

    async def send(self, requests):
        return await self._stub.Write(requests, metadata=self._metadata)

    async def query(self, *filters, **asked):
        return await self._stub.Query(pb.QueryRequest(filters=filters, **asked), metadata=self._metadata)

    async def get(self, stat_id):
        return await self._stub.GetStat(pb.GetStatRequest(stat_id=stat_id), metadata=self._metadata)

    async def update(self, stat, *paths):
        request = pb.UpdateStatRequest(stat=stat, update_mask=FieldMask(paths=paths))
        return await self._stub.UpdateStat(request, metadata=self._metadata)

    async def delete(self, stat_id):
        return await self._stub.DeleteStat(pb.DeleteStatRequest(stat_id=stat_id), metadata=self._metadata)

    async def purge(self, *filters, **asked):
        return await self._stub.PurgeStats(pb.PurgeStatsRequest(filters=filters, **asked), metadata=self._metadata)


@pytest_asyncio.fixture
async def client(server, store):
    """Returns clients of organizations, with admin access."""
    async with grpc.aio.insecure_channel(server.address) as channel:

        async def of(name):
            await store.write(organizations.create, name=name)
            token = credentials.make_token()
            wanted = NewToken(organization=name, kind=Role.TOKEN_ADMIN)
            digest = credentials.token_digest(token)
            await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
            return Client(channel, token)

        yield of


@pytest_asyncio.fixture
async def acme(client):
    return await client("acme")


def stat(**changes):
    return pb.Stat(
        **{"anr_number": 2, "type": "risk", "day": 1, "week": 1, "month": 1, "data": '{"a": {"b": 1.50}}'} | changes
    )


def where(field, operator, *values, path=(), negated=False):
    made = [pb.StatValue(**{kind: value}) for kind, value in values]
    number = pb.StatOperator.Value(f"STAT_OPERATOR_{operator}")
    return pb.StatFilter(field=field, path=path, operator=number, negated=negated, values=made)


async def fields_of(refused) -> list[str]:
    """The fields that a refusal names."""
    bad = error_details_pb2.BadRequest()
    next(each for each in rpc_status.from_call(refused).details if each.Is(bad.DESCRIPTOR)).Unpack(bad)
    return [violation.field for violation in bad.field_violations]


async def test_a_stream_is_stored_message_by_message_and_may_be_sent_again(acme):
    sent = [[stat(uuid=UUID), stat(day=2)], [], [stat(day=3, year=2020, anr_uuid=UUID)]]
    answer = await acme.write(*sent)
    assert (answer.written, answer.existing) == (3, 0)
    answer = await acme.write([stat(uuid=UUID.upper())])
    assert (answer.written, answer.existing) == (0, 1)
    page = await acme.query()
    assert [each.day for each in page.stats] == [1, 2, 3]
    first, _, third = page.stats
    assert (first.organization, first.uuid, first.data, first.anr_number) == ("acme", UUID, '{"a": {"b": 1.50}}', 2)
    assert (third.anr_uuid, third.year, third.HasField("quarter")) == (UUID, 2020, False)
    assert await acme.get(first.id) == first


async def test_a_bad_stat_ends_the_stream_and_says_which_it_is(acme):
    bad = pb.Stat(type="x" * 121, data="{", uuid="x")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.write([stat()], [stat(), bad, pb.Stat()])
    assert raised.value.code() is INVALID
    assert await fields_of(raised.value) == [
        "messages[1].stats[1].data",
        "messages[1].stats[1].uuid",
        "messages[1].stats[1].anr_number",
        "messages[1].stats[1].type",
        "messages[1].stats[2].anr_number",
        "messages[1].stats[2].data",
    ]
    assert len((await acme.query()).stats) == 1


async def test_a_stream_that_says_nothing_for_long_ends(acme, monkeypatch):
    monkeypatch.setattr("server.services.stats.IDLE_SECONDS", 0.05)

    async def silence():
        yield pb.WriteRequest(stats=[stat()])
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.send(silence())
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len((await acme.query()).stats) == 1


async def test_a_message_of_many_stats_is_stored_and_of_too_many_is_not(acme):
    assert (await acme.write([stat()] * 5000)).written == 5000
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.write([pb.Stat()] * 5001)
    assert await fields_of(raised.value) == ["messages[0].stats"]


async def test_a_uuid_with_other_content_is_refused_with_all_of_its_message(acme):
    await acme.write([stat(uuid=UUID)])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.write([stat(day=5), stat(uuid=UUID, day=9)])
    assert raised.value.code() is EXISTS
    assert len((await acme.query()).stats) == 1


@pytest.mark.parametrize(
    ("filter_", "days"),
    [
        (where("day", "EQUAL", ("integer", 2)), [2]),
        (where("day", "UNSPECIFIED", ("integer", 2), negated=True), [1, 3]),
        (where("day", "IN", ("integer", 1), ("integer", 3)), [1, 3]),
        (where("day", "GREATER", ("integer", 2**63 - 1)), []),
        (where("type", "STARTS_WITH_IGNORING_CASE", ("text", "T1")), [1]),
        (where("year", "EQUAL", ("missing", True)), [1, 2]),
        (where("year", "EXISTS"), [3]),
        (where("year", "EXISTS", ("truth", False)), [1, 2]),
        (where("anr", "EQUAL", ("text", UUID.upper())), [2]),
        (where("anr", "EQUAL", ("integer", 2)), [1, 3]),
        (where("created_at", "LESS", ("text", "2020-01-01")), [1]),
        (where("organization", "EQUAL", ("text", "acme")), [1, 2, 3]),
        (where("organization", "EQUAL", ("text", "other")), []),
        (where("data", "GREATER", ("number", 1.75), path=["n"]), [2, 3]),
        (where("data", "EQUAL", ("text", "2"), path=["n"]), []),
        (where("data", "EQUAL", ("truth", True), path=["f"]), [1]),
        (where("data", "SIZE", ("integer", 2), path=["l"]), [2]),
        (where("data", "EQUAL", ("missing", True), path=["l"]), [1, 3]),
        (where("data", "ALL", ("integer", 1), ("integer", 2), path=["n"]), []),
        (where("data", "CONTAINS", ("text", "q"), path=["a.b", "$c"]), [3]),
    ],
)
async def test_filters_are_typed(acme, filter_, days):
    old = Timestamp(seconds=1_500_000_000)
    await acme.write(
        [
            stat(day=1, type="T1", create_time=old, data='{"n": 1, "f": true}'),
            stat(day=2, type="T2", anr_uuid=UUID, data='{"n": 2, "f": 1, "l": [1, 2]}'),
            stat(day=3, type="T3", year=2020, data='{"n": 3, "a.b": {"$c": "qr"}}'),
        ]
    )
    assert [each.day for each in (await acme.query(filter_)).stats] == days


@pytest.mark.parametrize(
    ("filter_", "told"),
    [
        (pb.StatFilter(field="nothing"), "no such field"),
        (pb.StatFilter(field="day", operator=99, values=[pb.StatValue(integer=1)]), "no such operator"),
        (where("day", "EQUAL"), "must be one value"),
        (where("day", "EQUAL", ("text", "1")), "must be integer"),
        (where("day", "EQUAL", ("number", 1.0)), "must be integer"),
        (where("day", "EQUAL", ("integer", 1), path=["a"]), "only data has paths"),
        (where("day", "GREATER", ("missing", True)), "must be integer"),
        (where("day", "CONTAINS", ("integer", 1)), "must be text"),
        (where("data", "GREATER", ("number", float("nan"))), "must be finite"),
        (where("created_at", "LESS", ("text", "soon")), "cannot parse date"),
        (where("anr", "EQUAL", ("text", "2")), "must be a UUID"),
        (where("id", "EQUAL", ("text", "2")), "must be 24 hexadecimal digits"),
        (where("data", "IN", *[("integer", 1)] * 1001), "at most 1000"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(acme, filter_, told):
    with pytest.raises(grpc.aio.AioRpcError, match=told) as raised:
        await acme.query(where("day", "EQUAL", ("integer", 1)), filter_)
    assert await fields_of(raised.value) == ["filters[1]"]


@pytest.mark.parametrize("order", ["", "id", "-id", "day", "-day", "type", "-created_at", "month"])
async def test_pages_hold_every_stat_once_in_their_order(acme, order):
    await acme.write([stat(day=number % 3, type=f"t\n{number % 2}\x7f") for number in range(7)])
    whole = [each.id for each in (await acme.query(order_by=order)).stats]
    assert len(whole) == 7
    found, token = [], ""
    while True:
        page = await acme.query(order_by=order, page_size=2, page_token=token)
        found += [each.id for each in page.stats]
        token = page.next_page_token
        if not token:
            break
    assert found == whole


@pytest.mark.parametrize(
    "asked", [{"page_token": "?"}, {"page_token": "eA"}, {"page_size": -1}, {"order_by": "uuid"}, {"order_by": "-"}]
)
async def test_a_page_that_cannot_be_is_refused(acme, asked):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.query(**asked)
    assert raised.value.code() is INVALID
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.query(*[where("day", "EXISTS")] * 51)
    assert await fields_of(raised.value) == ["filters"]


@pytest.mark.parametrize("size", [20, 1000])
async def test_pages_of_large_stats_are_such_as_clients_take(acme, size):
    for day in range(6):
        await acme.write([stat(day=day, data=f'"{"x" * 1_400_000}"')])
    days, token = [], ""
    while token or not days:
        page = await acme.query(page_size=size, page_token=token)
        days += [each.day for each in page.stats]
        token = page.next_page_token
    assert days == list(range(6))


async def test_what_a_mask_names_is_changed(acme):
    await acme.write([stat(year=2020), stat(uuid=UUID)])
    first, second = (await acme.query()).stats
    wanted = pb.Stat(id=first.id, day=9, anr_uuid=UUID, data="[1]", create_time=Timestamp(seconds=1_500_000_000))
    changed = await acme.update(wanted, "day", "anr_uuid", "data", "create_time", "year")
    assert (changed.day, changed.anr_uuid, changed.data) == (9, UUID, "[1]")
    assert (changed.HasField("year"), changed.create_time.seconds, changed.type) == (False, 1_500_000_000, "risk")
    assert await acme.get(first.id) == changed
    for paths, fields in (
        ((), ["update_mask"]),
        (("id",), ["update_mask"]),
        (("anr_number",), ["stat.anr_number"]),
        (("data", "uuid"), ["stat.data", "stat.uuid"]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await acme.update(pb.Stat(id=first.id, uuid="x", anr_uuid=UUID, data="{"), *paths)
        assert await fields_of(raised.value) == fields
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await acme.update(pb.Stat(id=first.id, uuid=second.uuid), "uuid")
    assert raised.value.code() is EXISTS


async def test_another_organization_s_stat_is_unknown(acme, client):
    other = await client("other")
    await acme.write([stat()])
    [mine] = (await acme.query()).stats
    refusals = []
    for stat_id in (mine.id, "0" * 24):
        for call in (other.get(stat_id), other.delete(stat_id), other.update(pb.Stat(id=stat_id, day=2), "day")):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is NOT_FOUND
            refusals.append(raised.value.details().replace(stat_id, "…"))
    assert len(set(refusals)) == 1
    await acme.delete(mine.id)
    assert not (await acme.query()).stats


async def test_old_stats_are_purged(acme):
    await acme.write([stat(day=day, create_time=Timestamp(seconds=day * 1000)) for day in range(1, 6)])
    purged = await acme.purge(where("day", "GREATER", ("integer", 1)), before_time=Timestamp(seconds=4000))
    assert purged.deleted == 2
    assert [each.day for each in (await acme.query()).stats] == [1, 4, 5]
    for asked in ({}, {"before_time": Timestamp(seconds=2**40)}):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await acme.purge(**asked)
        assert await fields_of(raised.value) == ["before_time"]
