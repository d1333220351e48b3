"""Gives leases to the workers of one process: one look at the store for all of them whenever it may have changed."""

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf

from server.core import work
from server.core.restarting import RETRY_SECONDS, run_until
from server.core.work import Action, Lease, LeaseName, Look, Session, Wish
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.work")

MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth, and costs some microseconds.
MAX_JUMP_SECONDS = 1.0  # By so much a clock may be set without notice.
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
        self._passed: float | None = None  # The monotonic clock less the store's, as it was seen last; seconds.
        self._sweep_time = 0.0  # by the monotonic clock: no session ends before

    def seat(self, seat: Seat) -> None:
        """Begin to give leases to this stream."""
        self._seats[seat.session] = seat
        self._poke.set()
        if self._running is None:
            running = run_until(self._stopping, self._serve, self._watch, name="leasing", log=log)
            self._running = asyncio.ensure_future(running)

    def unseat(self, seat: Seat) -> None:
        """Give this stream nothing more."""
        self._seats.pop(seat.session, None)
        self._poke.set()  # The session it leaves may be the next to end.

    def poke(self) -> None:
        """Look again: a stream wants more than it did."""
        self._poke.set()

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
                self._wait_for_workers()
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
        sessions = [session.id for session in self._seats]
        seen = await self._store.read(work.look, actions=actions, sessions=sessions)
        self._mind_the_clock(seen.now)
        if seen.astray:
            await self._store.write_guarded(work.set_right, actions=actions)
        sweep = seen.expired and time.monotonic() >= self._sweep_time
        done = [
            sweep and await self._sweep(),
            seen.revoked and await self._take_revoked(sessions),
            bool(seen.ready) and await self._grant(wishes, seen.ready),
        ]
        if sweep or seen.revoked or seen.ready or seen.astray:
            return 0 if any(done) else IN_VAIN_SECONDS
        return self._idle_seconds(seen)

    def _idle_seconds(self, seen: Look) -> float | None:
        most = MAX_WAIT_SECONDS if self._seats else inf
        if seen.next_time is not None:
            most = min(most, max(0.0, (seen.next_time - seen.now) / work.SECOND))
        if seen.expired:
            most = max(most, self._sweep_time - time.monotonic())
        return None if most == inf else most

    def _mind_the_clock(self, now: int) -> None:
        """Notice that the store's clock was set: all sessions may seem to be over, of workers that are well."""
        passed = time.monotonic() - now / work.SECOND
        if self._passed is not None and abs(self._passed - passed) > MAX_JUMP_SECONDS:
            log.warning("the clock was set by %.0f seconds", self._passed - passed)
            self._wait_for_workers()
        self._passed = passed

    def _wait_for_workers(self) -> None:
        """End no sessions before their workers could renew them: the house was away, not they."""
        self._sweep_time = time.monotonic() + work.SESSION_PERIOD / work.SECOND

    async def _sweep(self) -> bool:
        """End sessions whose time is over, and say whether that changed anything."""
        ended = set(await self._store.write_guarded(work.sweep))
        for session, seat in self._seats.items():
            if session.id in ended:
                seat.lose()
        return bool(ended)

    async def _take_revoked(self, sessions: list[str]) -> bool:
        """Have workers told of leases that ended, and say whether there were any."""
        revoked = await self._store.write_guarded(work.take_revoked, sessions=sessions)
        for session, seat in self._seats.items():
            if session.id in revoked:
                seat.revoke(list(revoked[session.id]))
        return bool(revoked)

    async def _grant(self, wishes: list[Wish], ready: Collection[Action]) -> bool:
        """Give what there is, and say whether that changed anything."""
        granted = await self._store.write_guarded(work.grant, wishes=wishes, ready=ready)
        for session, leases in granted.leases.items():
            if seat := self._seats.get(session):
                seat.give(leases)
        for session in granted.lost:
            if seat := self._seats.get(session):
                seat.lose()
        return bool(granted.leases or granted.lost)
