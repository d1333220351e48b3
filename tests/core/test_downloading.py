"""What becomes of a download whose last byte is on its way, whoever hangs up or fails meanwhile."""

import asyncio

import pytest
import pytest_asyncio

from server.core import channels, downloading
from server.core.deliveries import DeliveryState
from server.core.downloading import Downloads
from server.core.errors import ResultClaimed
from tests.core.scenes import later
from tests.core.test_deliveries import claim, published, status

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
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await rows("SELECT claim_until FROM deliveries") == begun:
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
