"""The chain of an event log: each event's digest is of what it tells and of the digest before it.

So an event cannot be changed, put in or taken out without all digests after it; and these cannot be made anew unseen,
as each is sealed by the host that recorded it, and the last one that was acknowledged is kept outside the database.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import orjson

from server.store.engine import Head
from server.store.events import Beyond, Content, Log, Place, Stored

GENESIS = bytes(32)
"""What stands for the digest before the first event."""
BROKEN = "event_log.broken"
ACCEPTED = "event_log.accepted"
UNACKNOWLEDGED = "event_log.unacknowledged"


def digest_of(previous: bytes, content: Content) -> bytes:
    """Return the digest of an event, given that of the event before it."""
    return hashlib.sha256(previous + orjson.dumps(list(content))).digest()


class Finding(NamedTuple):
    """Something that is wrong with a log."""

    log_id: int
    sequence: int | None  # of the event, or of the first of several; None: of the log as a whole
    what: str


class Keeper(NamedTuple):
    """Whose seals and heads a log is held against."""

    host: str
    seal: Callable[[bytes], bytes]
    is_sole: bool  # whether nobody else may have recorded anything


class Examination:
    """Takes the events of all logs, log by log in the order of their numbers, and yields what is wrong.

    `heads` and `logs` are of before the first event was read.
    """

    def __init__(self, keeper: Keeper, heads: Mapping[int, Head], logs: Collection[Log]) -> None:
        self._keeper = keeper
        self._heads = heads
        self._logs = {log.id: log for log in logs}
        self._last: dict[int, int] = {}
        self._breaks: dict[int, int] = {}
        self._log: int | None = None
        self._next = 1
        self._links: set[bytes] = set()  # what the next event's digest may follow; empty: that is not known
        self._hosted = False
        self.events = 0

    def take(self, event: Stored) -> Iterator[Finding]:
        """Look at the next event."""
        yield from self._step(Place(event.log_id, event.sequence))
        is_sound = True
        for what in self._faults(event):
            is_sound = False
            yield Finding(event.log_id, event.sequence, what)
        if is_sound:
            yield from self._held_against(event)
        if event.action == BROKEN:
            self._breaks[event.log_id] = event.sequence
        elif event.action == ACCEPTED:
            self._breaks.pop(event.log_id, None)

    def skip(self, place: Place) -> Iterator[Finding]:
        """Go past an event that cannot be read."""
        yield from self._step(place)
        yield Finding(*place, "cannot be read: it was changed")
        self._links = set()

    def end(self, logs: Collection[Log]) -> Iterator[Finding]:
        """Look at the logs' ends, once all events were taken. `logs` are of after that."""
        after = {log.id: log for log in logs}
        for log_id in sorted({*after, *self._logs, *self._heads, *self._last}):
            head, last = self._heads.get(log_id), self._last.get(log_id, 0)
            most = max(self._logs[log_id].last_sequence if log_id in self._logs else 0, head.sequence if head else 0)
            if most > last:
                what = "the end of the log is missing" if last else "the whole log is missing"
                acknowledged = f"acknowledged up to event {head.sequence}" if head else "none was acknowledged here"
                yield Finding(log_id, last + 1, f"{what}: events {last + 1} to {most} ({acknowledged})")
            elif log_id not in after:
                yield Finding(log_id, None, "the log has events, but no entry among the logs")
            elif after[log_id].last_sequence < last:
                what = f"comes after the log's last event, which is number {after[log_id].last_sequence}"
                yield Finding(log_id, last, what)
            if log_id in self._breaks:
                what = "says that the log had been cut or rewritten, and nobody has accepted that"
                yield Finding(log_id, self._breaks[log_id], what)

    def unacknowledged(self, beyond: Collection[Beyond]) -> Iterator[Finding]:
        """Tell of events after the heads."""
        for log_id, first, last in beyond:
            what = f"events {first} to {last} were committed, but not acknowledged; a server that starts will note it"
            yield Finding(log_id, first, what)

    def _held_against(self, event: Stored) -> Iterator[Finding]:
        """Hold an event that seems sound against what is known of its place."""
        head, log = self._heads.get(event.log_id), self._logs.get(event.log_id)
        if head and head.sequence == event.sequence and head.digest != event.digest:
            what = "is another than was acknowledged: it, or what comes before it, was rewritten"
            yield Finding(event.log_id, event.sequence, what)
        if log and log.last_sequence == event.sequence and log.digest != event.digest:
            yield Finding(event.log_id, event.sequence, "is another than the log's entry says: that was changed")

    def _step(self, place: Place) -> Iterator[Finding]:
        """Go on to an event, and tell what is missing before it."""
        log_id, sequence = place
        self.events += 1
        if isinstance(sequence, int):
            self._last[log_id] = max(sequence, self._last.get(log_id, 0))
        if log_id != self._log:
            self._log, self._next, self._links, self._hosted = log_id, 1, {GENESIS}, False
        if sequence == self._next:
            self._next += 1
            return
        self._links = set()
        if not isinstance(sequence, int) or sequence < self._next:
            yield Finding(log_id, sequence, "has a number that no event can have")
            return
        one = self._next == sequence - 1
        yield Finding(log_id, self._next, "is missing" if one else f"and those up to {sequence - 1} are missing")
        self._next = sequence + 1

    def _faults(self, event: Stored) -> Iterator[str]:
        try:
            following = {digest_of(link, event.content) for link in self._links}
        except TypeError:  # SQLite lets every column hold everything.
            following = set()
            yield "was changed"
        else:
            if self._links and event.digest not in following:
                yield "was changed, or put there"
        sealed = isinstance(event.digest, bytes) and isinstance(event.seal, bytes)
        self._links = following | ({event.digest} if isinstance(event.digest, bytes) else set())
        if event.host == self._keeper.host:
            if not sealed or not hmac.compare_digest(self._keeper.seal(event.digest), event.seal):
                yield "does not have this host's seal: it was changed, or written by somebody else"
        elif event.host and self._keeper.is_sole:
            yield "was recorded under another key than this house's"
        elif not event.host and self._hosted:
            yield "does not say who recorded it"
        self._hosted = self._hosted or event.host != ""
