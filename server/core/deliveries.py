"""Deliveries: how the one result of a task whose results are no pages leaves the house, once.

A claim is a lease: it ends by itself unless it is renewed, so that a process that dies gives it back, and its number is
the fence. The verbs are for Store.write_guarded. What is sent on live channels is in `channels.py`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from server.core.caller import Caller
from server.core.errors import ResultClaimed, ResultNotFound
from server.core.tasks import is_id
from server.store import chunks, claims
from server.store import deliveries as store
from server.store.claims import Claimed as Claimed
from server.store.deliveries import Status as Status
from server.store.engine import Tx

SECOND = 1_000_000  # microseconds
CHUNK_BYTES = 1024 * 1024  # of every part of a large result but its last
INLINE_BYTES = 64 * 1024  # So much is kept beside the delivery, and costs no row of its own.
CLAIM_PERIOD = 30 * SECOND
REMOVED_CHUNKS = 8  # in one transaction
JSON = "application/json"
FAILURE = b'{"success": false, "error": "Task did not complete successfully."}'


class DeliveryState(StrEnum):
    """Where a result is on its way."""

    AWAITED = "AWAITED"  # Nothing of it is here.
    ARRIVING = "ARRIVING"  # Some of it is here.
    AVAILABLE = "AVAILABLE"
    CLAIMED = "CLAIMED"  # Somebody is getting it.
    DELIVERED = "DELIVERED"
    DISCARDED = "DISCARDED"  # Nobody listened.
    EXPIRED = "EXPIRED"  # Nobody fetched it.


_S = DeliveryState
LAW: Mapping[DeliveryState, frozenset[DeliveryState]] = MappingProxyType(
    {
        _S.AWAITED: frozenset({_S.ARRIVING, _S.AVAILABLE}),
        _S.ARRIVING: frozenset({_S.ARRIVING, _S.AVAILABLE}),
        _S.AVAILABLE: frozenset({_S.AVAILABLE, _S.CLAIMED, _S.DELIVERED, _S.DISCARDED, _S.EXPIRED}),
        _S.CLAIMED: frozenset({_S.CLAIMED, _S.AVAILABLE, _S.DELIVERED, _S.EXPIRED}),
        _S.DELIVERED: frozenset(),
        _S.DISCARDED: frozenset({_S.DELIVERED}),  # Whoever says that he has it is believed.
        _S.EXPIRED: frozenset({_S.DELIVERED}),
    }
)
"""From each state, the states that may follow."""


class Description(NamedTuple):
    """What a result is."""

    size: int  # bytes
    content_type: str
    filename: str | None


class Parcel(NamedTuple):
    """A claimed result: `chunks` whole parts, which are read one by one, and the rest."""

    task_id: str
    claim: int
    attempt: int
    chunks: int
    what: Description
    rest: bytes
    failed: bool  # The task ended badly, and this tells so.

    @property
    def parts(self) -> int:
        """How many parts it is sent in; an empty one in one."""
        return self.chunks + (1 if self.rest or not self.chunks else 0)


async def claim(tx: Tx, *, caller: Caller, task_id: str) -> Parcel | None:
    """Claim a stored result for one download; None: somebody is getting the last of it, so that it is gone in a moment.

    Raises ResultNotFound, ResultClaimed.
    """
    if not is_id(task_id):
        raise ResultNotFound(task_id)
    until = tx.now + CLAIM_PERIOD
    found = await claims.claim(tx, task_id=task_id, credential_id=caller.credential_id, until=until)
    if found is None:
        there = await claims.in_store(tx, task_id=task_id, credential_id=caller.credential_id)
        if there is None or there.state != DeliveryState.CLAIMED:
            raise ResultNotFound(task_id)
        if not there.retrieved:
            raise ResultClaimed(task_id)
    return parcel(found) if found else None


async def is_leaving(tx: Tx, *, caller: Caller, task_id: str) -> bool:
    """Say whether somebody is getting the last of a result that `claim` did not give."""
    found = await claims.in_store(tx, task_id=task_id, credential_id=caller.credential_id)
    if found is None or found.state != DeliveryState.CLAIMED:
        return False
    return found.retrieved == 1 and found.claim_until > tx.now


async def describe(tx: Tx, *, caller: Caller, task_id: str) -> Description:
    """Say what a download would bring, now or once another has failed. Raises ResultNotFound."""
    if is_id(task_id):
        found = await claims.in_store(tx, task_id=task_id, credential_id=caller.credential_id)
        if found and found.state in (DeliveryState.AVAILABLE, DeliveryState.CLAIMED) and not found.retrieved:
            if found.failed:
                return Description(len(FAILURE), JSON, None)
            return Description(found.size, found.content_type, found.filename)
    raise ResultNotFound(task_id)


async def renew(tx: Tx, *, parcel: Parcel) -> bool:
    """Keep a claim; False if it has ended and somebody else may have the result."""
    return await claims.renew(tx, task_id=parcel.task_id, claim=parcel.claim, until=tx.now + CLAIM_PERIOD)


async def give_back(tx: Tx, *, parcel: Parcel) -> None:
    """End a claim undone: the result can be had again."""
    await claims.give_back(tx, task_id=parcel.task_id, claim=parcel.claim)


async def hand_over(tx: Tx, *, parcel: Parcel) -> bool:
    """Note that a client gets the last of a result: it counts as retrieved, unless the claim is given back or ends.

    False if the claim was not held any more.
    """
    return await claims.hand_over(tx, task_id=parcel.task_id, claim=parcel.claim, until=tx.now + CLAIM_PERIOD)


async def deliver(tx: Tx, *, parcels: Sequence[Parcel]) -> int:
    """End claims well: their results are gone, as clients have them. Return how many of the claims were held."""
    found = await claims.held(tx, [(parcel.task_id, parcel.claim) for parcel in parcels])
    if found:
        await store.end(tx, found, state=DeliveryState.DELIVERED, retrieved=True)
    return len(found)


async def part(tx: Tx, *, parcel: Parcel, number: int) -> bytes:
    """Return a part of a claimed result, from 1.

    Raises ResultNotFound, if somebody said that he has it already; ResultClaimed, if it is gone as the claim was lost.
    """
    if number > parcel.chunks:
        return parcel.rest
    data = await chunks.chunk(tx, task_id=parcel.task_id, attempt=parcel.attempt, number=number)
    if data is None:
        if await claims.is_retrieved(tx, task_id=parcel.task_id):
            raise ResultNotFound(parcel.task_id)
        raise ResultClaimed(parcel.task_id)
    return data


async def consume(tx: Tx, *, caller: Caller, task_ids: Sequence[str]) -> None:
    """Note that the caller has the results of these tasks, as far as they are its own and here; they are gone."""
    ids = [task_id for task_id in dict.fromkeys(task_ids) if is_id(task_id)]
    found = await store.own(tx, credential_id=caller.credential_id, task_ids=ids)
    if found:
        await store.end(tx, found, state=DeliveryState.DELIVERED, retrieved=True)


async def statuses(tx: Tx, *, organization_id: int, task_ids: Sequence[str]) -> list[Status]:
    """Return how far those of the organization's tasks are that have these ids and an account, in no order."""
    return await store.statuses(tx, organization_id=organization_id, task_ids=task_ids)


async def remove_chunks(tx: Tx) -> bool:
    """Remove some of what nobody needs any more, and say whether there may be more."""
    return await chunks.remove(tx, most=REMOVED_CHUNKS) is not None


def parcel(found: Claimed) -> Parcel:
    """Return what is sent for a claimed delivery."""
    if found.failed:
        what = Description(len(FAILURE), JSON, None)
        return Parcel(found.task_id, found.claim, 0, 0, what, FAILURE, failed=True)
    return Parcel(
        task_id=found.task_id,
        claim=found.claim,
        attempt=found.attempt,
        chunks=found.chunks,
        what=Description(found.size, found.content_type, found.filename),
        rest=found.rest or b"",
        failed=False,
    )
