"""Sends results to the listeners of one process: one look at the store for all of them whenever it may have changed."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from server.core import channels, deliveries
from server.core.channels import Claim, Look, Taken
from server.core.deliveries import SECOND
from server.core.errors import ListenerReplaced, Refusal, ResultNotFound, Stopping
from server.core.restarting import RETRY_SECONDS, run_until
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.listening")

PAUSE_SECONDS = 0.01  # Between looks: in a busy house hints come without end.
MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth.
RENEW_SECONDS = 2.0  # Claims; a claim is for six.
RENEWALS = 5  # Each fifth time listeners, too; one counts as such for thirty seconds.
MAX_RENEWED = 500  # claims at once
LAST_SECONDS = 0.5  # So long may still take what is being sent to a listener that is replaced.
MAX_AHEAD = 100  # Results that are taken for a listener and not sent yet; at most 1 MiB of them at a time.
FEW_AHEAD = 16  # More are taken when so many are left; of each at most 64 KiB are in memory.
MAX_UNACKNOWLEDGED = 1000


class Listener:
    """One stream. `acknowledges`: what was sent is gone only when the client has said that it has it."""

    def __init__(self, name: channels.Listening, *, acknowledges: bool, poke: Callable[[], None]) -> None:
        self.name = name
        self.acknowledges = acknowledges
        self.claims: dict[str, Claim] = {}  # by their tasks: what is taken and not known to be gone
        self.sent: list[Claim] = []  # of these, what is to be noted as gone
        self.until_ended = asyncio.timeout(None)
        self._poke = poke
        self._waiting: deque[Taken] = deque()
        self._wake = asyncio.Event()
        self._end: Refusal | None = None

    @property
    def room(self) -> int:
        """How many results more it may be given."""
        if self._end or len(self._waiting) > FEW_AHEAD:
            return 0
        return min(MAX_AHEAD, (MAX_UNACKNOWLEDGED if self.acknowledges else MAX_AHEAD) - len(self.claims))

    async def next(self, seconds: float) -> Taken | None:
        """Return what is to be sent next; None if there is nothing for so long. Raises ListenerReplaced, Stopping."""
        while True:
            self.check()
            while self._waiting:
                taken = self._waiting.popleft()
                if self.claims.get(taken.parcel.task_id) == taken.claim:  # Else somebody has it, or is to get it.
                    return taken
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return None

    def check(self) -> None:
        """Raise ListenerReplaced or Stopping, once that is so."""
        if self._end:
            raise self._end

    def is_sent(self, taken: Taken) -> None:
        """Note that all of a result was sent."""
        if not self.acknowledges:
            self.sent.append(taken.claim)
        self._poke()

    def give(self, taken: list[Taken]) -> None:
        """Have these sent."""
        self.claims.update((one.parcel.task_id, one.claim) for one in taken)
        self._waiting.extend(taken)
        self._wake.set()

    def forget(self, claims: list[Claim]) -> None:
        """Let go of what is gone."""
        for claim in claims:
            self.claims.pop(claim.task_id, None)

    def end(self, why: Refusal) -> None:
        """Give it nothing more, and leave off what is being sent, unless that is soon done."""
        if self._end is None:
            self._end = why
            self.until_ended.reschedule(asyncio.get_running_loop().time() + LAST_SECONDS)
            self._wake.set()


class Listening:
    """Runs from `start`, or the first listener on, until the server stops. Without listeners it only tidies up."""

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store = store
        self._stopping = stopping
        self._listeners: dict[channels.Listening, Listener] = {}
        self._poke = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._since = 0  # When listeners were looked for last.

    def start(self) -> None:
        """Begin, if that has not happened."""
        if self._running is None:
            self._running = asyncio.ensure_future(self._run_until_stopping())

    @asynccontextmanager
    async def listen(self, credential_id: str, *, acknowledges: bool = False) -> AsyncIterator[Listener]:
        """Listen to a channel, in place of whoever did before; what is not sent in the block is given back.

        Raises ListenerReplaced and Stopping, also amid what is being sent: a client may not read.
        """
        if self._stopping.is_set():
            raise Stopping
        self.start()
        name = await self._store.write_guarded(channels.attach, credential_id=credential_id)
        listener = self._listeners[name] = Listener(name, acknowledges=acknowledges, poke=self._poke.set)
        self._poke.set()
        try:
            async with listener.until_ended:
                if self._stopping.is_set():  # It was not when this began, and nobody may look at listeners any more.
                    listener.end(Stopping())
                yield listener
        except TimeoutError:
            listener.check()
            raise
        finally:
            del self._listeners[name]
            # In a task of its own, as the stream's may have been cancelled.
            leaving = asyncio.ensure_future(self._leave(listener))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def settled(self) -> None:
        """Wait until those that have left are noted."""
        await asyncio.gather(*self._leaving)

    async def parts(self, taken: Taken) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the parts of a result, numbered from 1; fewer if the client says meanwhile that it has it.

        Raises ResultClaimed, if the claim was lost and with it the rest.
        """
        with suppress(ResultNotFound):
            for number in range(1, taken.parcel.parts + 1):
                yield number, await self._store.read(deliveries.part, parcel=taken.parcel, number=number)

    def acknowledged(self, credential_id: str, task_ids: list[str]) -> None:
        """Make room with what a client said that it has; other processes find it by looking."""
        for name, listener in self._listeners.items():
            if name.credential_id == credential_id:
                listener.forget([claim for task_id in task_ids if (claim := listener.claims.get(task_id))])
        self._poke.set()

    async def _leave(self, listener: Listener) -> None:
        gone = set(listener.sent)
        unsent = [claim for claim in listener.claims.values() if claim not in gone]
        try:
            await self._store.write_guarded(channels.detach, listener=listener.name, sent=listener.sent, unsent=unsent)
        except StoreUnavailable as error:
            log.warning("channel=%s is left by its time: %s", listener.name.credential_id, error)

    async def _run_until_stopping(self) -> None:
        await run_until(self._stopping, self._serve, self._watch, self._keep_renewed, name="listening", log=log)
        for listener in self._listeners.values():
            listener.end(Stopping())

    async def _watch(self) -> None:
        generation = self._store.generation
        while True:
            generation = await self._store.changed(generation)
            self._poke.set()
            await asyncio.sleep(PAUSE_SECONDS if self._listeners else MAX_WAIT_SECONDS)

    async def _serve(self) -> None:
        while True:
            self._poke.clear()
            try:
                wait = await self._attend()
            except StoreUnavailable as error:
                log.warning("listeners wait for the store: %s", error)
                wait = RETRY_SECONDS
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with asyncio.timeout(wait):
                    await self._poke.wait()
            except TimeoutError:
                continue

    async def _attend(self) -> float:
        """Do what there is to do, and return for how many seconds there will be nothing."""
        look = await self._store.read(channels.look, since=self._since)
        self._since = look.now
        self._end_replaced(look)
        wanting = [one for one in self._listeners.values() if one.name.credential_id in look.waiting and one.room > 0]
        wanting.sort(key=lambda one: look.waiting[one.name.credential_id])
        wishes = {one.name: one.room for one in wanting[: channels.MAX_TAKEN]}
        sent = [(listener, listener.sent.copy()) for listener in self._listeners.values() if listener.sent]
        if wishes or sent:
            await self._exchange(wishes, sent)
        times = [time for time in (look.discard_time, look.return_time) if time is not None]
        if times and min(times) <= look.now:
            changed = await self._store.write_guarded(channels.tidy)
            if changed:
                return 0
        waits = [max((time - look.now) / SECOND, PAUSE_SECONDS) for time in times]
        return min([MAX_WAIT_SECONDS, *waits])

    async def _exchange(self, wishes: dict[channels.Listening, int], sent: list[tuple[Listener, list[Claim]]]) -> None:
        """Note what was sent, and take what there is."""
        claims = [claim for _, some in sent for claim in some]
        taken = await self._store.write_guarded(channels.serve, sent=claims, wishes=wishes)
        for listener, some in sent:
            listener.forget(some)
            del listener.sent[: len(some)]
        orphans = []
        for name, mine in taken.items():
            if name in self._listeners:
                self._listeners[name].give(mine)
            else:  # It has left meanwhile.
                orphans += [one.claim for one in mine]
        if orphans:
            await self._store.write_guarded(channels.give_back, claims=orphans)
        if taken:
            self._poke.set()

    def _end_replaced(self, look: Look) -> None:
        newest = {one.credential_id: one.generation for one in look.attached}
        for name, listener in self._listeners.items():
            if newest.get(name.credential_id, 0) > name.generation:
                listener.end(ListenerReplaced())

    async def _keep_renewed(self) -> None:
        """Tell the store in time who listens and what is being sent, whatever else waits for it."""
        renewals = 0
        while True:
            try:
                await self._renew(list(self._listeners) if renewals % RENEWALS == 0 else [])
            except StoreUnavailable as error:
                log.warning("claims are not renewed yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                renewals += 1
                await asyncio.sleep(RENEW_SECONDS)

    async def _renew(self, listeners: list[channels.Listening]) -> None:
        claims = [claim for listener in self._listeners.values() for claim in listener.claims.values()]
        for some in [claims[start : start + MAX_RENEWED] for start in range(0, len(claims), MAX_RENEWED)]:
            renewed = await self._store.write_soon(channels.renew, listeners=[], claims=some)
            gone = [claim for claim in some if claim not in renewed.claims]
            for listener in self._listeners.values():
                listener.forget([claim for claim in gone if listener.claims.get(claim.task_id) == claim])
        if listeners:
            renewed = await self._store.write_soon(channels.renew, listeners=listeners, claims=[])
            for name in listeners:
                if name not in renewed.listeners and name in self._listeners:
                    self._listeners[name].end(ListenerReplaced())
