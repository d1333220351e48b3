"""What becomes of a download whose last byte is on its way, whoever hangs up or fails meanwhile."""

import asyncio
import time

import pytest
import pytest_asyncio

from server.core import channels, deliveries, downloading
from server.core.deliveries import DeliveryState
from server.core.downloading import Downloads
from server.core.errors import ResultClaimed
from server.store.engine import StoreUnavailable
from tests.core.scenes import later
from tests.core.test_deliveries import WHOLE, claim, published, status

PATIENCE_SECONDS = 20


class Client:
    """Takes the last of a result, or hangs up, when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take_last(self) -> None:
        self.asked.set()
        await self.told


@pytest_asyncio.fixture
async def downloads(store):
    made = Downloads(store)
    yield made
    await made.stop()


@pytest.fixture
def download(downloads):
    """Downloads a result, the last of it as a client takes it."""

    async def download(caller, task_id, client) -> None:
        async with downloads.claimed(caller=caller, task_id=task_id) as claimed:
            assert b"".join([piece async for piece in claimed.pieces()]) == b"abc"
            await claimed.deliver(client.take_last)

    return download


async def test_a_result_whose_last_byte_was_not_taken_can_be_had_again(store, downloads, download):
    (caller, asked), client = await published(store), Client()
    client.told.set_exception(ConnectionError())
    with pytest.raises(ConnectionError):
        await download(caller, asked.id, client)
    await downloads.stop()
    assert (await status(store, caller, asked.id)).retrieved == 0
    assert (await claim(store, caller, asked.id)).claim == 2


@pytest.mark.parametrize("taken", [True, False])
async def test_what_became_of_the_last_byte_counts_and_not_that_its_client_hung_up(store, downloads, download, taken):
    (caller, asked), client = await published(store), Client()
    sending = asyncio.create_task(download(caller, asked.id, client))
    await client.asked.wait()
    found = await status(store, caller, asked.id)
    assert (found.delivery, found.retrieved) == (DeliveryState.CLAIMED, 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    if taken:
        client.told.set_result(None)
    else:
        client.told.set_exception(ConnectionError())
    await downloads.stop()
    found = await status(store, caller, asked.id)
    wanted = (DeliveryState.DELIVERED, 1) if taken else (DeliveryState.AVAILABLE, 0)
    assert (found.delivery, found.retrieved) == wanted


async def test_a_claim_is_kept_as_long_as_the_last_byte_is_on_its_way(store, rows, downloads, download, monkeypatch):
    monkeypatch.setattr(downloading, "RENEW_SECONDS", 0.01)
    (caller, asked), client = await published(store), Client()
    sending = asyncio.create_task(download(caller, asked.id, client))
    await client.asked.wait()
    begun = await rows("SELECT claim_until FROM deliveries")
    end = time.monotonic() + PATIENCE_SECONDS
    while await rows("SELECT claim_until FROM deliveries") == begun:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    client.told.set_result(None)
    await sending
    await downloads.stop()
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.DELIVERED


async def test_a_download_whose_claim_is_lost_at_the_last_byte_fails(store, downloads, download, monkeypatch):
    monkeypatch.setattr(downloading, "RENEW_SECONDS", 0.01)
    (caller, asked), client = await published(store), Client()
    sending = asyncio.create_task(download(caller, asked.id, client))
    await client.asked.wait()
    assert await store.write_guarded(later, 31, channels.tidy) == 1
    with pytest.raises(ResultClaimed):
        await asyncio.wait_for(sending, PATIENCE_SECONDS)
    assert (await status(store, caller, asked.id)).retrieved == 0


async def test_that_a_result_was_sent_is_noted_again_if_that_fails(store, download, monkeypatch):
    monkeypatch.setattr(downloading, "RETRY_SECONDS", 0.01)
    deliver, failures = deliveries.deliver, [StoreUnavailable("a moment")] * 3

    async def deliver_in_the_end(tx, *, parcels):
        if failures:
            raise failures.pop()
        return await deliver(tx, parcels=parcels)

    monkeypatch.setattr(deliveries, "deliver", deliver_in_the_end)
    (caller, asked), client = await published(store), Client()
    client.told.set_result(None)
    await download(caller, asked.id, client)
    end = time.monotonic() + PATIENCE_SECONDS
    while (await status(store, caller, asked.id)).delivery != DeliveryState.DELIVERED:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert failures == []


async def test_a_server_stops_though_it_cannot_be_noted_what_was_sent(store, downloads, download, monkeypatch):
    async def fail(tx, *, parcels):
        raise StoreUnavailable("for ever")

    monkeypatch.setattr(deliveries, "deliver", fail)
    (caller, asked), client = await published(store), Client()
    client.told.set_result(None)
    await download(caller, asked.id, client)
    await asyncio.wait_for(downloads.stop(), PATIENCE_SECONDS)
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.CLAIMED


async def test_a_server_that_stops_leaves_the_rest_of_what_is_to_be_removed(store, rows, downloads, monkeypatch):
    monkeypatch.setattr(deliveries, "REMOVED_CHUNKS", 1)
    caller, asked = await published(store, b"", *[WHOLE] * 5)
    async with downloads.claimed(caller=caller, task_id=asked.id) as claimed:
        await claimed.deliver()
    await downloads.stop()
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.DELIVERED
    [(left,)] = await rows("SELECT count(*) FROM chunks")
    assert left > 0
