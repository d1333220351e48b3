"""Channels: results are sent live to the newest listener, and wait for one only so long."""

from dataclasses import replace

from server.core import channels, deliveries, retention
from server.core.deliveries import DeliveryState
from server.core.reports import Ending, Report
from tests.core.scenes import Worker, later, organization, task
from tests.core.test_deliveries import WHOLE, published, removed, result, status


async def attached(store, caller) -> channels.Listening:
    return await store.write_guarded(channels.attach, credential_id=caller.credential_id)


async def taken(store, listener, after: float = 0, most: int = 10) -> list[channels.Taken]:
    found = await store.write_guarded(later, after, channels.serve, sent=[], wishes={listener: most})
    return found.get(listener, [])


async def waiting(store, *credential_ids: str) -> dict[str, list[str]]:
    """Publish a result to the channels of these credentials, one after the other; return the tasks of each."""
    caller, worker = await organization(store), await Worker.seated(store)
    asked: dict[str, list[str]] = {}
    for credential_id in credential_ids:
        one = await task(store, replace(caller, credential_id=credential_id), retrieval="aschannel", account="john")
        asked.setdefault(credential_id, []).append(one.id)
        [lease] = await worker.lease()
        assert set(await worker.report(Report(lease, result(b"abc")), Report(lease, Ending.COMPLETED))) == {""}
    return asked


async def served(store, *listeners: channels.Listening) -> dict[str, list[str]]:
    """Return which tasks' results were taken for whom, if all wish for ten."""
    taken = await store.write_guarded(channels.serve, sent=[], wishes=dict.fromkeys(listeners, 10))
    return {listener.credential_id: [one.parcel.task_id for one in some] for listener, some in taken.items()}


async def test_each_channel_with_results_is_seen_with_the_time_of_its_first(store, rows):
    await waiting(store, "b", "a", "b", "c", "a")
    first = await rows("SELECT credential_id, min(available_time) FROM deliveries GROUP BY credential_id")
    look = await store.read(channels.look, since=0)
    assert look.waiting == dict(first)
    assert look.discard_time == min(look.waiting.values()) + channels.GRACE


async def test_a_long_backlog_keeps_nobody_else_waiting(store, monkeypatch):
    monkeypatch.setattr(channels, "MAX_TAKEN", 4)
    asked = await waiting(store, *"aaaaaab")
    listeners = [await store.write_guarded(channels.attach, credential_id=one) for one in "ab"]
    assert await served(store, *listeners) == {"a": asked["a"][:2], "b": asked["b"]}
    assert await served(store, listeners[0]) == {"a": asked["a"][2:]}


async def test_large_results_are_taken_a_few_at_a_time_and_at_least_one(store, monkeypatch):
    asked = await waiting(store, *"aaaa")
    listener = await store.write_guarded(channels.attach, credential_id="a")
    monkeypatch.setattr(channels, "MAX_TAKEN_BYTES", 2)
    assert await served(store, listener) == {"a": asked["a"][:1]}
    monkeypatch.setattr(channels, "MAX_TAKEN_BYTES", 8)
    assert await served(store, listener) == {"a": asked["a"][1:3]}


async def test_what_others_do_not_hear_is_discarded_beside_what_somebody_does(store, rows):
    asked = await waiting(store, "a", "b", "c", "b")
    await store.write_guarded(later, 1, channels.attach, credential_id="a")
    assert await store.write_guarded(later, 3.1, channels.tidy) == 3
    assert await rows("SELECT task_id FROM deliveries WHERE state = 'AVAILABLE'") == [(asked["a"][0],)]


async def test_claims_that_nobody_renews_are_given_back_some_at_a_time(store, rows, monkeypatch):
    monkeypatch.setattr(channels, "MAX_RETURNED", 2)
    await waiting(store, *"aaa")
    listener = await store.write_guarded(channels.attach, credential_id="a")
    assert len((await served(store, listener))["a"]) == 3
    assert [await store.write_guarded(later, 7, channels.tidy) for _ in range(3)] == [2, 1, 0]
    assert await rows("SELECT DISTINCT state FROM deliveries") == [("AVAILABLE",)]


