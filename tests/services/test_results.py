"""ResultService over gRPC: results that are sent live until they are acknowledged."""

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2

from server.core import deliveries, listening, tasks
from server.core.deliveries import CHUNK_BYTES
from tests.services.result_clients import ONE, SOON_SECONDS, TWO, Code, until_all


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
