"""Hands out stored results, each once: a claim is kept while bytes move, and ends well or is given back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from server.core import deliveries
from server.core.caller import Caller
from server.core.deliveries import Parcel
from server.core.errors import Refusal, ResultClaimed
from server.core.restarting import RETRY_SECONDS
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.downloading")

PIECE_BYTES = 64 * 1024  # A claim is renewed between two pieces, so this much may take a slow reader half a minute.
RENEW_SECONDS = 10.0  # A claim is for 30.
REST_SECONDS = 0.02  # Between two slices of what is removed.
LAST_LOOKS, LOOK_SECONDS = 40, 0.05  # At a result of which somebody is getting the last.


async def nothing() -> None:
    """Send nothing."""


class Download:
    """A result that is claimed, once `claiming` is done."""

    def __init__(self, store: Store, claiming: "asyncio.Future[Parcel]") -> None:
        self.claiming = claiming
        self._store = store
        self._delivering: asyncio.Future[None] | None = None

    @property
    def parcel(self) -> Parcel:
        """What is to be sent."""
        return self.claiming.result()

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
                    await self._renew()

    async def deliver(self, send_last: Callable[[], Awaitable[None]] = nothing) -> None:
        """Have the last of it sent, when it is noted that it counts as retrieved: who has all of it finds that so.

        Raises ResultClaimed, if the claim is lost.
        """
        # Shielded, as what became of it decides where the result belongs, whoever hangs up meanwhile.
        self._delivering = asyncio.ensure_future(self._deliver(send_last))
        await asyncio.shield(self._delivering)

    async def _deliver(self, send_last: Callable[[], Awaitable[None]]) -> None:
        if not await self._store.write_guarded(deliveries.hand_over, parcel=self.parcel):
            raise ResultClaimed(self.parcel.task_id)
        sending = asyncio.ensure_future(send_last())
        try:
            while not (await asyncio.wait([sending], timeout=RENEW_SECONDS))[0]:
                with suppress(StoreUnavailable):  # There are two more tries before the claim ends.
                    await self._renew()
        finally:
            sending.cancel()
        await sending

    async def _renew(self) -> None:
        if not await self._store.write_soon(deliveries.renew, parcel=self.parcel):
            raise ResultClaimed(self.parcel.task_id)

    async def is_delivered(self) -> bool:
        """Say whether all of it was sent, as soon as that is known."""
        if self._delivering is None:
            return False
        await asyncio.wait([self._delivering])
        return not self._delivering.cancelled() and self._delivering.exception() is None


class Downloads:
    """The downloads of one server process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: set[Download] = set()
        self._afterwards: set[asyncio.Task[None]] = set()
        self._sent: list[Parcel] = []  # of which the store does not know yet that all was
        self._delivering = asyncio.Lock()
        self._removing = asyncio.Lock()
        self._stopping = False

    @asynccontextmanager
    async def claimed(self, *, caller: Caller, task_id: str) -> AsyncIterator[Download]:
        """Claim a result; however the block is left before it is delivered, the claim is given back.

        Raises ResultNotFound, ResultClaimed.
        """
        download = Download(self._store, asyncio.ensure_future(self._claim(caller, task_id)))
        self._under_way.add(download)
        try:
            await asyncio.shield(download.claiming)
            yield download
        finally:
            self._end(download)

    async def stop(self) -> None:
        """Give back what is claimed, and note what was sent. Downloads under way fail."""
        self._stopping = True
        for download in list(self._under_way):
            self._end(download)
        await asyncio.gather(*self._afterwards)

    async def _claim(self, caller: Caller, task_id: str) -> Parcel:
        looks = 0
        while not (parcel := await self._store.write_guarded(deliveries.claim, caller=caller, task_id=task_id)):
            while await self._store.read(deliveries.is_leaving, caller=caller, task_id=task_id):
                if looks == LAST_LOOKS:
                    raise ResultClaimed(task_id)
                looks += 1
                await asyncio.sleep(LOOK_SECONDS)
        return parcel

    def _end(self, download: Download) -> None:
        """Settle what becomes of a result, in a task of its own, as the caller's may be cancelled."""
        if download in self._under_way:
            self._under_way.remove(download)
            task = asyncio.ensure_future(self._settle(download))
            self._afterwards.add(task)
            task.add_done_callback(self._afterwards.discard)

    async def _settle(self, download: Download) -> None:
        with suppress(Refusal, StoreUnavailable):  # There is no claim; or it ends by its time.
            parcel = await download.claiming
            if await download.is_delivered():
                await self._note_sent(parcel)
                if parcel.chunks:
                    await self._remove_chunks()
            else:
                await self._store.write_guarded(deliveries.give_back, parcel=parcel)

    async def _note_sent(self, parcel: Parcel) -> None:
        """Let go of what was sent, of all there is at a time; if the store cannot be written, once it can be again."""
        self._sent.append(parcel)
        async with self._delivering:
            while parcel in self._sent:  # Else another has noted it.
                parcels, self._sent = self._sent, []
                try:
                    await self._store.write_guarded(deliveries.deliver, parcels=parcels)
                except StoreUnavailable as error:
                    if self._stopping:
                        raise
                    log.warning("what was downloaded cannot be noted yet: %s", error)
                    self._sent = parcels + self._sent
                    await asyncio.sleep(RETRY_SECONDS)

    async def _remove_chunks(self) -> None:
        """Remove what nobody needs, also of others; what a server that stops leaves of it is swept."""
        async with self._removing:
            more = True
            while more and not self._stopping:
                more = await self._store.write_guarded(deliveries.remove_chunks)
                await asyncio.sleep(REST_SECONDS)
