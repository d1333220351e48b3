"""Hands out stored results, each once: a claim is kept while bytes move, and ends well or is given back."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from server.core import deliveries
from server.core.caller import Caller
from server.core.deliveries import Parcel
from server.core.errors import Refusal, ResultClaimed
from server.store.engine import Store, StoreUnavailable

PIECE_BYTES = 64 * 1024  # A claim is renewed between two pieces, so this much may take a slow reader half a minute.
RENEW_SECONDS = 10.0  # A claim is for 30.
REST_SECONDS = 0.02  # Between two slices of what is removed.


class Download:
    """A claimed result."""

    def __init__(self, store: Store, parcel: Parcel) -> None:
        self.parcel = parcel
        self.delivered = False
        self._store = store

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes, at most PIECE_BYTES at a time; of an empty result one empty piece.

        Raises ResultClaimed and ResultNotFound, if the claim is lost.
        """
        renewed = time.monotonic()
        for number in range(1, self.parcel.parts + 1):
            part = await self._store.read(deliveries.part, parcel=self.parcel, number=number)
            for start in range(0, len(part) or 1, PIECE_BYTES):
                yield part[start : start + PIECE_BYTES]
                if time.monotonic() - renewed > RENEW_SECONDS:
                    renewed = time.monotonic()
                    if not await self._store.write_guarded(deliveries.renew, parcel=self.parcel):
                        raise ResultClaimed(self.parcel.task_id)

    async def deliver(self) -> None:
        """Let go of the result for good: the client has it. Raises ResultClaimed, if the claim is lost."""
        # Shielded, as nobody would know what became of it.
        self.delivered = await asyncio.shield(self._store.write_guarded(deliveries.deliver, parcel=self.parcel))
        if not self.delivered:
            raise ResultClaimed(self.parcel.task_id)


class Downloads:
    """The downloads of one server process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._claiming: set[asyncio.Future[Parcel]] = set()  # of the downloads under way
        self._afterwards: set[asyncio.Task[None]] = set()
        self._removing = asyncio.Lock()

    @asynccontextmanager
    async def claimed(self, *, caller: Caller, task_id: str) -> AsyncIterator[Download]:
        """Claim a result; however the block is left before it is delivered, the claim is given back.

        Raises ResultNotFound, ResultClaimed.
        """
        claiming = asyncio.ensure_future(self._store.write_guarded(deliveries.claim, caller=caller, task_id=task_id))
        self._claiming.add(claiming)
        download: Download | None = None
        try:
            download = Download(self._store, await asyncio.shield(claiming))
            yield download
        finally:
            self._claiming.discard(claiming)
            # In tasks of their own, as this one may be cancelled.
            if download is None or not download.delivered:
                self._do(self._give_back(claiming))
            elif download.parcel.chunks:
                self._do(self._remove())

    async def stop(self) -> None:
        """Give back what is claimed, and finish what was begun afterwards. Downloads under way fail."""
        for claiming in self._claiming:
            self._do(self._give_back(claiming))
        await asyncio.gather(*self._afterwards)

    async def _give_back(self, claiming: "asyncio.Future[Parcel]") -> None:
        """End a claim undone, if it is held."""
        with suppress(Refusal, StoreUnavailable):  # There is none; or it ends by its time.
            await self._store.write_guarded(deliveries.give_back, parcel=await claiming)

    async def _remove(self) -> None:
        """Remove what nobody needs any more; what is left over because of a failure is swept later."""
        async with self._removing:
            with suppress(StoreUnavailable):
                more = True
                while more:
                    more = await self._store.write_guarded(deliveries.remove_chunks)
                    await asyncio.sleep(REST_SECONDS)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)
