"""ResultService over gRPC: results that are sent live until they are acknowledged, and downloads of stored ones."""

import asyncio
import time

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import code_pb2
from grpc_status import rpc_status

from server.core import credentials, deliveries, downloading, listening, organizations, tasks
from server.core.arrivals import Bytes, Chunk
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.deliveries import CHUNK_BYTES
from server.core.reports import Ending, Publication, Report
from server.identity.authority import Authority
from server.wiring import build_server
from taskhouse.v1 import results_pb2 as pb
from taskhouse.v1 import results_pb2_grpc
from tests.core.scenes import HOUSE, Worker, later, task

PATIENCE_SECONDS = 20
SOON_SECONDS = 4  # Well before a claim that nobody renews ends, which is after 6.
ONE, TWO = b"1" * CHUNK_BYTES, b"2" * CHUNK_BYTES
Code = grpc.StatusCode


class Stream:
    """A call whose answer is a stream."""

    def __init__(self, call) -> None:
        self.call = call

    async def next(self, seconds: float = PATIENCE_SECONDS):
        """Return the next message; None at the stream's end."""
        message = await asyncio.wait_for(self.call.read(), seconds)
        return None if message is grpc.aio.EOF else message

    async def hear(self, *task_ids: str) -> list[pb.StreamResponse]:
        """Return the next messages, which are the whole results of these tasks."""
        found = [await self.next(SOON_SECONDS) for _ in task_ids]
        assert [one.task_id for one in found] == list(task_ids)
        return found

    async def rest(self) -> list:
        """Return all messages that are left, of a stream that ends well."""
        found = []
        while (message := await self.next()) is not None:
            found.append(message)
        assert await self.call.code() is Code.OK
        return found

    async def refusal(self) -> tuple[Code, str]:
        """Return how the stream fails, once it does."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.rest()
        return refusal(raised.value)


def refusal(error: grpc.aio.AioRpcError) -> tuple[Code, str]:
    """Return code and reason."""
    status = rpc_status.from_call(error)
    reasons = [detail.value.decode(errors="ignore") for detail in status.details] if status else []
    return error.code(), next((name for name in REASONS if any(name in reason for reason in reasons)), "")


REASONS = ("RESULT_NOT_FOUND", "RESULT_CLAIMED", "LISTENER_REPLACED", "STOPPING")


class Client:
    """A token of an organization."""

    def __init__(self, store, token: str, caller: Caller, *channels) -> None:
        self.store, self.caller = store, caller
        self._stubs = [results_pb2_grpc.ResultServiceStub(channel) for channel in channels]
        self._bearer = (("authorization", f"Bearer {token}"),)

    async def ask(self, retrieval: str = "aschannel") -> str:
        """Ask for a task and return its id."""
        return (await task(self.store, self.caller, retrieval=retrieval)).id

    async def listen(self, process: int = 0) -> Stream:
        """Return a stream that has begun, to one of the two server processes."""
        stream = Stream(self._stubs[process].Stream(pb.StreamRequest(), metadata=self._bearer))
        await stream.call.initial_metadata()
        return stream

    def download(self, task_id: str, process: int = 0) -> Stream:
        return Stream(self._stubs[process].Download(pb.DownloadRequest(task_id=task_id), metadata=self._bearer))

    async def acknowledge(self, *task_ids: str, process: int = 0) -> None:
        request = pb.AcknowledgeResultsRequest(task_ids=task_ids)
        await self._stubs[process].AcknowledgeResults(request, metadata=self._bearer)


@pytest_asyncio.fixture
async def clients(server, store, elsewhere, data, tmp_path_factory):
    """Makes clients of organizations that are made if need be, with channels to two server processes."""
    address = f"unix:{tmp_path_factory.mktemp('s')}/s"
    other = build_server(store=elsewhere, authority=Authority.open(data), address=address)
    await other.grpc.start()
    made: dict[str, int] = {}
    async with grpc.aio.insecure_channel(server.address) as first, grpc.aio.insecure_channel(address) as second:

        async def client(name: str = "acme") -> Client:
            if name not in made:
                made[name] = (await store.write(organizations.create, name=name)).id
            token = credentials.make_token()
            wanted = NewToken(organization=name, kind=Role.TOKEN_WRITE)
            digest = credentials.token_digest(token)
            created = await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
            return Client(store, token, Caller(created.id, Role.TOKEN_WRITE, made[name], name, ""), first, second)

        yield client
    await other.stop(grace=0)


@pytest_asyncio.fixture
async def client(clients) -> Client:
    return await clients()


@pytest_asyncio.fixture
async def publish(store):
    """Publishes the result of the one task that waits: chunks, then the rest; and completes it if that is wanted."""
    worker = await Worker.seated(store)

    async def published(rest: bytes = b"abc", *chunks: bytes, complete: bool = True) -> None:
        [lease] = await worker.lease(1)
        said = [Report(lease, Chunk(number, chunk)) for number, chunk in enumerate(chunks, start=1)]
        said.append(Report(lease, Publication(1, Bytes(rest, len(chunks), "text/plain", "a.txt"))))
        if complete:
            said.append(Report(lease, Ending.COMPLETED))
        assert set(await worker.report(*said)) == {""}

    return published


async def until_all(rows, *states: tuple[str, int]) -> None:
    """Wait until the deliveries, the oldest task first, are in these states, and known as retrieved or not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := await rows("SELECT state, retrieved FROM deliveries ORDER BY task_id")) != list(states):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


