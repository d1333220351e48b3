"""Claims: the right to send a result out, for a while. Those of channels are taken in `channels.py`."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import BigInteger, Integer, String, and_, bindparam, or_, select, text, update

from server.store.deliveries import CLAIMED, DELIVERIES, KEPT, Kept
from server.store.engine import Command, Query, Tx
from server.store.lists import records

_D = DELIVERIES.c


class Claimed(NamedTuple):
    """A result that is claimed, for sending it out."""

    task_id: str
    claim: int
    failed: int
    attempt: int
    chunks: int
    size: int
    content_type: str
    filename: str | None
    rest: bytes | None


class InStore(NamedTuple):
    """What there is to say of a stored result."""

    state: str
    claim_until: int  # microseconds since 1970
    retrieved: int
    failed: int
    size: int
    content_type: str
    filename: str | None


class _Retrieved(NamedTuple):
    value: int


_NAMES = records("names", task_id=String, claim=Integer)
_UNTIL = bindparam("until", type_=BigInteger)
_NOW = bindparam("now", type_=BigInteger)
_IN_CLAIM = (_D.task_id == bindparam("of_task"), _D.claim == bindparam("of_claim"), _D.state == "CLAIMED")
_OF_STORE = (
    _D.task_id == bindparam("of_task"),
    _D.credential_id == bindparam("of_credential"),
    _D.retrieval == "asstore",
)

_CLAIM = Query(
    update(DELIVERIES)
    .where(*_OF_STORE, or_(_D.state == "AVAILABLE", and_(_D.state == "CLAIMED", _D.claim_until <= _NOW)))
    .values(state="CLAIMED", claim=_D.claim + 1, claim_until=_UNTIL, retrieved=0)
    .returning(*(_D[name] for name in Claimed._fields)),
    Claimed,
)
_IN_STORE = Query(select(*(_D[name] for name in InStore._fields)).where(*_OF_STORE), InStore)
_RETRIEVED = Query(select(_D.retrieved).where(_D.task_id == bindparam("of_task")), _Retrieved)
_RENEW = Command(update(DELIVERIES).where(*_IN_CLAIM).values(claim_until=_UNTIL))
_HAND_OVER = Command(update(DELIVERIES).where(*_IN_CLAIM).values(retrieved=1, claim_until=_UNTIL))
_GIVE_BACK = Command(update(DELIVERIES).where(*_IN_CLAIM).values(state="AVAILABLE", retrieved=0, available_time=_NOW))
_HELD = Query(
    KEPT.select_from(
        DELIVERIES.join(_NAMES, and_(_D.task_id == _NAMES.c.task_id, _D.claim == _NAMES.c.claim)),
    )
    .where(text(CLAIMED))
    .order_by(_D.task_id)
    .with_for_update(of=DELIVERIES),
    Kept,
)


async def claim(tx: Tx, *, task_id: str, credential_id: str, until: int) -> Claimed | None:
    """Claim a stored result for one download, if there is one that nobody has claimed."""
    return await tx.one(_CLAIM, of_task=task_id, of_credential=credential_id, now=tx.now, until=until)


async def in_store(tx: Tx, *, task_id: str, credential_id: str) -> InStore | None:
    """Return what there is to say of the result of this credential's task, if it is to be stored."""
    return await tx.one(_IN_STORE, of_task=task_id, of_credential=credential_id)


async def is_retrieved(tx: Tx, *, task_id: str) -> bool:
    """Say whether a client has the result of this task, or is getting the last of it."""
    found = await tx.one(_RETRIEVED, of_task=task_id)
    return found is not None and found.value == 1


async def renew(tx: Tx, *, task_id: str, claim: int, until: int) -> bool:
    """Keep a claim; False if it is not held any more."""
    return await tx.run(_RENEW, of_task=task_id, of_claim=claim, until=until) == 1


async def hand_over(tx: Tx, *, task_id: str, claim: int, until: int) -> bool:
    """Note that a client has the result, unless the claim is given back or ends; False if it is not held any more."""
    return await tx.run(_HAND_OVER, of_task=task_id, of_claim=claim, until=until) == 1


async def give_back(tx: Tx, *, task_id: str, claim: int) -> None:
    """End a claim undone, if it is held."""
    await tx.run(_GIVE_BACK, of_task=task_id, of_claim=claim, now=tx.now)


async def held(tx: Tx, names: Sequence[tuple[str, int]]) -> list[Kept]:
    """Return those of these (task id, claim) that are held. They are locked."""
    given = [{"task_id": task_id, "claim": claim} for task_id, claim in names]
    return await tx.all(_HELD, names=orjson.dumps(given).decode())
