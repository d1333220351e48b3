"""Channels: where the results of one credential's tasks are sent live.

A channel has one listener, the newest. Each has a generation, and results are taken in its name, so that a replaced one
gets nothing more. The verbs are for Store.write_guarded.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from server.core.deliveries import INLINE_BYTES, SECOND, DeliveryState, Parcel, parcel
from server.store import channels as store
from server.store import deliveries
from server.store.channels import Claim as Claim
from server.store.channels import Listening as Listening
from server.store.channels import Ready
from server.store.claims import held
from server.store.deliveries import Kept
from server.store.engine import Tx

GRACE = 2 * SECOND  # How long a result waits for a listener.
LISTENING_PERIOD = 30 * SECOND  # How long somebody counts as listening whose process has died.
CLAIM_PERIOD = 6 * SECOND  # How soon another may get what somebody was getting whose process has died.
MAX_TAKEN = 200  # results, in one transaction, of as many channels at the most
MAX_TAKEN_BYTES = 1024 * 1024  # of one channel in one transaction, as far as they are kept beside their deliveries
MAX_DISCARDED = 200
MAX_RETURNED = 200
MARGIN = 10 * SECOND  # By so much the clocks of processes may differ without a replaced listener being noticed late.


class Look(NamedTuple):
    """What there is to do for channels. Times are microseconds since 1970 in UTC."""

    now: int
    waiting: Mapping[str, int]  # since when the first result waits that is to be sent, by the channels' credentials
    attached: Sequence[Listening]  # who came lately
    discard_time: int | None  # when results that nobody heard are to be discarded
    return_time: int | None  # when claims are to be given back that nobody renewed


class Taken(NamedTuple):
    """A result to send, and what it is a result of."""

    parcel: Parcel
    service: str
    action: str

    @property
    def claim(self) -> Claim:
        """Its claim."""
        return Claim(self.parcel.task_id, self.parcel.claim)


class Renewed(NamedTuple):
    """What still holds."""

    listeners: frozenset[Listening]
    claims: frozenset[Claim]


async def attach(tx: Tx, *, credential_id: str) -> Listening:
    """Give the channel to a new listener."""
    until = tx.now + LISTENING_PERIOD
    return Listening(credential_id, await store.attach(tx, credential_id=credential_id, until=until))


async def detach(tx: Tx, *, listener: Listening, sent: Sequence[Claim] = (), unsent: Sequence[Claim] = ()) -> None:
    """Note that a listener is gone; what it was getting and was not sent waits again, for the grace."""
    await _deliver(tx, sent)
    await give_back(tx, claims=unsent)
    await store.detach(tx, credential_id=listener.credential_id, generation=listener.generation)


async def give_back(tx: Tx, *, claims: Sequence[Claim]) -> None:
    """Make results available again that were taken and not sent."""
    if claims:
        await store.return_claims(tx, claims)


async def renew(tx: Tx, *, listeners: Sequence[Listening], claims: Sequence[Claim]) -> Renewed:
    """Note that these listen and that these results are being sent; return those of which that is still so."""
    return Renewed(
        frozenset(await store.renew(tx, listeners, until=tx.now + LISTENING_PERIOD) if listeners else ()),
        frozenset(await store.renew_claims(tx, claims, until=tx.now + CLAIM_PERIOD) if claims else ()),
    )


async def look(tx: Tx, *, since: int) -> Look:
    """Say what there is to do, and who came `since` then."""
    seen = await store.look(tx, since=since - MARGIN)
    waiting = [one for one in seen if one.kind == "waiting"]
    heard = [max(one.number or 0, one.listening_until or 0) for one in waiting]
    return Look(
        now=tx.now,
        waiting={one.credential_id: one.number or 0 for one in waiting},
        attached=[Listening(one.credential_id, one.number or 0) for one in seen if one.kind == "attached"],
        discard_time=min(heard) + GRACE if heard else None,
        return_time=next((one.number for one in seen if one.kind == "claimed"), None),
    )


async def serve(tx: Tx, *, sent: Sequence[Claim], wishes: Mapping[Listening, int]) -> dict[Listening, list[Taken]]:
    """Note what was sent, and take results for listeners, at most so many for each, the longest available first.

    MAX_TAKEN is shared among them evenly, so that nobody waits until a long backlog of somebody else's is sent.
    """
    await _deliver(tx, sent)
    kept = await store.keep(tx, list(wishes)) if wishes else []
    ready = {listener: await _ready(tx, listener, min(wishes[listener], MAX_TAKEN // len(wishes))) for listener in kept}
    task_ids = [one.task_id for some in ready.values() for one in some]
    found = await store.take(tx, task_ids, until=tx.now + CLAIM_PERIOD) if task_ids else []
    claimed = {one.task_id: one for one in found}
    taken = {
        listener: [
            Taken(parcel(claimed[one.task_id]), one.service, one.action) for one in some if one.task_id in claimed
        ]
        for listener, some in ready.items()
    }
    return {listener: some for listener, some in taken.items() if some}


async def tidy(tx: Tx) -> int:
    """Make available again what was claimed by processes that have died; discard what nobody heard within the grace.

    Return how many results that changed. There may be more.
    """
    overdue = await store.overdue(tx, most=MAX_RETURNED)
    await give_back(tx, claims=overdue)
    unheard = await old(tx, until=tx.now - GRACE, most=MAX_DISCARDED)
    if unheard:
        await deliveries.end(tx, unheard, state=DeliveryState.DISCARDED, retrieved=False)
    return len(overdue) + len(unheard)


async def old(tx: Tx, *, until: int, most: int, heard: bool = False) -> list[Kept]:
    """Return results that wait since this time, on channels to which nobody listened since, or also on those `heard`.

    They are locked.
    """
    found: list[Kept] = []
    for one in await store.waiting(tx):
        if one.since <= until and (heard or (one.listening_until or 0) <= until) and len(found) < most:
            found += await store.old(tx, credential_id=one.credential_id, until=until, most=most - len(found))
    return found


async def _ready(tx: Tx, listener: Listening, most: int) -> list[Ready]:
    """Return results of one channel that may be sent, no more than are to be in memory together."""
    found = await store.ready(tx, credential_id=listener.credential_id, most=most)
    sizes = accumulate(min(one.size, INLINE_BYTES) for one in found)
    return found[: max(1, sum(1 for size in sizes if size <= MAX_TAKEN_BYTES))]


async def _deliver(tx: Tx, sent: Sequence[Claim]) -> None:
    ended = await held(tx, sent) if sent else []
    if ended:
        await deliveries.end(tx, ended, state=DeliveryState.DELIVERED, retrieved=False)
