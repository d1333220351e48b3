"""Retention: what is too old is removed, in slices so short that nobody waits for them, by one process at a time."""

from itertools import accumulate
from typing import NamedTuple

from server.core import channels
from server.core.deliveries import DeliveryState, remove_chunks
from server.store import deliveries
from server.store import retention as store
from server.store.engine import Tx
from server.store.retention import State as State

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
CLAIM_PERIOD = 30 * SECOND  # How long a process that sweeps may keep still until another one takes over.
MOST_ROWS, MOST_BYTES = 200, 1024 * 1024  # In one slice: some milliseconds; a single result may be more.
MOST_COUNTED = 10_000


class Policy(NamedTuple):
    """How long results and tasks are kept after their task has ended, in microseconds; 0: for ever.

    `stored`: how long results wait that can be fetched once, or are to be sent to somebody who listens.
    """

    results: int = 0
    tasks: int = 0
    stored: int = 0

    @classmethod
    def of_days(cls, *, results: float, tasks: float, stored: float = 0) -> "Policy":
        """Return the policy that settings name in days."""
        return cls(round(results * DAY), round(tasks * DAY), round(stored * DAY))


class Look(NamedTuple):
    """When the next sweep may begin, and what time it is. Microseconds since 1970."""

    now: int
    due_time: int

    def wait(self, period: int) -> int:
        """Return in how many microseconds the next sweep is due, if one follows the other after `period`; 0: now.

        A later time was written by a clock that has been put right since.
        """
        wait = max(0, self.due_time - self.now)
        return wait if wait <= max(period, CLAIM_PERIOD) else 0


class Sweep(NamedTuple):
    """A sweep that was claimed: what ended before these times goes; 0: nothing does."""

    holder: str
    results_before: int
    tasks_before: int
    stored_before: int = 0


class Slice(NamedTuple):
    """What one transaction of a sweep removed."""

    results: int
    tasks: int
    is_last: bool


class Due(NamedTuple):
    """How much the next sweep would remove; MOST_COUNTED stands for that many and more."""

    results: int
    tasks: int


async def look(tx: Tx) -> Look:
    """Say when the next sweep may begin."""
    return Look(tx.now, (await store.state(tx)).due_time)


async def claim(tx: Tx, *, holder: str, policy: Policy, period: int) -> Sweep | None:
    """Begin a sweep, if one is due and nobody else has begun it. `holder` names who asks; `period` is in microseconds.

    All of it is removed by `sweep`, called until it says that this was the last slice.
    """
    latest = tx.now + max(period, CLAIM_PERIOD)
    if not await store.claim(tx, holder=holder, until=tx.now + CLAIM_PERIOD, latest=latest):
        return None
    return Sweep(holder, *_before(tx.now, policy))


async def sweep(tx: Tx, *, sweep: Sweep, period: int, most: int = MOST_ROWS) -> Slice | None:
    """Remove up to `most` rows, and about MOST_BYTES of results; None if another process sweeps by now.

    The next sweep begins a period after the last slice. Results go before their tasks. Word that was left for workers
    that are gone goes always.
    """
    if not await store.hold(tx, holder=sweep.holder, until=tx.now + CLAIM_PERIOD):
        return None
    sizes = await store.due_sizes(tx, before=sweep.results_before, most=most)
    fitting = max(1, sum(1 for total in accumulate(sizes) if total <= MOST_BYTES))
    results = await store.sweep_results(tx, before=sweep.results_before, most=fitting) if sizes else 0
    left = most - results if results == len(sizes) else 0
    left -= await _expire(tx, before=sweep.stored_before, most=left) if left else 0
    if left and await remove_chunks(tx):
        left = 0
    tasks = await store.sweep_tasks(tx, before=sweep.tasks_before, most=left) if left else 0
    left -= tasks
    left -= await store.sweep_revocations(tx, most=left) if left else 0
    await store.add(tx, results=results, tasks=tasks)
    if left:
        await store.finish(tx, due_time=tx.now + period)
    return Slice(results, tasks, is_last=left > 0)


async def state(tx: Tx) -> State:
    """Return who sweeps, and what the last sweep did."""
    return await store.state(tx)


async def due(tx: Tx, *, policy: Policy) -> Due:
    """Count what the next sweep would remove."""
    results_before, tasks_before, _ = _before(tx.now, policy)
    return Due(
        await store.due_results(tx, before=results_before, most=MOST_COUNTED),
        await store.due_tasks(tx, before=tasks_before, most=MOST_COUNTED),
    )


def _before(now: int, policy: Policy) -> tuple[int, int, int]:
    """Return before which times results, tasks and stored results must have ended to go; a task's results with it."""
    tasks = now - policy.tasks if policy.tasks else 0
    results = now - policy.results if policy.results else 0
    stored = now - policy.stored if policy.stored else 0
    return max(results, tasks), tasks, max(stored, tasks)


async def _expire(tx: Tx, *, before: int, most: int) -> int:
    """Let go of results that nobody has fetched or read since then, and return how many."""
    expired = await deliveries.expired(tx, before=before, most=most)
    if len(expired) < most:  # A client that is connected and does not read is heard for ever.
        expired += await channels.old(tx, until=before, most=most - len(expired), heard=True)
    if expired:
        await deliveries.end(tx, expired, state=DeliveryState.EXPIRED, retrieved=False)
    return len(expired)
