"""The chain of an event log: whatever is done to events is found. `make soak` does 100,000 things; here are fewer."""

import os
from collections.abc import Collection
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.core.chain import ACCEPTED, BROKEN, GENESIS, Examination, Finding, Keeper, digest_of
from server.store.engine import Head
from server.store.events import Content, Log, Stored
from server.store.heads import Heads

MUTATIONS = int(os.environ.get("MUTATIONS", "1000"))
BOTH = (0, 7)  # the logs' ids
TEXTS = ("host", "actor_id", "actor_name", "action", "object_kind", "object_id", "before", "after", "reason")
TIMES = ("event_time",)
BYTES = ("digest", "seal")
OTHER = "feedfacecafebeef"  # a host


class Database(NamedTuple):
    """What somebody who can write to the database has before him."""

    rows: dict[tuple[int, int], Stored]
    logs: dict[int, Log]

    def chained_anew(self, keeper: Keeper) -> "Database":
        """Return what it is after all digests were made anew, as well as anybody can without the key."""
        rows, logs = {}, dict(self.logs)
        for log_id in self.logs:
            digest = GENESIS
            for place in sorted(place for place in self.rows if place[0] == log_id):
                digest = digest_of(digest, self.rows[place].content)
                rows[place] = self.rows[place]._replace(digest=digest)
                logs[log_id] = Log(log_id, None, place[1], digest)
        return Database(rows, logs)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory) -> Keeper:
    heads = Heads(tmp_path_factory.mktemp("heads"))
    return Keeper(heads.host, heads.seal)


def content(keeper: Keeper, log_id: int, sequence: int, **more: Any) -> Content:
    values = {
        "log_id": log_id, "sequence": sequence, "event_time": 1_700_000_000_000_000 + sequence, "host": keeper.host,
        "actor_id": "c1", "actor_name": "Anna", "action": "rule.updated", "object_kind": "rule", "object_id": "r1",
        "before": '{"name":"a"}', "after": None if sequence % 3 == 0 else '{"name":"ä"}', "reason": "",
    }  # fmt: skip
    return Content(**(values | more))


def written(keeper: Keeper, numbers: dict[int, int], **more: Any) -> Database:
    """Return logs with so many events each."""
    rows, logs = {}, {}
    for log_id, number in numbers.items():
        digest = GENESIS
        for sequence in range(1, number + 1):
            said = content(keeper, log_id, sequence, **more)
            digest = digest_of(digest, said)
            rows[log_id, sequence] = Stored(*said, digest, keeper.seal(digest))
        logs[log_id] = Log(log_id, None, number, digest)
    return Database(rows, logs)


def appended(database: Database, keeper: Keeper, *, seal: bytes | None = None, **more: Any) -> Database:
    """Return what it is after one more event of log 7, sealed by the keeper if no seal is given."""
    last = max((sequence for _, sequence in database.rows), default=0)
    previous = database.rows[7, last].digest if last else GENESIS
    said = content(keeper, 7, last + 1, **more)
    digest = digest_of(previous, said)
    row = Stored(*said, digest, keeper.seal(digest) if seal is None else seal)
    return Database(database.rows | {(7, last + 1): row}, {7: Log(7, None, last + 1, digest)})


def heads_of(database: Database) -> list[Head]:
    return [Head(log.id, 1, log.last_sequence, log.digest) for log in database.logs.values()]


def examined(keeper: Keeper, database: Database, heads: Collection[Head]) -> list[Finding]:
    examination = Examination(keeper, heads, database.logs.values())
    found = [one for place in sorted(database.rows) for one in examination.take(database.rows[place])]
    return found + list(examination.end(database.logs.values()))


class Tampered(NamedTuple):
    """What somebody has made of a database."""

    rows: dict[tuple[int, int], Stored]
    logs: dict[int, Log]
    log_id: int  # where that can be told
    first: int  # the first event that it touches