# Streams


async def test_what_is_acknowledged_is_gone_and_what_is_not_is_sent_to_the_next_listener(client, publish, rows):
    stream = await client.listen()
    first = await client.ask()
    await publish(b"first")
    [one] = await stream.hear(first)
    assert (one.service, one.action, one.content_type, one.filename, one.data) == (
        "icloud", "fetch-data", "text/plain", "a.txt", b"first",
    )  # fmt: skip
    assert (one.part, one.part_count, one.size, one.HasField("error")) == (1, 1, 5, False)
    second = await client.ask()
    await publish(b"second")
    await stream.hear(second)
    await client.acknowledge(first, process=1)
    stream.call.cancel()
    stream = await client.listen(process=1)
    await stream.hear(second)
    third = await client.ask()
    await publish(b"third")
    await stream.hear(third)
    await client.acknowledge(second, third, third, "unknown")
    await until_all(rows, *[("DELIVERED", 1)] * 3)


async def test_what_is_not_acknowledged_is_discarded_when_nobody_comes_within_the_grace(client, publish, rows):
    stream = await client.listen()
    lost = await client.ask()
    await publish()
    await stream.hear(lost)
    stream.call.cancel()
    await until_all(rows, ("DISCARDED", 0))
    stream = await client.listen()
    later_ = await client.ask()
    await publish()
    await stream.hear(later_)
    await client.acknowledge(lost)  # It is believed even so.
    await until_all(rows, ("DELIVERED", 1), ("CLAIMED", 0))


async def test_a_newer_stream_takes_over_with_what_is_not_acknowledged(client, publish):
    first = await client.listen()
    asked = await client.ask()
    await publish()
    await first.hear(asked)
    second = await client.listen(process=1)
    assert await first.refusal() == (Code.ABORTED, "LISTENER_REPLACED")
    await second.hear(asked)
    again = await client.ask()
    await publish()
    await second.hear(again)


async def test_a_newer_stream_takes_over_from_one_that_is_not_read(client, publish, rows):
    stalled = await client.listen()
    large = await client.ask()
    await publish(b"", *[ONE] * 20)
    small = await client.ask()
    await publish()
    await until_all(rows, ("CLAIMED", 0), ("CLAIMED", 0))
    newer = await client.listen(process=1)
    heard = [(one.task_id, one.part) for one in [await newer.next(SOON_SECONDS) for _ in range(21)]]
    assert sorted(heard) == sorted([(small, 1), *((large, number) for number in range(1, 21))])
    assert await stalled.refusal() == (Code.ABORTED, "LISTENER_REPLACED")


async def test_a_stranger_hears_nothing_and_what_it_acknowledges_is_sent_again(clients, client, publish):
    neighbour, stranger = await clients("acme"), await clients("other")
    streams = [await other.listen() for other in (neighbour, stranger)]
    stream = await client.listen()
    asked = await client.ask()
    await publish()
    await stream.hear(asked)
    for other in (neighbour, stranger):
        await other.acknowledge(asked)
    stream.call.cancel()
    await (await client.listen()).hear(asked)
    for other, its_stream in zip((neighbour, stranger), streams, strict=True):
        own = await other.ask()
        await publish()
        await its_stream.hear(own)


