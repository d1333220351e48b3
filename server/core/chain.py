"""The chain of an event log: each event's digest is of what it tells and of the digest before it.

So an event cannot be changed, put in or taken out without all digests after it; and these cannot be made anew unseen,
as each is sealed by the host that recorded it, and those that were acknowledged are kept outside the database. What
another host has sealed only that host can check: here it is held against the heads that this host has kept since.
"""

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import orjson

from server.store.engine import Head
from server.store.events import Content, Log, Place, Span, Stored

GENESIS = bytes(32)
"""What stands for the digest before the first event."""
BROKEN = "event_log.broken"
ACCEPTED = "event_log.accepted"
UNACKNOWLEDGED = "event_log.unacknowledged"
TRUSTED = "event_log.host_trusted"


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
    others: Collection[str] = ()  # the other hosts that may have recorded something


class Examination:
    """Takes the events of all logs, log by log in the order of their numbers, and yields what is wrong.

    `heads` and `logs` are of before the first event was read.
    """

    def __init__(self, keeper: Keeper, heads: Iterable[Head], logs: Collection[Log]) -> None:
        self._keeper = keeper
        self._heads: dict[Place, set[bytes]] = defaultdict(set)
        self._acknowledged: dict[int, int] = {}
        for head in heads:
            self._heads[Place(head.log_id, head.sequence)].add(head.digest)
            self._acknowledged[head.log_id] = max(head.sequence, self._acknowledged.get(head.log_id, 0))
        self._logs = _entries(logs)
        self._last: dict[int, int] = {}
        self._breaks: dict[int, dict[str, int]] = defaultdict(dict)
        self._log: int | None = None
        self._next = 1
        self._links: set[bytes] = set()  # what the next event's digest may follow; empty: that is not known
        self.events = 0
        self.hosts: Counter[str] = Counter()  # how many sound events each of them has recorded

    def take(self, event: Stored) -> Iterator[Finding]:
        """Look at the next event."""
        yield from self._step(Place(event.log_id, event.sequence))
        is_sound = True
        for what in self._faults(event):
            is_sound = False
            yield Finding(event.log_id, event.sequence, what)
        if is_sound:
            self.hosts[event.host] += 1
            self._note_break(event)
            yield from self._held_against(event)

    def skip(self, place: Place) -> Iterator[Finding]:
        """Go past an event that cannot be read."""
        yield from self._step(place)
        yield Finding(*place, "cannot be read: it was changed")
        self._links = set()

    def end(self, logs: Collection[Log]) -> Iterator[Finding]:
        """Look at the logs' ends, once all events were taken. `logs` are of after that."""
        after = _entries(logs)
        for log_id in sorted({*after, *self._logs, *self._acknowledged, *self._last}):
            head, last = self._acknowledged.get(log_id, 0), self._last.get(log_id, 0)
            most = max(self._logs[log_id].last_sequence if log_id in self._logs else 0, head)
            if most > last:
                what = "the end of the log is missing" if last else "the whole log is missing"
                acknowledged = f"acknowledged up to event {head}" if head else "none was acknowledged here"
                yield Finding(log_id, last + 1, f"{what}: events {last + 1} to {most} ({acknowledged})")
            elif log_id not in after:
                yield Finding(log_id, None, "the log has events, but no entry among the logs")
            elif after[log_id].last_sequence < last:
                what = f"comes after the log's last event, which is number {after[log_id].last_sequence}"
                yield Finding(log_id, last, what)
            for sequence in self._breaks[log_id].values():
                what = "says that the log or its heads had been cut or rewritten, and nobody has accepted that"
                yield Finding(log_id, sequence, what)

    def unacknowledged(self, spans: Collection[Span]) -> Iterator[Finding]:
        """Tell of events without heads."""
        for log_id, first, last in spans:
            what = f"events {first} to {last} were committed, but not acknowledged; a server that starts will note it"
            yield Finding(log_id, first, what)

    def _held_against(self, event: Stored) -> Iterator[Finding]:
        """Hold an event that seems sound against what is known of its place."""
        log = self._logs.get(event.log_id)
        if self._heads.get(Place(event.log_id, event.sequence), {event.digest}) != {event.digest}:
            what = "is another than was acknowledged: it, or what comes before it, was rewritten"
            yield Finding(event.log_id, event.sequence, what)
        if log and log.last_sequence == event.sequence and log.digest != event.digest:
            yield Finding(event.log_id, event.sequence, "is another than the log's entry says: that was changed")

    def _note_break(self, event: Stored) -> None:
        """Keep in mind that a host has noted a break, until it is accepted there, or here."""
        if event.action == BROKEN:
            self._breaks[event.log_id][event.host] = event.sequence
        elif event.action == ACCEPTED and event.host == self._keeper.host:
            self._breaks[event.log_id].clear()
        elif event.action == ACCEPTED:
            self._breaks[event.log_id].pop(event.host, None)

    def _step(self, place: Place) -> Iterator[Finding]:
        """Go on to an event, and tell what is missing before it."""
        log_id, sequence = place
        self.events += 1
        if isinstance(sequence, int):
            self._last[log_id] = max(sequence, self._last.get(log_id, 0))
        if log_id != self._log:
            self._log, self._next, self._links = log_id, 1, {GENESIS}
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
        elif event.host not in self._keeper.others:
            yield (
                f"was recorded by the host {event.host!r}, which nobody has named here; if it is another one of this"
                " house, `taskhouse events trust` does"
            )


def _entries(logs: Collection[Log]) -> dict[int, Log]:
    """Return the logs' entries by their ids. Their numbers can be compared, whatever SQLite's columns hold."""
    return {log.id: log if isinstance(log.last_sequence, int) else log._replace(last_sequence=-1) for log in logs}
