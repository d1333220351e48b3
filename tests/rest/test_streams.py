"""Streamed answers whose clients hang up."""

import asyncio
import gc

import grpc.aio
import pytest

from server.rest.streams import CUT, Answer, AnswerCut, whole_or_cut


class Client:
    """What grpc.aio gives a servicer: here of a client that takes a message only when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages: list[object] = []

    async def send_initial_metadata(self, headers: object) -> None:
        pass

    async def write(self, message: object) -> None:
        self.asked.set()
        await asyncio.shield(self.told)
        self.messages.append(message)

    def done(self) -> bool:
        return False


async def hung_up_on(client: Client, failure: Exception | None = None) -> Answer:
    """Cancel an answer while it is written; then have the write fail, or succeed."""
    begun: list[Answer] = []

    async def answer() -> None:
        async with whole_or_cut(client) as answer:
            begun.append(answer)
            await answer.begin("text/plain")
            await answer.write(b"abc")

    answering = asyncio.create_task(answer())
    await client.asked.wait()
    answering.cancel()
    await asyncio.sleep(0)
    if failure:
        client.told.set_exception(failure)
    else:
        client.told.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await answering
    return begun[0]


async def test_a_write_that_fails_when_nobody_waits_for_it_leaves_no_error_in_the_log(caplog):
    await hung_up_on(Client(), grpc.aio.UsageError("The client is gone."))
    await asyncio.sleep(0)  # The loop lets go of the tasks.
    gc.collect()
    assert caplog.records == []


async def test_an_answer_is_cut_after_what_is_being_written_and_nothing_follows():
    client = Client()
    answer = await hung_up_on(client)
    assert [getattr(message, "data", message) for message in client.messages] == [b"abc", CUT]
    with pytest.raises(AnswerCut):
        await answer.write(b"more")
    assert len(client.messages) == 2
