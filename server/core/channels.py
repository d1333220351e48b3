"""Channels: where the results of one credential's tasks are sent live.

A channel has one listener, the newest. Each has a generation, and results are taken in its name, so that a replaced one
gets nothing more. The verbs are for Store.write_guarded.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.core.deliveries import SECOND, DeliveryState, Parcel, parcel
from server.store import channels as store
from server.store import deliveries
from server.store.channels import Listening as Listening
from server.store.engine import Tx

GRACE = 2 * SECOND  # How long a result waits for a listener.
LISTENING_PERIOD = 30 * SECOND  # How long somebody counts as listening whose process has died.
CLAIM_PERIOD = 6 * SECOND  # How soon another may get what somebody was getting whose process has died.
MAX_TAKEN = 200  # results, in one transaction
MAX_DISCARDED = 200
MARGIN = 10 * SECOND  # By so much the clocks of processes may differ without a replaced listener being noticed late.


class Look(NamedTuple):
    """What there is to do for channels. Times are microseconds since 1970 in UTC."""

    now: int
    waiting: frozenset[str]  # channels with results to send, by their credentials
    attached: Sequence[Listening]  # who came lately
    discard_time: int | None  # when results that nobody heard are to be discarded
    return_time: int | None  # when claims are to be given back that nobody renewed


class Taken(NamedTuple):
    """A result to send, and what it is a result of."""

    parcel: Parcel
    service: str
    action: str


async def attach(tx: Tx, *, credential_id: str) -> Listening:
    """Give the channel to a new listener."""
    until = tx.now + LISTENING_PERIOD
    return Listening(credential_id, await store.attach(tx, credential_id=credential_id, until=until))


async def detach(tx: Tx, *, listener: Listening, claims: Sequence[tuple[str, int]]) -> None:
    """Note that a listener is gone; what it was getting, as (task id, claim), waits again, for the grace."""
    if claims:
        await store.return_claims(tx, claims)
    await store.detach(tx, credential_id=listener.credential_id, generation=listener.generation)


async def renew(tx: Tx, *, listeners: Sequence[Listening]) -> set[Listening]:
    """Note that these listen, and return those that were not replaced."""
    return set(await store.renew(tx, listeners, until=tx.now + LISTENING_PERIOD))


async def renew_claims(tx: Tx, *, claims: Sequence[tuple[str, int]]) -> None:
    """Keep what is being sent, as (task id, claim)."""
    await store.renew_claims(tx, claims, until=tx.now + CLAIM_PERIOD)


async def look(tx: Tx, *, since: int) -> Look:
    """Say what there is to do, and who came `since` then."""
    waiting = await store.waiting(tx)
    heard = [max(one.since, one.listening_until or 0) for one in waiting]
    return Look(
        now=tx.now,
        waiting=frozenset(one.credential_id for one in waiting),
        attached=await store.attached_since(tx, since - MARGIN),
        discard_time=min(heard) + GRACE if heard else None,
        return_time=await store.first_claim_end(tx),
    )


async def take(tx: Tx, *, wishes: Mapping[Listening, int]) -> dict[Listening, list[Taken]]:
    """Take results for listeners, at most so many for each, in the order in which they became available."""
    kept = await store.keep(tx, list(wishes))
    left = {listener.credential_id: wishes[listener] for listener in kept}
    ready = []
    for one in await store.ready(tx, kept, most=MAX_TAKEN) if kept else ():
        if left[one.credential_id]:
            left[one.credential_id] -= 1
            ready.append(one)
    if not ready:
        return {}
    claimed = {
        one.task_id: one for one in await store.take(tx, [one.task_id for one in ready], until=tx.now + CLAIM_PERIOD)
    }
    of = {listener.credential_id: listener for listener in kept}
    taken: dict[Listening, list[Taken]] = {}
    for one in ready:
        if found := claimed.get(one.task_id):
            taken.setdefault(of[one.credential_id], []).append(Taken(parcel(found), one.service, one.action))
    return taken


async def discard(tx: Tx) -> int:
    """Discard some results that nobody heard within the grace, and return how many."""
    unheard = await store.unheard(tx, since=tx.now - GRACE, most=MAX_DISCARDED)
    if unheard:
        await deliveries.end(tx, unheard, state=DeliveryState.DISCARDED, retrieved=False)
    return len(unheard)


async def return_expired(tx: Tx) -> int:
    """Make available again what was claimed by processes that have died, and return how much that is."""
    return await store.return_expired(tx)
