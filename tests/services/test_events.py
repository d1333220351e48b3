"""EventService, over gRPC."""

import asyncio

import grpc
import grpc.aio
import orjson
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from server.core import credentials, events, pages
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.events import Object
from server.services import watching
from taskhouse.v1 import events_pb2 as pb
from taskhouse.v1 import events_pb2_grpc
from tests.core.scenes import HOUSE, later, organization

PATIENCE_SECONDS = 20
ANNA, BERT = Caller("c1", Role.ADMIN, 1, "acme", "", "Anna"), Caller("c2", Role.ADMIN, 1, "acme", "", "Bert")


async def record(tx, organization_id, number=0, actor=ANNA, action="rule.updated", about=("rule", "r1"), **more):
    said = {"before": {"n": number - 1}, "after": {"n": number}} | more
    return await events.record(
        tx, organization_id=organization_id, actor=actor, action=action, object=Object(*about), **said
    )


async def bearer(store, name: str, kind: Role = Role.TOKEN_ADMIN) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the metadata of a new token, and its id. Its event is in its organization's log."""
    token = credentials.make_token()
    wanted = NewToken(organization=name, kind=kind)
    created = await store.write(
        credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token)
    )
    return (("authorization", f"Bearer {token}"),), created.id


@pytest_asyncio.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield events_pb2_grpc.EventServiceStub(channel)


@pytest_asyncio.fixture
async def acme(store) -> int:
    return (await organization(store)).tenant


@pytest_asyncio.fixture
async def admin(store, acme):
    """The metadata of the organization's admin; its token is event number 1."""
    return (await bearer(store, "acme"))[0]


async def numbers(stub, metadata, **asked) -> list[int]:
    found = await stub.ListEvents(pb.ListEventsRequest(**asked), metadata=metadata)
    return [event.sequence for event in found.events]


async def test_an_event_tells_all_that_there_is(stub, store, acme, admin):
    await store.write(record, acme, 2**60, reason="asked to")
    found = await stub.ListEvents(pb.ListEventsRequest(page_size=1), metadata=admin)
    [event] = found.events
    assert (event.sequence, event.organization, event.actor_id, event.actor_name) == (2, "acme", "c1", "Anna")
    assert (event.action, event.object_kind, event.object_id) == ("rule.updated", "rule", "r1")
    assert (orjson.loads(event.before), orjson.loads(event.after)) == ({"n": 2**60 - 1}, {"n": 2**60})
    assert (event.reason, len(event.host), len(event.digest)) == ("asked to", 16, 32)
    assert event.event_time.seconds > 1_700_000_000


async def test_what_has_no_fields_before_or_after_says_so(stub, store, acme, admin):
    await store.write(record, acme, before=None)
    found = await stub.ListEvents(pb.ListEventsRequest(page_size=1), metadata=admin)
    assert [found.events[0].HasField(name) for name in ("before", "after")] == [False, True]


async def test_events_are_listed_by_pages_newest_first(stub, store, acme, admin):
    for number in range(6):
        await store.write(record, acme, number)
    told, token = [], ""
    while True:
        page = await stub.ListEvents(pb.ListEventsRequest(page_size=3, page_token=token), metadata=admin)
        told.append([event.sequence for event in page.events])
        await store.write(record, acme)  # What comes meanwhile moves nothing.
        token = page.next_page_token
        if not token:
            break
    assert told == [[7, 6, 5], [4, 3, 2], [1]]


async def test_a_page_ends_where_an_answer_would_be_too_large(stub, store, acme, admin):
    for _ in range(5):
        await store.write(record, acme, before={"text": "x" * 500_000}, after={"text": "y" * 500_000})
    page = await stub.ListEvents(pb.ListEventsRequest(), metadata=admin)
    assert 1 <= len(page.events) < 5
    rest = await stub.ListEvents(pb.ListEventsRequest(page_token=page.next_page_token), metadata=admin)
    assert rest.events[0].sequence == page.events[-1].sequence - 1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"actor": "Bert"}, [4]),
        ({"actor": "c1"}, [5, 3, 2]),
        ({"action": "rule.deleted"}, [5]),
        ({"object_kind": "dataset"}, [3]),
        ({"object_kind": "rule", "object_id": "r1"}, [5, 4, 2]),
        ({"object_id": "r1", "actor": "Anna", "action": "rule.updated"}, [2]),
        ({"actor": "Anna", "page_size": 2}, [5, 3]),
        ({"actor": "nobody"}, []),
        ({"action": "%"}, []),
    ],
)
async def test_events_are_found_by_what_they_say(stub, store, acme, admin, asked, found):
    await store.write(record, acme)
    await store.write(record, acme, about=("dataset", "heights"))
    await store.write(record, acme, actor=BERT)
    await store.write(record, acme, action="rule.deleted")
    assert await numbers(stub, admin, **asked) == found


