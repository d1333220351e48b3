"""What one stream is given to send, and how what is being sent stays claimed."""

import asyncio
import time

import pytest
import pytest_asyncio

from server.core import channels, deliveries, listening
from server.core.channels import Claim, Listening, Taken
from server.core.deliveries import Description, Parcel
from server.core.errors import ResultClaimed, Stopping
from server.core.listening import Listener
from server.store.engine import StoreUnavailable
from tests import databases
from tests.core.scenes import later
from tests.core.test_channels import waiting
from tests.core.test_deliveries import WHOLE, published

PATIENCE_SECONDS = 20


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest_asyncio.fixture
async def house(store, stopping):
    """Sends results to listeners, as a server process does."""
    made = listening.Listening(store, stopping)
    yield made
    stopping.set()
    await made.settled()


@pytest.fixture
def until_renewed(rows):
    """Waits until the one claim is renewed."""

    async def until_renewed() -> None:
        begun = await rows("SELECT claim_until FROM deliveries")
        end = time.monotonic() + PATIENCE_SECONDS
        while await rows("SELECT claim_until FROM deliveries") == begun:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    return until_renewed


def listener(*, acknowledges: bool) -> Listener:
    return Listener(Listening("c", 1), acknowledges=acknowledges, poke=lambda: None)


def taken(task_id: str, claim: int = 1) -> Taken:
    return Taken(Parcel(task_id, claim, 1, 0, Description(1, "text/plain", None), b"x", failed=False), "s", "a")


async def test_what_was_lost_before_it_was_sent_is_not_sent():
    stream = listener(acknowledges=True)
    first, second = taken("1"), taken("2")
    stream.give([first, second])
    stream.forget([first.claim])
    assert await stream.next(1) == second
    assert await stream.next(0) is None


async def test_what_was_lost_and_taken_again_is_sent_once():
    stream = listener(acknowledges=False)
    stream.give([taken("1")])
    stream.forget([Claim("1", 1)])
    stream.give([taken("1", claim=2)])
    assert (await stream.next(1)).claim == Claim("1", 2)
    assert await stream.next(0) is None


async def test_what_is_sent_is_gone_unless_it_is_to_be_acknowledged():
    for acknowledges, gone in ((True, []), (False, [Claim("1", 1)])):
        stream = listener(acknowledges=acknowledges)
        stream.give([taken("1")])
        stream.is_sent(await stream.next(1))
        assert stream.sent == gone


async def test_claims_are_renewed_while_other_writes_wait(store, house, monkeypatch, until_renewed):
    monkeypatch.setattr(listening, "RENEW_SECONDS", 0.1)
    caller, _ = await published(store, retrieval="aschannel")
    async with house.listen(caller.credential_id) as stream:
        taken = await stream.next(PATIENCE_SECONDS)
        writing = asyncio.Event()

        async def wait(*_, **__) -> None:
            writing.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(store, "write_guarded", wait)
            stream.is_sent(taken)
            await asyncio.wait_for(writing.wait(), PATIENCE_SECONDS)
            await until_renewed()


async def test_claims_whose_renewal_failed_are_renewed_soon(store, house, monkeypatch, until_renewed):
    monkeypatch.setattr(listening, "RENEW_SECONDS", 0.5)
    renew, failures = channels.renew, [StoreUnavailable("a moment")]

    async def renew_in_the_end(tx, *, listeners, claims):
        if claims and failures:
            monkeypatch.setattr(listening, "RENEW_SECONDS", 3600)
            raise failures.pop()
        return await renew(tx, listeners=listeners, claims=claims)

    monkeypatch.setattr(channels, "renew", renew_in_the_end)
    caller, _ = await published(store, retrieval="aschannel")
    async with house.listen(caller.credential_id, acknowledges=True) as stream:
        await stream.next(PATIENCE_SECONDS)
        await until_renewed()
    assert failures == []


async def test_many_claims_are_renewed_some_at_a_time(store, house, monkeypatch):
    monkeypatch.setattr(listening, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(listening, "MAX_RENEWED", 2)
    renew, renewed = channels.renew, []

    async def noted(tx, *, listeners, claims):
        renewed.append([claim.task_id for claim in claims])
        return await renew(tx, listeners=listeners, claims=claims)

    monkeypatch.setattr(channels, "renew", noted)
    asked = await waiting(store, *"aaa")
    async with house.listen("a", acknowledges=True) as stream:
        for task_id in asked["a"]:
            assert (await stream.next(PATIENCE_SECONDS)).parcel.task_id == task_id
        end = time.monotonic() + PATIENCE_SECONDS
        while asked["a"][2:] not in renewed:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    assert asked["a"][:2] in renewed
    assert max(map(len, renewed)) == 2


async def test_who_begins_to_listen_while_the_server_stops_is_told_so(address, house, stopping):
    async def hear(credential_id: str) -> None:
        async with house.listen(credential_id) as stream:
            begun.set()
            while True:
                await stream.next(PATIENCE_SECONDS)

    begun = asyncio.Event()
    early = asyncio.create_task(hear("a"))
    await begun.wait()
    async with databases.nobody_writes(address, "channels"):
        late = asyncio.create_task(hear("b"))
        await asyncio.sleep(0)  # It waits for the store now.
        stopping.set()
        with pytest.raises(Stopping):
            await asyncio.wait_for(early, PATIENCE_SECONDS)
    with pytest.raises(Stopping):
        await asyncio.wait_for(late, PATIENCE_SECONDS)


async def test_a_result_whose_claim_was_lost_and_its_rest_with_it_does_not_end_well(store, house):
    caller, _ = await published(store, b"", *[WHOLE] * 3, retrieval="aschannel")
    name = await store.write_guarded(channels.attach, credential_id=caller.credential_id)
    [taken] = (await store.write_guarded(channels.serve, sent=[], wishes={name: 1}))[name]
    parts = house.parts(taken)
    assert (await anext(parts))[0] == 1
    for after in (7, 60):  # Given back, then discarded, as nobody listened.
        assert await store.write_guarded(later, after, channels.tidy) == 1
    while await store.write_guarded(deliveries.remove_chunks):
        pass
    with pytest.raises(ResultClaimed):
        await anext(parts)
