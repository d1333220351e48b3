"""Gives leases to the workers of one process: one look at the store for all of them whenever it may have changed."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from server.core import work
from server.core.restarting import RETRY_SECONDS, run_until
from server.core.work import Action, Granted, Lease, LeaseName, Look, Session, Wish
from server.store.engine import P, Store, StoreUnavailable, T, Verb

log = logging.getLogger("taskhouse.work")

MAX_WAIT_SECONDS = 1.0  # Hints only make it quick; looking is the truth, and costs some microseconds.
MAX_JUMP_SECONDS = 1.0  # By so much a clock may be set without notice.
IN_VAIN_SECONDS = 0.05  # After there was something to do, and then not: another process did it, or the clock was set.
SPARE_SECONDS = 2 * work.SESSION_PERIOD / work.SECOND  # Where all is slow for long, dead workers' sessions end, too.
SLOW_SECONDS = 2.0  # A write, or a look, that is later than this kept workers waiting, too.


@dataclass(eq=False)
class Seat:
    """One worker's stream, as leasing sees it. `wake` is set whenever the stream has something to do."""

    session: Session
    actions: frozenset[Action]
    capacity: int
    wake: asyncio.Event
    held: set[LeaseName] = field(default_factory=set)
    leases: deque[Lease] = field(default_factory=deque)  # granted, not yet sent
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
        self.leases = deque(lease for lease in self.leases if lease.name in self.held)
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
        self._look_time = 0.0  # by the monotonic clock: when it looked last
        self._was_away = True  # As far as a process knows that has just started.
        self._spare_time = -inf  # by the monotonic clock: when sessions were spared last
        self._writing: dict[object, float] = {}  # When the writes began that are under way, the oldest first.
        self._unsure: set[Session] = set()  # The outcome of a write is unknown that may have given or taken leases.

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

    async def write_soon(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Write what concerns sessions, and notice if that is slow or fails: then no session ends because of it."""
        with self._noticed():
            return await self._store.write_soon(verb, *args, **kwargs)

    async def write_guarded(self, verb: Verb[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As write_soon, for what may be much."""
        with self._noticed():
            return await self._store.write_guarded(verb, *args, **kwargs)

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
        if self._unsure:
            await self._make_sure()
        wishes = [Wish(seat.session, seat.actions, seat.free) for seat in self._seats.values() if seat.free]
        actions = {action for wish in wishes for action in wish.actions}
        seen = await self._look(actions)
        if self._is_back(seen.now):
            await self.write_soon(work.spare)
            self._spare_time = time.monotonic()
            return 0
        if seen.astray:
            await self.write_guarded(work.set_right, actions=actions)
        done = [
            seen.expired and await self._sweep(seen.now),
            seen.revoked and await self._take_revoked(),
            bool(seen.ready) and await self._grant(wishes, seen.ready),
        ]
        if seen.expired or seen.revoked or seen.ready or seen.astray:
            return 0 if any(done) else IN_VAIN_SECONDS
        return self._idle_seconds(seen)

    async def _look(self, actions: Collection[Action]) -> Look:
        try:
            return await self._store.read(work.look, actions=actions, sessions=[session.id for session in self._seats])
        except StoreUnavailable:
            self._was_away, self._spare_time = True, -inf  # While nothing can be seen nothing ends, either.
            raise

    def _idle_seconds(self, seen: Look) -> float | None:
        # Where there are sessions it looks now and then, so that it notices when the house is away.
        if seen.next_time is None:
            return MAX_WAIT_SECONDS if self._seats else None
        return min(MAX_WAIT_SECONDS, max(0.0, (seen.next_time - seen.now) / work.SECOND))

    # The house may be away, or slow. Then sessions that end are of workers that are well, and could not renew them.

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        write = object()
        self._writing[write] = time.monotonic()
        try:
            yield
        except StoreUnavailable:
            self._was_away = True
            raise
        finally:
            self._heed_slowness(since=self._writing.pop(write))

    def _heed_slowness(self, *, since: float) -> None:
        self._was_away |= time.monotonic() - since > SLOW_SECONDS

    def _is_back(self, now: int) -> bool:
        """Say whether sessions are to be spared, as the house was away or slow, or its clock was set."""
        self._heed_slowness(since=self._look_time + MAX_WAIT_SECONDS)
        self._heed_slowness(since=next(iter(self._writing.values()), inf))
        self._look_time = time.monotonic()
        before, self._passed = self._passed, self._look_time - now / work.SECOND
        if before is not None and abs(before - self._passed) > MAX_JUMP_SECONDS:
            log.warning("the clock was set by %.0f seconds", before - self._passed)
            self._was_away = True
        was_away, self._was_away = self._was_away, False
        return was_away and self._look_time > self._spare_time + SPARE_SECONDS

    async def _sweep(self, seen: int) -> bool:
        """End sessions whose time is over, and say whether that changed anything."""
        ended = set(await self.write_guarded(work.sweep, seen=seen))
        for session, seat in self._seats.items():
            if session.id in ended:
                seat.lose()
        return bool(ended)

    async def _take_revoked(self) -> bool:
        """Have workers told of leases that ended, and say whether there were any."""
        self._unsure.update(self._seats)  # Until the answer is here.
        revoked = await self.write_soon(work.take_revoked, sessions=[session.id for session in self._seats])
        self._unsure.clear()
        for session, seat in self._seats.items():
            if session.id in revoked:
                seat.revoke(list(revoked[session.id]))
        return bool(revoked)

    async def _grant(self, wishes: list[Wish], ready: Collection[Action]) -> bool:
        """Give what there is, and say whether that changed anything."""
        self._unsure.update(wish.session for wish in wishes)  # Until the answer is here.
        granted = await self.write_soon(work.grant, wishes=wishes, ready=ready)
        self._unsure.clear()
        self._deal(granted)
        return bool(granted.leases or granted.lost)

    async def _make_sure(self) -> None:
        """Give and take what sessions got or lost by a write that was perhaps committed, though no answer came."""
        known = {session: set(seat.held) for session in self._unsure if (seat := self._seats.get(session))}
        held = await self.write_soon(work.hold, sessions=list(known))
        self._unsure.clear()
        for session, leases in held.leases.items():
            if seat := self._seats.get(session):
                seat.revoke(list(seat.held & known[session] - {lease.name for lease in leases}))
        new = {
            session: [lease for lease in leases if lease.name not in known[session]]
            for session, leases in held.leases.items()
        }
        self._deal(Granted(new, held.lost))

    def _deal(self, granted: Granted) -> None:
        for session, leases in granted.leases.items():
            if seat := self._seats.get(session):
                seat.give(leases)
        for session in granted.lost:
            if seat := self._seats.get(session):
                seat.lose()
