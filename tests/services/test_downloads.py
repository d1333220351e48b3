"""ResultService over gRPC: stored results are downloaded once."""

import asyncio
import time

import grpc
import grpc.aio
import pytest

from server.core import deliveries, downloading, tasks
from server.core.deliveries import CHUNK_BYTES
from tests.core.scenes import later
from tests.services.result_clients import ONE, PATIENCE_SECONDS, TWO, Code, refusal, until_all


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


def outcomes(monkeypatch, verb: str) -> list:
    """Return a list that grows by what a verb of deliveries returns."""
    original, found = getattr(deliveries, verb), []

    async def noted(tx, **values):
        found.append(await original(tx, **values))
        return found[-1]

    monkeypatch.setattr(deliveries, verb, noted)
    return found


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
    claims = outcomes(monkeypatch, "claim")
    looks = outcomes(monkeypatch, "is_leaving")
    second = client.download(asked, process=1)
    end = time.monotonic() + PATIENCE_SECONDS
    while len(looks) < 3:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    if outcome is deliveries.deliver:
        await store.write_guarded(outcome, parcels=[parcel])
        assert await second.refusal() == (Code.NOT_FOUND, "RESULT_NOT_FOUND")
    else:
        await store.write_guarded(outcome, parcel=parcel)
        [message] = await second.rest()
        assert message.data == b"abc"
        assert claims[0] is None
        assert len(claims) == 2  # Meanwhile it only looks.


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
