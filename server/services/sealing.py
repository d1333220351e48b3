"""Holds the event logs against their heads, when a server starts and then from time to time; notes what became of them.

Events without a head were committed, but whoever asked for the change was not told, because the process or the machine
died. They stay, as their change does. A head whose event is missing, or another, means that the log was cut or
rewritten, or that an older database was put in place. Service goes on and hides nothing: the log itself says from then
on that this happened, and `events verify` calls it wrong until somebody accepts it. So does the house's log if somebody
else has changed the file of heads. Of the heads that were held against a log only its end is kept: the digest there
stands for all before.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack

from server.core import event_log
from server.core.event_log import Standing
from server.store import events as store_
from server.store.engine import Head, Store, StoreUnavailable
from server.store.events import HOUSE, End, Place, Span
from server.store.heads import Heads

log = logging.getLogger("taskhouse.events")

# A head is written at once after its commit, unless its process has died or its disk is slow. A start waits for it.
GRACE_SECONDS = 3.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 3600.0
SETTLE_BYTES = 256 * 1024  # When the file of heads has grown by more, it is time as well: all writers wait for that.
SIZE_SECONDS = 10.0
AT_ONCE = 1000  # places


async def keep_settled(store: Store, heads: Heads) -> None:
    """Settle from time to time, until it is cancelled. Raises StoreUnavailable."""
    while True:
        due = time.monotonic() + SETTLE_SECONDS
        most = await asyncio.to_thread(heads.size) + SETTLE_BYTES
        while time.monotonic() < due and await asyncio.to_thread(heads.size) <= most:  # noqa: ASYNC110 - others write it, too.
            await asyncio.sleep(SIZE_SECONDS)
        await settle(store, heads)


async def settle(store: Store, heads: Heads) -> None:
    """Note which events have no heads and which heads have no events, and go on from there. Raises StoreUnavailable."""
    with ExitStack() as held:
        await asyncio.to_thread(held.enter_context, heads.turn())
        kept = await asyncio.to_thread(heads.read)
        standings = await store.scan(event_log.standings, logs={HOUSE, *(head.log_id for head in kept.heads)})
        lost = await _lost(store, kept.heads)
        spans = defaultdict(list)
        if not kept.fault:  # Else nobody knows what was acknowledged.
            for span in await unacknowledged(store, heads, [one.end for one in standings if one.end]):
                spans[span.log_id].append(span)
        settled: list[Head] = []
        for one in standings:
            fault = kept.fault if one.log_id == HOUSE else ""
            if await _is_settled(store, one, fault, lost.get(one.log_id), spans[one.log_id]):
                settled += [Head(one.log_id, 1, one.end.sequence, one.end.digest)] if one.end else []
            elif fault:
                return
            else:
                settled += (head for head in kept.heads if head.log_id == one.log_id)
        if kept.fault or set(settled) != set(kept.heads):
            await asyncio.to_thread(heads.replace, kept, settled)


async def _is_settled(store: Store, one: Standing, fault: str, lost: Head | None, spans: Collection[Span]) -> bool:
    """Note in a log what became of it, and return whether only its end need be held against it from now on."""
    try:
        if not one.is_right and await store.write(event_log.set_right, standing=one):
            log.error("the event log of %s ended elsewhere than its entry said; that is set right", one.name)
        if fault:
            log.error("the heads of the event logs: %s. See `taskhouse events verify`", fault)
            await store.write(event_log.note_fault, standing=one, fault=fault)
        if lost:
            log.error(
                "the event log of %s is not the one that was acknowledged: its event %d is missing or another, its last"
                " one is %d. It was cut or rewritten, or an older database was put in place. See `taskhouse events"
                " verify`", one.name, lost.sequence, one.end.sequence if one.end else 0,
            )  # fmt: skip
            await store.write(event_log.note_break, standing=one, lost=lost)
        for span in () if lost else spans:
            log.warning(
                "events %d to %d of the event log of %s were committed, but not acknowledged; they stay",
                span.first, span.last, one.name,
            )  # fmt: skip
            await store.write(event_log.note_unacknowledged, standing=one, span=span)
    except StoreUnavailable:
        raise
    except Exception:  # Whatever somebody has done to a log, the house and the other logs go on.
        log.exception("the event log of %s cannot go on. See `taskhouse events verify`", one.name)
        return False
    return True


async def unacknowledged(store: Store, heads: Heads, ends: Collection[End]) -> list[Span]:
    """Return what this host has recorded up to these ends of logs, and nobody acknowledges any more.

    Raises StoreUnavailable.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        kept = await asyncio.to_thread(heads.read)
        found = await store.scan(store_.recorded, list(_without_heads(kept.heads, ends)), host=heads.host)
        if not found or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def _without_heads(heads: Iterable[Head], ends: Iterable[End]) -> Iterator[Span]:
    """Return where heads leave events out."""
    of_log = defaultdict(list)
    for head in heads:
        of_log[head.log_id].append(head)
    for log_id, last, digest in ends:
        number = 1
        for head in sorted((*of_log[log_id], Head(log_id, last + 1, last + 1, digest))):
            if number < head.first:
                yield Span(log_id, number, head.first - 1)
            number = max(number, head.sequence + 1)


async def _lost(store: Store, heads: Collection[Head]) -> dict[int, Head]:
    """Return of each log the first head whose event is not there."""
    lost: dict[int, Head] = {}
    ordered = sorted(heads, key=lambda head: (head.log_id, head.sequence))
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        found = await store.scan(store_.at, [Place(head.log_id, head.sequence) for head in some])
        for head in some:
            if found.get(Place(head.log_id, head.sequence)) != head.digest:
                lost.setdefault(head.log_id, head)
    return lost
