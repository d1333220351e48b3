"""Clients of ResultService, and what they wait for."""

import asyncio
import time

import grpc
import grpc.aio
import pytest
from grpc_status import rpc_status

from server.core.caller import Caller
from server.core.deliveries import CHUNK_BYTES
from taskhouse.v1 import results_pb2 as pb
from taskhouse.v1 import results_pb2_grpc
from tests.core.scenes import task

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


async def until_all(rows, *states: tuple[str, int]) -> None:
    """Wait until the deliveries, the oldest task first, are in these states, and known as retrieved or not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := await rows("SELECT state, retrieved FROM deliveries ORDER BY task_id")) != list(states):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)