async def test_a_large_result_comes_in_parts_in_their_order(client, publish):
    stream = await client.listen()
    await client.ask()
    await publish(b"3", ONE, TWO)
    parts = [await stream.next() for _ in range(3)]
    assert [(part.part, part.part_count, part.size) for part in parts] == [
        (number, 3, 2 * CHUNK_BYTES + 1) for number in (1, 2, 3)
    ]
    assert b"".join(part.data for part in parts) == ONE + TWO + b"3"


async def test_of_a_result_that_is_acknowledged_while_it_is_sent_no_more_comes(client, publish, store):
    stream = await client.listen()
    asked = await client.ask()
    await publish(b"", *[ONE] * 30)
    assert (await stream.next()).part == 1
    await client.acknowledge(asked)
    while await store.write_guarded(deliveries.remove_chunks):
        pass
    next_ = await client.ask()
    await publish(b"next")
    parts = []
    while (part := await stream.next()).task_id == asked:
        parts.append(part.part)
    assert parts == list(range(2, 2 + len(parts)))
    assert len(parts) < 29
    assert (part.task_id, part.data) == (next_, b"next")


async def test_a_result_is_acknowledged_before_its_task_is_over_and_stays_gone(client, publish, rows):
    stream = await client.listen()
    asked = await client.ask()
    await publish(complete=False)
    await stream.hear(asked)
    await client.acknowledge(asked)
    await until_all(rows, ("DELIVERED", 1))


async def test_no_more_is_sent_than_may_wait_to_be_acknowledged(client, publish, monkeypatch, rows):
    monkeypatch.setattr(listening, "MAX_UNACKNOWLEDGED", 2)
    asked = []
    for _ in range(3):
        asked.append(await client.ask())
        await publish()
    stream = await client.listen()
    await stream.hear(*asked[:2])
    await until_all(rows, ("CLAIMED", 0), ("CLAIMED", 0), ("AVAILABLE", 0))
    await client.acknowledge(asked[0], process=1)
    await stream.hear(asked[2])


async def test_that_a_task_ended_badly_is_told_without_bytes(client, store, rows):
    stream = await client.listen()
    asked = await client.ask()
    await store.write(tasks.cancel, caller=client.caller, task_id=asked)
    [told] = await stream.hear(asked)
    assert (told.error.code, told.error.message) == (code_pb2.UNKNOWN, "Task did not complete successfully.")
    assert (told.part, told.part_count, told.data, told.content_type) == (1, 1, b"", "")
    await client.acknowledge(asked)
    await until_all(rows, ("DELIVERED", 1))


@pytest.mark.parametrize("count", [0, 10_001])
async def test_too_few_or_too_many_acknowledgements_are_refused(client, count):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.acknowledge(*["x"] * count)
    assert raised.value.code() is Code.INVALID_ARGUMENT


async def test_a_stopping_server_tells_listeners_to_come_again_and_loses_nothing(client, publish, server):
    stream = await client.listen()
    asked = await client.ask()
    await publish()
    await stream.hear(asked)
    server.stopping.set()
    assert await stream.refusal() == (Code.UNAVAILABLE, "STOPPING")
    await (await client.listen(process=1)).hear(asked)


# Downloads


@pytest.mark.parametrize("chunks", [(), (ONE, TWO)], ids=["small", "large"])
async def test_a_stored_result_is_downloaded_once(client, publish, rows, chunks):
    asked = await client.ask("asstore")
    assert await client.download(asked).refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")
    await publish(b"abc", *chunks)
    first, *others = await client.download(asked).rest()
    assert (first.content_type, first.filename) == ("text/plain", "a.txt")
    assert first.size == sum(map(len, chunks)) + 3
    assert {(one.content_type, one.size) for one in others} <= {("", 0)}
    assert b"".join(one.data for one in (first, *others)) == b"".join(chunks) + b"abc"
    await until_all(rows, ("DELIVERED", 1))
    assert await client.download(asked, process=1).refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")


async def test_a_download_that_is_broken_off_leaves_the_result_to_the_next(client, publish, rows):
    asked = await client.ask("asstore")
    await publish(b"abc", *[ONE] * 20)
    broken = client.download(asked)
    assert (await broken.next()).size == 20 * CHUNK_BYTES + 3
    assert await client.download(asked, process=1).refusal() == (Code.UNAVAILABLE, "RESULT_CLAIMED")
    broken.call.cancel()
    await until_all(rows, ("AVAILABLE", 0))
    whole = await client.download(asked, process=1).rest()
    assert sum(len(one.data) for one in whole) == 20 * CHUNK_BYTES + 3