async def test_what_waits_for_a_listener_that_does_not_read_expires(store, rows):
    await waiting(store, "a")
    await store.write_guarded(channels.attach, credential_id="a")
    policy = retention.Policy(stored=retention.DAY)
    for days, state in ((0.5, "AVAILABLE"), (2, "EXPIRED")):
        after = days * 86_400
        sweep = await store.write_guarded(later, after, retention.claim, holder="me", policy=policy, period=1)
        while not (await store.write_guarded(later, after, retention.sweep, sweep=sweep, period=1)).is_last:
            pass
        assert await rows("SELECT state FROM deliveries") == [(state,)]


async def test_a_listener_gets_each_result_once(store, elsewhere):
    caller, asked = await published(store, retrieval="aschannel")
    listener = await attached(elsewhere, caller)
    look = await store.read(channels.look, since=0)
    assert list(look.waiting) == [caller.credential_id]
    assert look.attached == [listener]
    [one] = await taken(elsewhere, listener)
    assert (one.parcel.task_id, one.parcel.rest, one.action) == (asked.id, b"abc", "fetch-data")
    assert await taken(elsewhere, listener) == []
    assert await store.write_guarded(channels.serve, sent=[one.claim], wishes={}) == {}
    found = await status(store, caller, asked.id)
    assert (found.delivery, found.retrieved) == (DeliveryState.DELIVERED, 0)
    await store.write_guarded(deliveries.consume, caller=caller, task_ids=[asked.id])
    assert (await status(store, caller, asked.id)).retrieved == 1


async def test_a_replaced_listener_gets_nothing_more(store):
    caller, asked = await published(store, retrieval="aschannel")
    first = await attached(store, caller)
    second = await attached(store, caller)
    assert second.generation == first.generation + 1
    assert await taken(store, first) == []
    assert await store.write_guarded(channels.renew, listeners=[first, second], claims=[]) == ({second}, set())
    await store.write_guarded(channels.detach, listener=first)
    assert await store.write_guarded(later, 20, channels.tidy) == 0
    assert [one.parcel.task_id for one in await taken(store, second)] == [asked.id]


async def test_what_nobody_hears_within_the_grace_is_discarded(store, rows):
    caller, asked = await published(store, b"z", WHOLE, retrieval="aschannel")
    assert await store.write_guarded(later, 1, channels.tidy) == 0
    assert await store.write_guarded(later, 2.1, channels.tidy) == 1
    assert (await status(store, caller, asked.id)).delivery == DeliveryState.DISCARDED
    assert await taken(store, await attached(store, caller)) == []
    await removed(store, rows)


async def test_what_a_listener_that_left_was_getting_waits_for_the_next(store):
    caller, asked = await published(store, retrieval="aschannel")
    first = await attached(store, caller)
    [one] = await taken(store, first)
    await store.write_guarded(later, 10, channels.detach, listener=first, unsent=[one.claim])
    assert await store.write_guarded(later, 11, channels.tidy) == 0
    [again] = await taken(store, await attached(store, caller), after=11)
    assert again.parcel.claim == one.parcel.claim + 1
    assert asked.id == again.parcel.task_id


async def test_what_a_dead_process_was_sending_goes_to_the_next_listener(store):
    caller, _ = await published(store, retrieval="aschannel")
    [one] = await taken(store, await attached(store, caller))
    second = await attached(store, caller)
    assert await store.write_guarded(later, 5, channels.tidy) == 0
    await store.write_guarded(later, 5, channels.renew, listeners=[], claims=[one.claim])
    assert await store.write_guarded(later, 10, channels.tidy) == 0
    assert await taken(store, second) == []
    assert await store.write_guarded(later, 12, channels.tidy) == 1
    assert len(await taken(store, second)) == 1
