"""Sweeps what is too old, in every server process; they take turns."""

import asyncio
import logging
import time
import uuid

from server.core import retention, uploading
from server.core.retention import Policy
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.sweeping")

REST = 4  # A slice is followed by a rest of so many times its own length,
LEAST_REST_SECONDS = 0.02  # or by this.
MOST_UPLOADS = 1000  # Of a sweep.
JUMP_SECONDS = 3600.0  # By more than this nobody's clock is set in good order.


class Sweeping:
    """Looks every `period_seconds` whether there is something to sweep, until it is cancelled."""

    def __init__(self, store: Store, policy: Policy, *, period_seconds: float) -> None:
        self._store, self._policy = store, policy
        self._period_seconds = period_seconds
        self._period = round(period_seconds * retention.SECOND)
        self._holder = str(uuid.uuid4())
        self._clock: float | None = None  # the store's clock less the time since boot, as it was at first

    async def run(self) -> None:
        """Sweep whenever it is time."""
        while True:
            [outcome] = await asyncio.gather(self._sweep_if_due(), return_exceptions=True)
            if isinstance(outcome, StoreUnavailable):
                log.warning("sweeping waits for the store: %s", outcome)
            elif isinstance(outcome, BaseException):  # Nobody foresaw it; the disk must not fill up because of it.
                log.error("sweeping failed, and will be tried again", exc_info=outcome)
            await asyncio.sleep(outcome if isinstance(outcome, float) else self._period_seconds)

    async def _sweep_if_due(self) -> float:
        """Return in how many seconds to look again."""
        seen = await self._store.read(retention.look)
        if self._has_jumped(seen.now):
            return self._period_seconds
        if wait := seen.wait(self._period):
            return min(wait / retention.SECOND, self._period_seconds)
        sweep = await self._store.write_guarded(
            retention.claim, holder=self._holder, policy=self._policy, period=self._period
        )
        if sweep is None:
            return self._period_seconds
        results = tasks = 0
        while True:
            began = time.monotonic()
            slice_ = await self._store.write_guarded(retention.sweep, sweep=sweep, period=self._period)
            if slice_ is None:
                break
            results, tasks = results + slice_.results, tasks + slice_.tasks
            if slice_.is_last:
                break
            await asyncio.sleep(max(LEAST_REST_SECONDS, REST * (time.monotonic() - began)))
        if results or tasks:
            log.info("swept %d results and %d tasks", results, tasks)
        await self._tidy_uploads()
        return self._period_seconds

    async def _tidy_uploads(self) -> None:
        for _ in range(MOST_UPLOADS):
            if not await self._store.write_guarded(uploading.tidy):
                return
            await asyncio.sleep(LEAST_REST_SECONDS)

    def _has_jumped(self, now: int) -> bool:
        """Say whether the clock was set by more than JUMP_SECONDS: what seems old may not be. Said once a period."""
        clock = now / retention.SECOND - time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._clock is None:
            self._clock = clock
        jump = clock - self._clock
        if abs(jump) <= JUMP_SECONDS:
            return False
        log.warning("the clock moved by %+.0f s: nothing is swept until that is undone or this server restarts", jump)
        return True