async def test_of_racing_downloads_in_two_processes_one_succeeds(client, publish):
    asked = await client.ask("asstore")
    await publish(b"abc", ONE)
    calls = [client.download(asked, process=number % 2).rest() for number in range(64)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    [whole] = [one for one in outcomes if not isinstance(one, Exception)]
    assert b"".join(one.data for one in whole) == ONE + b"abc"
    refused = {refusal(one) for one in outcomes if isinstance(one, Exception)}
    assert refused <= {(Code.NOT_FOUND, "RESULT_NOT_FOUND"), (Code.UNAVAILABLE, "RESULT_CLAIMED")}


@pytest.mark.parametrize("outcome", [deliveries.deliver, deliveries.give_back, None], ids=["sent", "broken", "dead"])
async def test_whoever_comes_while_the_last_of_a_result_is_sent_learns_what_becomes_of_it(
    client, publish, store, monkeypatch, outcome
):
    asked = await client.ask("asstore")
    await publish()
    parcel = await store.write_guarded(deliveries.claim, caller=client.caller, task_id=asked)
    await store.write_guarded(deliveries.hand_over, parcel=parcel)
    if outcome is None:
        monkeypatch.setattr(downloading, "LAST_LOOKS", 2)
        assert await client.download(asked).refusal() == (Code.UNAVAILABLE, "RESULT_CLAIMED")
        return
    second = client.download(asked, process=1)
    if outcome is deliveries.deliver:
        await store.write_guarded(outcome, parcels=[parcel])
        assert await second.refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")
    else:
        await store.write_guarded(outcome, parcel=parcel)
        [message] = await second.rest()
        assert message.data == b"abc"


async def test_others_download_nothing(clients, client, publish):
    asked, sent = await client.ask("asstore"), await client.ask("aschannel")
    await publish()
    await publish()
    pages = await client.ask("pages")
    for who in (await clients("acme"), await clients("other")):
        assert await who.download(asked).refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")
    for task_id in (sent, pages, "", "00000000-0000-0000-0000-000000000000"):
        assert await client.download(task_id).refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")
    [message] = await client.download(asked).rest()
    assert message.data == b"abc"


async def test_an_empty_result_and_that_a_task_ended_badly_are_one_message(client, publish, store):
    empty = await client.ask("asstore")
    await publish(b"")
    [message] = await client.download(empty).rest()
    assert (message.content_type, message.size, message.data) == ("text/plain", 0, b"")
    cancelled = await client.ask("asstore")
    await store.write(tasks.cancel, caller=client.caller, task_id=cancelled)
    [message] = await client.download(cancelled).rest()
    assert (message.error.message, message.data) == ("Task did not complete successfully.", b"")
    assert await client.download(cancelled).refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")


async def test_the_claim_of_a_slow_reader_is_renewed_and_once_it_is_lost_the_stream_fails(
    client, publish, store, rows, monkeypatch
):
    monkeypatch.setattr(downloading, "RENEW_SECONDS", 0)
    asked = await client.ask("asstore")
    await publish(b"abc", *[ONE] * 20)
    slow = client.download(asked)
    assert len((await slow.next()).data) == downloading.PIECE_BYTES
    [(begun,)] = await rows("SELECT claim_until FROM deliveries")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await rows("SELECT claim_until FROM deliveries")) == [(begun,)]:
            assert await slow.next()
    taken = await store.write_guarded(later, 60, deliveries.claim, caller=client.caller, task_id=asked)
    assert await slow.refusal() == (Code.UNAVAILABLE, "RESULT_CLAIMED")
    assert await store.write_guarded(deliveries.deliver, parcels=[taken])


async def test_a_server_that_stops_gives_claims_back(client, publish, server):
    asked = await client.ask("asstore")
    await publish(b"abc", *[ONE] * 20)
    cut = client.download(asked)
    assert await cut.next()
    await server.stop(grace=0)
    with pytest.raises(grpc.aio.AioRpcError):
        await cut.rest()
    whole = await client.download(asked, process=1).rest()
    assert sum(len(one.data) for one in whole) == 20 * CHUNK_BYTES + 3
