"""A look at the house's work, for whoever operates it."""

from typing import NamedTuple

from server.store import checkup as store
from server.store.checkup import Ended, Expiring, Failing, Waiting
from server.store.engine import Tx

MINUTE = 60_000_000  # microseconds
DAY = 24 * 60 * MINUTE
PATIENCE = 10 * MINUTE  # A task that nobody has leased for so long waits for something else than its turn.
SOON = 30 * DAY
MOST = 5  # of each kind
LAST_TASKS = 1000


class Checkup(NamedTuple):
    """What there is to be seen. Times are microseconds since 1970."""

    now: int  # by the store's clock
    newest_task: int | None  # when it was created
    workers: int
    waiting: list[Waiting]  # longer than PATIENCE
    failing: list[Failing]
    ended: list[Ended]  # of the last LAST_TASKS
    expiring: list[Expiring]  # within SOON; one more than MOST if there are more


async def examine(tx: Tx) -> Checkup:
    """Look at everything, on one snapshot."""
    return Checkup(
        now=tx.now,
        newest_task=await store.newest_task(tx),
        workers=await store.live_sessions(tx),
        waiting=await store.waiting(tx, before=tx.now - PATIENCE, most=MOST),
        failing=await store.failing(tx, most=MOST),
        ended=await store.ended(tx, most=LAST_TASKS),
        expiring=await store.expiring(tx, until=tx.now + SOON, most=MOST + 1),
    )
