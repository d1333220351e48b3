"""Gives leases to the workers of one process: one look at the store for all of them whenever it may have changed."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from server.core import work
from server.core.work import Action, Lease, LeaseName, Session, Wish
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.work")

MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth, and costs some microseconds.
RETRY_SECONDS = 0.5  # After the store was unavailable.
IN_VAIN_SECONDS = 0.05  # After there was something to do, and then not: another process did it, or the clock was set.


@dataclass(eq=False)
class Seat:
    """One worker's stream, as leasing sees it. `wake` is set whenever the stream has something to do."""

    session: Session
    actions: frozenset[Action]
    capacity: int
    wake: asyncio.Event
    held: set[LeaseName] = field(default_factory=set)
    leases: list[Lease] = field(default_factory=list)  # granted, not yet sent
    revoked: list[LeaseName] = field(default_factory=list)  # ended, not yet told
    draining: bool = False
    lost: bool = False  # The session has ended, or another stream has it.

    @property
    def free(self) -> int:
        """How many leases more it wants."""
        return 0 if self.draining or self.lost else max(0, self.capacity - len(self.held))

    def give(self, leases: list[Lease]) -> None:
        """Have these leases sent."""
        self.held.update(lease.name for lease in leases)
        self.leases += leases
        self.wake.set()

    def revoke(self, names: list[LeaseName]) -> None:
        """Have the worker told that these leases ended."""
        self.held.difference_update(names)
        self.revoked += names
        self.wake.set()

    def lose(self) -> None:
        """Note that the session is not this stream's any more."""
        self.lost = True
        self.wake.set()


class Leasing:
    """Runs from the first worker on until the server stops. While no worker is seated it only ends dead sessions."""

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store = store
        self._stopping = stopping
        self._seats: dict[Session, Seat] = {}
        self._poke = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def seat(self, seat: Seat) -> None:
        """Begin to give leases to this stream."""
        self._seats[seat.session] = seat
        self._poke.set()
        if self._running is None:
            self._running = asyncio.ensure_future(self._run_until_stopping())

    def unseat(self, seat: Seat) -> None:
        """Give this stream nothing more."""
        self._seats.pop(seat.session, None)
        self._poke.set()  # The session it leaves may be the next to end.

    def poke(self) -> None:
        """Look again: a stream wants more than it did."""
        self._poke.set()

    async def _run_until_stopping(self) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        while not stopping.done():
            parts = [asyncio.ensure_future(self._serve()), asyncio.ensure_future(self._watch())]
            await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                part.cancel()
            for failure in await asyncio.gather(*parts, return_exceptions=True):
                if isinstance(failure, Exception):  # Nobody foresaw it; workers must not wait for ever because of it.
                    log.error("leasing failed, and starts again", exc_info=failure)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        generation = self._store.generation
        while True:
            generation = await self._store.changed(generation)
            if self._seats:
                self._poke.set()

    async def _serve(self) -> None:
        while True:
            self._poke.clear()
            try:
                wait = await self._attend()
            except StoreUnavailable as error:
                log.warning("leases wait for the store: %s", error)
                wait = RETRY_SECONDS
            try:
                async with asyncio.timeout(wait):
                    await self._poke.wait()
            except TimeoutError:
                continue

    async def _attend(self) -> float | None:
        """Do what there is to do, and return how many seconds there will be nothing; None: until somebody says so."""
        wishes = [Wish(seat.session, seat.actions, seat.free) for seat in self._seats.values() if seat.free]
        actions = {action for wish in wishes for action in wish.actions}
        seen = await self._store.read(work.look, actions=actions, sessions={session.id for session in self._seats})
        done = False
        if seen.expired:
            ended = set(await self._store.write(work.sweep))
            done = bool(ended)
            for session, seat in self._seats.items():
                if session.id in ended:
                    seat.lose()
        if seen.revoked:
            sessions = [session.id for session in self._seats]
            revoked = await self._store.write(work.take_revoked, sessions=sessions)
            done = done or bool(revoked)
            for session, seat in self._seats.items():
                if session.id in revoked:
                    seat.revoke(list(revoked[session.id]))
        if seen.ready:
            done = await self._grant(wishes) or done
        if seen.expired or seen.revoked or seen.ready:
            return 0 if done else IN_VAIN_SECONDS
        if seen.next_time is None:
            return MAX_WAIT_SECONDS if self._seats else None
        wait = max(0.0, seen.next_time / 1_000_000 - time.time())
        return min(wait, MAX_WAIT_SECONDS) if self._seats else wait

    async def _grant(self, wishes: list[Wish]) -> bool:
        """Give what there is, and say whether that changed anything."""
        granted = await self._store.write(work.grant, wishes=wishes)
        for session, leases in granted.leases.items():
            if seat := self._seats.get(session):
                seat.give(leases)
        for session in granted.lost:
            if seat := self._seats.get(session):
                seat.lose()
        return bool(granted.leases or granted.lost)
