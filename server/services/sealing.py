"""Holds the event logs against their heads when a server starts, and notes in a log what became of it.

Events after a head were committed, but whoever asked for the change was not told, because the process or the machine
died. They stay, as their change does. A head without its event means that the log was cut or rewritten, or that an
older database was put in place. Service goes on and hides nothing: the log itself says from then on that this happened,
and `events verify` calls it wrong until somebody accepts it.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack

from server.core import chain, event_log
from server.store import events as store_
from server.store.engine import Head, Store
from server.store.events import Beyond, Log, Place
from server.store.heads import Heads, HeadsBroken

log = logging.getLogger("taskhouse.events")

GRACE_SECONDS = 2.0  # A head is written at once after its commit, unless its process has died.
LOOK_SECONDS = 0.05


async def settle(store: Store, heads: Heads, *, is_sole: bool) -> None:
    """Note what is beyond the heads and what is missing before them, and go on from there. Raises StoreUnavailable.

    `is_sole`: no other host records anything in this database.
    """
    try:
        with ExitStack() as held:
            await asyncio.to_thread(held.enter_context, heads.turn())
            await _settle(store, heads, host=None if is_sole else heads.host)
    except HeadsBroken as error:
        log.error("the event logs are not held against their heads: %s", error)  # noqa: TRY400 - it says where.


async def _settle(store: Store, heads: Heads, *, host: str | None) -> None:
    known = await asyncio.to_thread(heads.read)
    logs = {one.id: one for one in await store.scan(store_.logs)}
    found = await store.scan(store_.at, places=[Place(head.log_id, head.sequence) for head in known.values()])
    broken = {head.log_id: head for head in known.values() if found.get(head.log_id) != head.digest}
    beyond = await unacknowledged(store, heads, host=host)
    for head in broken.values():
        await _note_break(store, heads, head, logs.get(head.log_id))
    for one in beyond:
        if one.log_id in logs and one.log_id not in broken:
            await _note_unacknowledged(store, one, logs[one.log_id])
    noted = {*broken, *(one.log_id for one in beyond)}
    await _take_over(store, heads, [one for one in logs.values() if one.id not in noted], known)


async def unacknowledged(store: Store, heads: Heads, *, host: str | None) -> list[Beyond]:
    """Return what a host (None: any) has recorded after the heads, and nobody acknowledges any more.

    Raises HeadsBroken, StoreUnavailable.
    """
    known = await asyncio.to_thread(heads.read)
    places = [Place(one.id, _known(known, one.id)) for one in await store.scan(store_.logs)]
    found = await store.scan(store_.beyond, places=places, host=host)
    deadline = time.monotonic() + GRACE_SECONDS
    while found and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        known = await asyncio.to_thread(heads.read)
        found = [one for one in found if _known(known, one.log_id) < one.last]
    return [one._replace(first=max(one.first, _known(known, one.log_id) + 1)) for one in found]


async def _note_break(store: Store, heads: Heads, head: Head, found: Log | None) -> None:
    name = _name(found, head.log_id)
    there = {"sequence": found.last_sequence, "digest": found.digest.hex()} if found else {"sequence": 0, "digest": ""}
    log.error(
        "the event log of %s is not the one that was acknowledged: its event %d is missing or another, its last one is"
        " %d. It was cut or rewritten, or an older database was put in place. See `taskhouse events verify`",
        name, head.sequence, there["sequence"],
    )  # fmt: skip
    acknowledged = {"sequence": head.sequence, "digest": head.digest.hex()}
    about = found.organization or "" if found else ""
    noted = await store.write(
        event_log.note, log=head.log_id, action=chain.BROKEN, about=about, before=acknowledged, after=there
    )
    await asyncio.to_thread(heads.replace, noted)


async def _note_unacknowledged(store: Store, beyond: Beyond, found: Log) -> None:
    log.warning(
        "events %d to %d of the event log of %s were committed, but not acknowledged; they stay",
        beyond.first, beyond.last, _name(found, found.id),
    )  # fmt: skip
    after = {"first": beyond.first, "last": beyond.last}
    await store.write(
        event_log.note, log=found.id, action=chain.UNACKNOWLEDGED, about=found.organization or "", after=after
    )


async def _take_over(store: Store, heads: Heads, logs: Collection[Log], known: Mapping[int, Head]) -> None:
    """Keep heads of what others have recorded as well, so that it cannot be taken back unseen either."""
    behind = {one.id: one for one in logs if one.last_sequence > _known(known, one.id)}
    found = await store.scan(store_.at, places=[Place(one.id, one.last_sequence) for one in behind.values()])
    sound = [Head(one.id, one.last_sequence, one.digest) for one in behind.values() if found[one.id] == one.digest]
    if sound:
        await asyncio.to_thread(heads.write, sound)


def _known(known: Mapping[int, Head], log_id: int) -> int:
    return known[log_id].sequence if log_id in known else 0


def _name(found: Log | None, log_id: int) -> str:
    if log_id == store_.HOUSE:
        return "the house"
    return found.organization if found and found.organization else f"organization number {log_id}"