class Tampering:
    """Does something to event number `sequence` of one log, or to more of it."""

    def __init__(self, draw: st.DrawFn, sound: Database) -> None:
        self.draw = draw
        self.rows, self.logs = dict(sound.rows), dict(sound.logs)
        self.log_id = draw(st.sampled_from(BOTH))
        self.last = self.logs[self.log_id].last_sequence
        self.sequence = draw(st.integers(1, self.last))
        self.event = self.rows[self.log_id, self.sequence]

    def tampered(self, first: int | None = None, log_id: int | None = None) -> Tampered:
        where = self.log_id if log_id is None else log_id
        return Tampered(self.rows, self.logs, where, self.sequence if first is None else first)

    def flip(self) -> Tampered:
        name = self.draw(st.sampled_from((*TEXTS, *TIMES, *BYTES)))
        value = self.draw(flipped(getattr(self.event, name)))
        self.rows[self.log_id, self.sequence] = self.event._replace(**{name: value})
        return self.tampered()

    def drop(self) -> Tampered:
        del self.rows[self.log_id, self.sequence]
        if self.draw(st.booleans()):  # The others close up.
            for number in range(self.sequence + 1, self.last + 1):
                self.rows[self.log_id, number - 1] = self.rows.pop((self.log_id, number))._replace(sequence=number - 1)
        return self.tampered()

    def insert(self) -> Tampered:
        for number in range(self.last, self.sequence - 1, -1):
            self.rows[self.log_id, number + 1] = self.rows.pop((self.log_id, number))._replace(sequence=number + 1)
        self.rows[self.log_id, self.sequence] = self.event._replace(reason=self.draw(st.text(max_size=3)))
        self.logs[self.log_id] = self.logs[self.log_id]._replace(last_sequence=self.last + 1)
        return self.tampered()

    def swap(self) -> Tampered:
        number = self.draw(st.integers(1, self.last).filter(lambda each: each != self.sequence))
        other = self.rows[self.log_id, number]
        self.rows[self.log_id, self.sequence] = other._replace(sequence=self.sequence)
        self.rows[self.log_id, number] = self.event._replace(sequence=number)
        return self.tampered(min(self.sequence, number))

    def renumber(self) -> Tampered:
        free = st.integers(-3, 2 * self.last).filter(lambda each: (self.log_id, each) not in self.rows)
        number = self.draw(free)
        del self.rows[self.log_id, self.sequence]
        self.rows[self.log_id, number] = self.event._replace(sequence=number)
        return self.tampered(min(self.sequence, number))

    def move(self) -> Tampered:
        other = BOTH[1 - BOTH.index(self.log_id)]
        number = self.logs[other].last_sequence + 1
        self.rows[other, number] = self.event._replace(log_id=other, sequence=number)
        self.logs[other] = self.logs[other]._replace(last_sequence=number)
        self._cut_from(self.sequence)
        return self.tampered(number, other)

    def cut(self) -> Tampered:
        self._cut_from(self.sequence)
        return self.tampered()

    def delete(self) -> Tampered:
        self._cut_from(1)
        if self.draw(st.booleans()):
            del self.logs[self.log_id]
        return self.tampered(1)

    def entry(self) -> Tampered:
        entry: dict[str, Any] = {"digest": self.draw(flipped(self.logs[self.log_id].digest))}
        if self.draw(st.booleans()):
            other = st.integers(0, 2 * self.last).filter(lambda each: each != self.last)
            entry = {"last_sequence": self.draw(other)}
        self.logs[self.log_id] = self.logs[self.log_id]._replace(**entry)
        return self.tampered(1)

    def _cut_from(self, first: int) -> None:
        """Cut the end off, and set the log's entry right."""
        for number in range(first, self.last + 1):
            del self.rows[self.log_id, number]
        digest = self.rows[self.log_id, first - 1].digest if first > 1 else GENESIS
        self.logs[self.log_id] = self.logs[self.log_id]._replace(last_sequence=first - 1, digest=digest)


WAYS = (
    *(Tampering.flip, Tampering.drop, Tampering.insert, Tampering.swap, Tampering.renumber, Tampering.move),
    *(Tampering.cut, Tampering.delete, Tampering.entry),
)


@st.composite
def tampered(draw: st.DrawFn, sound: Database) -> Tampered:
    return draw(st.sampled_from(WAYS))(Tampering(draw, sound))


@st.composite
def flipped(draw: st.DrawFn, value: Any) -> Any:
    """Return something else than the value, as near to it as can be."""
    if isinstance(value, int):
        return value ^ (1 << draw(st.integers(0, 50)))
    if value is None:
        return draw(st.sampled_from(["", "{}", "null"]))
    if not value:
        return draw(st.sampled_from(["x", " "])) if isinstance(value, str) else b"x"
    if draw(st.booleans()):  # SQLite keeps bytes in a column of texts, and texts in one of bytes.
        return value.encode() if isinstance(value, str) else value.hex()
    at = draw(st.integers(0, len(value) - 1))
    if isinstance(value, bytes):
        return value[:at] + bytes([value[at] ^ (1 << draw(st.integers(0, 7)))]) + value[at + 1 :]
    return value[:at] + chr(ord(value[at]) ^ (1 << draw(st.integers(0, 6)))) + value[at + 1 :]


@given(st.data())
@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_whatever_is_done_to_a_log_is_found_and_where(keeper, data):
    numbers = {log_id: data.draw(st.integers(2, 6)) for log_id in BOTH}
    sound = written(keeper, numbers)
    heads = heads_of(sound)
    assert examined(keeper, sound, heads) == []
    rows, logs, log_id, first = data.draw(tampered(sound))
    there = [one for one in examined(keeper, Database(rows, logs), heads) if one.log_id == log_id]
    assert there
    assert all(one.sequence is None or one.sequence >= first for one in there)