async def test_events_are_found_by_their_time(stub, store, acme, admin):
    for seconds in (100, 200, 300):
        await store.write(later, seconds, record, organization_id=acme)
    times = [event.event_time for event in await store.read(events.page, organization_id=acme, after=1, most=9)]

    def at(micros):
        return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)

    assert await numbers(stub, admin, start_time=at(times[1])) == [4, 3]
    assert await numbers(stub, admin, start_time=at(times[0]), end_time=at(times[1])) == [2]
    assert await numbers(stub, admin, end_time=at(times[0])) == [1]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_token": "!"}, "page_token"),
        ({"page_token": "YQ"}, "page_token"),
        ({"page_token": "LTE"}, "page_token"),
        ({"actor": "x" * 1001}, "actor"),
        ({"start_time": Timestamp(seconds=10**15)}, "start_time"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_field(stub, admin, asked, field):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await numbers(stub, admin, **asked)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith(field)


async def test_an_organization_s_log_is_its_own_and_an_operator_s_are_all(stub, store, acme, admin):
    await organization(store, "other")
    operator, _ = await bearer(store, "")
    stranger, _ = await bearer(store, "other")
    await store.write(record, acme)
    assert await numbers(stub, operator, organization="acme") == await numbers(stub, admin) == [2, 1]
    assert await numbers(stub, stranger) == [1]
    house = await stub.ListEvents(pb.ListEventsRequest(), metadata=operator)
    assert {event.organization for event in house.events} == {""}
    for asked in ("acme", "nobody"):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await numbers(stub, stranger, organization=asked)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert raised.value.details() == f"There is no organization {asked}."


class Watch:
    """One stream."""

    def __init__(self, stub, metadata, **asked) -> None:
        self.call = stub.WatchEvents(pb.WatchEventsRequest(**asked), metadata=metadata)

    async def next(self) -> int:
        return (await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS)).sequence

    async def refusal(self) -> grpc.StatusCode:
        while True:
            try:
                await self.next()
            except grpc.aio.AioRpcError as error:
                return error.code()


async def test_a_watched_log_is_sent_in_its_order_whichever_process_adds_to_it(stub, store, elsewhere, acme, admin):
    streams = [Watch(stub, admin), Watch(stub, admin), Watch(stub, admin, after=2)]
    await store.write(record, acme)
    assert [[await stream.next() for _ in range(2)] for stream in streams[:2]] == [[1, 2]] * 2
    await asyncio.gather(*(one.write(record, acme) for one in (store, elsewhere) * 100))
    for stream in streams:
        assert [await stream.next() for _ in range(200)] == list(range(3, 203))


async def test_a_watched_log_without_events_is_waited_for(stub, store, admin):
    operator, _ = await bearer(store, "")
    await organization(store, "quiet")
    stream = Watch(stub, operator, organization="quiet")
    await bearer(store, "quiet")
    assert await stream.next() == 1


async def test_a_watched_log_is_read_in_pages_that_end_at_two_mebibytes(stub, store, acme, admin, monkeypatch):
    for number in range(5):
        await store.write(record, acme, number)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 40)
    assert len(await store.read(events.page, organization_id=acme, after=1, most=100)) == 2
    stream = Watch(stub, admin)
    assert [await stream.next() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    await store.write(record, acme)
    assert await stream.next() == 7


async def test_an_event_is_seen_even_if_no_hint_tells_of_it(stub, store, acme, admin, monkeypatch):
    async def never(since: int) -> int:
        return await asyncio.Event().wait()

    monkeypatch.setattr(store, "changed", never)
    monkeypatch.setattr(watching, "MAX_WAIT_SECONDS", 0.05)
    stream = Watch(stub, admin, after=1)
    await store.write(record, acme)
    assert await stream.next() == 2


async def test_a_watched_log_is_cut_when_the_token_is_revoked_or_the_server_stops(stub, store, server, acme, admin):
    metadata, credential_id = await bearer(store, "acme")
    revoked, stopped = Watch(stub, metadata), Watch(stub, admin)
    assert (await revoked.next(), await stopped.next()) == (1, 1)
    await store.write(credentials.revoke, caller=HOUSE, credential_id=credential_id)
    async with asyncio.timeout(1.5):
        assert await revoked.refusal() is grpc.StatusCode.UNAUTHENTICATED
    server.stopping.set()
    assert await stopped.refusal() is grpc.StatusCode.UNAVAILABLE


async def test_a_log_that_cannot_be_watched_is_refused(stub, admin):
    assert await Watch(stub, admin, after=-1).refusal() is grpc.StatusCode.INVALID_ARGUMENT
    assert await Watch(stub, admin, organization="nobody").refusal() is grpc.StatusCode.NOT_FOUND