@given(st.data())
@settings(max_examples=MUTATIONS // 10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_a_chain_that_was_made_anew_without_the_key_is_found(keeper, data):
    sound = written(keeper, dict.fromkeys(BOTH, 5))
    name = data.draw(st.sampled_from(TEXTS[1:]))
    log_id, sequence = data.draw(st.sampled_from(sorted(sound.rows)))
    event = sound.rows[log_id, sequence]
    other = "else" if getattr(event, name) is None else f"{getattr(event, name)}!"
    rows = sound.rows | {(log_id, sequence): event._replace(**{name: other})}
    made_anew = Database(rows, sound.logs).chained_anew(keeper)
    first, *_ = examined(keeper, made_anew, heads_of(sound))
    assert (first.log_id, first.sequence) == (log_id, sequence)
    assert "seal" in first.what


def test_a_chain_of_another_host_that_was_made_anew_is_found_at_the_head(keeper):
    shared = keeper._replace(others=[OTHER])
    sound = written(shared, {7: 5}, host=OTHER)
    assert examined(shared, sound, heads_of(sound)) == []
    changed_row = sound.rows[7, 2]._replace(reason="none")
    made_anew = Database(sound.rows | {(7, 2): changed_row}, sound.logs).chained_anew(shared)
    [finding] = examined(shared, made_anew, heads_of(sound))
    assert (finding.sequence, "rewritten" in finding.what) == (5, True)


@pytest.mark.parametrize("host", ["", OTHER, None, 7])
@pytest.mark.parametrize("before", [0, 3])
def test_events_that_no_known_host_has_recorded_are_found_wherever_they_are(keeper, host, before):
    sound = written(keeper, {7: before} if before else {})
    forged = appended(sound, keeper, host=host, seal=b"")
    forged = appended(forged, keeper, host=host, seal=b"")
    found = examined(keeper, forged, heads_of(sound))
    assert [one.sequence for one in found] == [before + 1, before + 2]
    assert "which nobody has named here" in found[0].what


def test_a_log_that_was_cut_and_has_grown_past_its_heads_since_is_found(keeper):
    sound = written(keeper, {7: 5})
    heads = [Head(7, row.sequence, row.sequence, row.digest) for row in sound.rows.values()]
    grown = Database({place: row for place, row in sound.rows.items() if place[1] <= 2}, {7: sound.logs[7]})
    for number in range(8):
        grown = appended(grown, keeper, object_id=f"r{number}")
        heads.append(Head(7, 3 + number, 3 + number, grown.logs[7].digest))
    found = examined(keeper, grown, heads)
    assert [one.sequence for one in found] == [3, 4, 5]
    assert {one.what for one in found} == {
        "is another than was acknowledged: it, or what comes before it, was rewritten"
    }


def test_an_event_that_somebody_appends_is_found_though_it_is_after_the_head(keeper):
    sound = written(keeper, {7: 2})
    forged = written(keeper._replace(seal=bytes), {7: 3})
    [finding] = examined(keeper, forged._replace(rows=sound.rows | {(7, 3): forged.rows[7, 3]}), heads_of(sound))
    assert finding.sequence == 3


def test_a_break_is_told_until_somebody_accepts_it(keeper):
    broken = appended(written(keeper, {7: 3}), keeper, action=BROKEN)
    [finding] = examined(keeper, broken, heads_of(broken))
    assert (finding.sequence, "accepted" in finding.what) == (4, True)
    accepted = appended(broken, keeper, action=ACCEPTED)
    assert examined(keeper, accepted, heads_of(accepted)) == []


def test_a_break_is_not_accepted_by_whoever_only_names_another_host(keeper):
    shared = keeper._replace(others=[OTHER])
    broken = appended(written(shared, {7: 3}), shared, action=BROKEN)
    forged = appended(broken, shared, action=ACCEPTED, host=OTHER, seal=b"")
    assert [one.sequence for one in examined(shared, forged, heads_of(broken))] == [4]


def test_a_break_that_another_host_has_noted_is_accepted_there_or_here(keeper):
    shared = keeper._replace(others=[OTHER])
    broken = appended(written(shared, {7: 3}), shared, action=BROKEN, host=OTHER)
    assert [one.sequence for one in examined(shared, broken, [])] == [4]
    for host in (OTHER, shared.host):
        assert examined(shared, appended(broken, shared, action=ACCEPTED, host=host), []) == []


def test_what_grows_while_it_is_examined_is_no_fault(keeper):
    before, after = written(keeper, {7: 2}), written(keeper, {7: 4, 8: 1})
    examination = Examination(keeper, heads_of(before), before.logs.values())
    found = [one for place in sorted(after.rows) for one in examination.take(after.rows[place])]
    assert found + list(examination.end(after.logs.values())) == []
