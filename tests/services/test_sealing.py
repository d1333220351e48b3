"""What is noted of event logs when a server starts, and which events are acknowledged."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.core import event_log, events, organizations
from server.services import sealing
from server.services.sealing import settle
from server.services.verification import verify
from server.store.engine import StoreUnavailable
from server.store.heads import Heads
from tests.core.scenes import HOUSE, organization
from tests.services.event_logs import CUT, GONE, filled, findings, record, tamper


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(sealing, "GRACE_SECONDS", 0.1)


@pytest.fixture
def heads(tmp_path) -> Heads:
    return Heads(tmp_path)


async def actions(store, organization_id) -> list[str]:
    return [one.action for one in await store.read(events.page, organization_id=organization_id, after=0, most=100)]


def lose_heads(tmp_path, number: int) -> None:
    """Take back the last heads that were written, as if the machine had died before."""
    path = tmp_path / "events.heads"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-number]))


async def test_a_start_of_a_sound_house_notes_nothing(store, heads, caplog):
    acme = await filled(store)
    for _ in range(2):
        await settle(store, heads)
    assert set(await actions(store, acme)) == {"rule.updated"}
    assert caplog.text == ""


async def test_events_that_nobody_acknowledged_are_noted_once_and_stay(store, heads, tmp_path, caplog):
    acme = await filled(store)
    lose_heads(tmp_path, 3)  # Of the house number 5 and 4, of the organization number 5.
    assert await findings(store, heads) == [(0, 4), (acme, 5)]
    for _ in range(2):
        await settle(store, heads)
    told = await store.read(events.page, organization_id=None, after=5, most=10)
    assert [(one.action, one.after) for one in told] == [("event_log.unacknowledged", {"first": 4, "last": 5})]
    assert "events 5 to 5 of the event log of acme were committed, but not acknowledged" in caplog.text
    assert (await verify(store, heads)).is_good


async def test_several_servers_that_start_at_once_note_it_once(store, elsewhere, heads, tmp_path):
    await filled(store)
    lose_heads(tmp_path, 1)
    await asyncio.gather(*(settle(one, Heads(tmp_path)) for one in (store, elsewhere) * 3))
    assert (await actions(store, None)).count("event_log.unacknowledged") == 1


async def test_a_head_that_comes_while_a_server_starts_is_waited_for(store, heads, tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "GRACE_SECONDS", 20)
    acme = await filled(store)
    path = tmp_path / "events.heads"
    whole = path.read_bytes()
    lose_heads(tmp_path, 1)
    looks, read = [], Heads.read

    def looked(self):
        looks.append(found := read(self))
        if len(looks) == 2:  # The first look for events without heads.
            path.write_bytes(whole)  # As another process of the house does after its commit.
        return found

    monkeypatch.setattr(Heads, "read", looked)
    await asyncio.wait_for(settle(store, heads), 10)
    assert len(looks) == 3
    assert "event_log.unacknowledged" not in [*await actions(store, None), *await actions(store, acme)]


@pytest.mark.parametrize("statements", [CUT, GONE])
async def test_a_log_that_was_cut_says_so_from_the_next_start_on_until_somebody_accepts_it(
    store, heads, address, caplog, statements
):
    acme = await filled(store)
    await tamper(address, *statements, acme=acme)
    for _ in range(2):
        await settle(store, heads)
    assert (await actions(store, acme)).count("event_log.broken") == 1
    assert "is not the one that was acknowledged" in caplog.text
    for number in range(10):  # Its numbers go past the head that was lost, which hides nothing.
        await store.write(record, acme, number)
    [(log_id, _)] = await findings(store, heads)
    assert log_id == acme
    reason = "restored the backup of Sunday"
    await store.write(event_log.accept, caller=HOUSE, organization="acme", reason=reason)
    assert (await verify(store, heads)).is_good
    *_, last = await store.read(events.page, organization_id=acme, after=0, most=100)
    assert (last.action, last.reason) == ("event_log.accepted", reason)


async def test_a_log_that_was_cut_says_so_though_it_has_grown_past_its_heads_since(store, heads, address):
    acme = await filled(store)
    await tamper(address, *CUT, acme=acme)
    for number in range(4):
        await store.write(record, acme, number)
    for _ in range(2):
        assert (acme, 4) in await findings(store, heads) or (acme, 8) in await findings(store, heads)
        await settle(store, heads)
    assert (await actions(store, acme)).count("event_log.broken") == 1
    await store.write(event_log.accept, caller=HOUSE, organization="acme", reason="a test")
    assert (await verify(store, heads)).is_good


async def test_a_log_that_was_lost_with_its_organization_is_noted_by_the_house(store, heads, address):
    acme = await filled(store)
    await tamper(address, *GONE, "DELETE FROM organizations WHERE id = {acme}", acme=acme)
    assert await findings(store, heads) == [(acme, 1)]
    for _ in range(2):
        await settle(store, heads)
    assert await findings(store, heads) == [(0, 6)]
    [noted] = await store.read(events.page, organization_id=None, after=5, most=10)
    assert (noted.action, noted.object.id) == ("event_log.broken", f"organization number {acme}")
    await store.write(event_log.accept, caller=HOUSE, organization="", reason="restored the backup of Sunday")
    assert (await verify(store, heads)).is_good


@pytest.mark.parametrize(
    "statements",
    [
        (CUT[0], "DELETE FROM event_logs WHERE id = {acme}"),
        (CUT[0],),
        ("DELETE FROM event_logs WHERE id = {acme}",),
        ("UPDATE event_logs SET last_sequence = 1 WHERE id = {acme}",),
        ("UPDATE event_logs SET digest = '' WHERE id = {acme}",),
        ("UPDATE event_logs SET last_sequence = 9 WHERE id = {acme}",),
    ],
)
async def test_a_log_goes_on_after_a_start_whatever_became_of_its_entry(store, heads, address, statements):
    acme = await filled(store)
    await tamper(address, *statements, acme=acme)
    await settle(store, heads)
    before = await actions(store, acme)
    assert ("event_log.broken" in before) == (statements[0] == CUT[0])
    assert await store.write(record, acme, 9) == len(before) + 1
    if "event_log.broken" in before:
        await store.write(event_log.accept, caller=HOUSE, organization="acme", reason="a test")
    assert (await verify(store, heads)).is_good


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_log_that_cannot_go_on_stops_neither_a_start_nor_other_logs(store, heads, address, tmp_path, caplog):
    acme = await filled(store)
    lose_heads(tmp_path, 1)  # Of the house.
    spoiled = "UPDATE events SET digest = 'none' WHERE log_id = {acme} AND sequence = 5"
    await tamper(address, spoiled, acme=acme)
    for _ in range(2):
        await settle(store, heads)
    assert "the event log of acme cannot go on" in caplog.text
    assert (await actions(store, None))[-1] == "event_log.unacknowledged"
    assert {log_id for log_id, _ in await findings(store, heads)} == {acme}


@pytest.mark.parametrize("content", [None, b"garbage", "changed"])
async def test_changed_heads_are_noted_by_the_house_until_somebody_accepts_that(
    store, heads, tmp_path, caplog, content
):
    await filled(store)
    path = tmp_path / "events.heads"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else whole.replace(b" 5 ", b" 4 "))
    assert "events.heads:" in (await verify(store, heads)).heads_fault
    for _ in range(2):
        await settle(store, heads)
    assert (await actions(store, None))[5:] == ["event_log.broken"]
    assert "was changed, removed or written by somebody else" in caplog.text
    assert [log_id for log_id, _ in await findings(store, heads)] == [0]
    await store.write(event_log.accept, caller=HOUSE, organization="", reason="the disk was full of errors")
    verdict = await verify(store, heads)
    assert (verdict.is_good, verdict.heads_fault) == (True, "")


async def test_changed_heads_are_noted_also_where_the_house_has_no_events_yet(store, heads, tmp_path):
    acme = await organization(store)
    await store.write(record, acme.tenant, 1)
    (tmp_path / "events.heads").unlink()
    await settle(store, heads)
    assert await actions(store, None) == ["event_log.broken"]
    assert (await verify(store, heads)).heads_fault == ""


async def test_heads_that_were_held_against_their_logs_are_forgotten_while_a_house_runs(
    store, heads, tmp_path, monkeypatch
):
    acme = await filled(store, 20)
    monkeypatch.setattr(sealing, "SIZE_SECONDS", 0.01)
    monkeypatch.setattr(sealing, "SETTLE_BYTES", 500)
    keeping = asyncio.ensure_future(sealing.keep_settled(store, heads))
    size, number = 0, 20
    async with asyncio.timeout(20):
        while size <= (size := heads.size()):
            number = await store.write(record, acme, number)
    keeping.cancel()
    ends = [(head.log_id, head.sequence) for head in heads.read().heads]
    assert (ends[0], ends[1][0], ends[-1]) == ((0, 20), acme, (acme, number))
    assert (await verify(store, heads)).is_good


async def test_heads_that_do_not_grow_stay_as_they_are_however_many_they_are(store, heads, tmp_path, monkeypatch):
    await filled(store, 20)
    whole = (tmp_path / "events.heads").read_bytes()
    monkeypatch.setattr(sealing, "SIZE_SECONDS", 0.01)
    monkeypatch.setattr(sealing, "SETTLE_BYTES", 0)
    looks, size = [], Heads.size

    def looked(self):
        looks.append(found := size(self))
        return found

    monkeypatch.setattr(Heads, "size", looked)
    keeping = asyncio.ensure_future(sealing.keep_settled(store, heads))
    async with asyncio.timeout(20):
        while len(looks) < 5:  # noqa: ASYNC110 - it looks in another thread.
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert (tmp_path / "events.heads").read_bytes() == whole


async def test_a_database_that_goes_away_is_no_fault_of_a_log(store, heads, tmp_path, monkeypatch, caplog):
    async def found_at_last(*asked):
        found = await unacknowledged(*asked)
        await store.close()
        return found

    await filled(store)
    lose_heads(tmp_path, 1)
    unacknowledged = sealing.unacknowledged
    monkeypatch.setattr(sealing, "unacknowledged", found_at_last)
    with pytest.raises(StoreUnavailable):
        await settle(store, heads)
    assert "cannot go on" not in caplog.text


# Acknowledgements


async def test_a_change_whose_head_cannot_be_written_is_not_acknowledged_and_noted_at_the_next_start(
    store, heads, tmp_path, caplog
):
    caplog.set_level(logging.WARNING)
    acme = await filled(store)
    (tmp_path / "events.heads").rename(tmp_path / "kept")
    (tmp_path / "events.heads").mkdir()
    with pytest.raises(StoreUnavailable, match=r"events\.heads"):
        await store.write(record, acme, 6)
    (tmp_path / "events.heads").rmdir()
    (tmp_path / "kept").rename(tmp_path / "events.heads")
    await settle(store, heads)
    assert "events 6 to 6" in caplog.text


async def test_an_event_without_a_head_is_noted_though_others_came_behind_it(store, elsewhere, heads, tmp_path):
    acme = await filled(store)
    path = tmp_path / "events.heads"
    whole = path.read_bytes()
    await elsewhere.write(record, acme, 6)
    path.write_bytes(whole)  # As if its process had been killed after the commit.
    await store.write(record, acme, 7)
    assert await findings(store, heads) == [(acme, 6)]
    for _ in range(2):
        await settle(store, heads)
    told = await store.read(events.page, organization_id=acme, after=7, most=10)
    assert [(one.action, one.after) for one in told] == [("event_log.unacknowledged", {"first": 6, "last": 6})]
    assert (await verify(store, heads)).is_good


async def test_a_change_that_is_cancelled_while_it_commits_has_its_head(store, heads):
    acme = await filled(store, 1)
    for number in range(20):
        writing = asyncio.ensure_future(store.write(record, acme, number))
        for _ in range(number):
            await asyncio.sleep(0.0005)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await store.write(record, None, 99)  # On SQLite, behind those that go on.
    assert await findings(store, heads) == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_those_who_are_committed_together_share_their_heads_and_others_write_none(store, monkeypatch):
    acme = await filled(store, 1)
    written = []
    write = Heads.write

    def noted(self, heads):
        written.append(list(heads))
        write(self, heads)

    monkeypatch.setattr(Heads, "write", noted)
    await asyncio.gather(*(store.write(record, acme, number) for number in range(50)))
    assert len(written) < 10
    assert written[-1][0].sequence == 51
    del written[:]
    await store.write(organizations.create, name="without an event")
    assert written == []


async def test_a_verb_that_fails_beside_others_leaves_no_head(store, heads):
    async def fails(tx, owner):
        await record(tx, owner, 1)
        raise KeyError

    acme = await filled(store, 1)
    outcomes = await asyncio.gather(
        *(store.write(verb, acme, *more) for verb, more in [(record, (1,)), (fails, ()), (record, (2,)), (fails, ())]),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in outcomes] == ["int", "KeyError", "int", "KeyError"]
    assert max(head.sequence for head in heads.read().heads if head.log_id == acme) == 3
    assert await findings(store, heads) == []


WRITER = """
import asyncio, sys
from server.settings import load
from server.store.opening import open_store
from tests.services.event_logs import record

async def main():
    settings = load(data=sys.argv[1])
    store = await open_store(settings.database, settings.data)
    async def lane(number):
        while True:
            print(number % 3, await store.write(record, number % 3 or None, number), flush=True)
    await asyncio.gather(*map(lane, range(12)))

asyncio.run(main())
"""


async def test_no_acknowledged_event_is_without_its_head_when_writing_processes_are_killed(
    store, heads, address, tmp_path
):
    for name in ("a", "b"):
        await organization(store, name)
    where = {} if isinstance(address, Path) else {"TASKHOUSE_DATABASE": address.url}
    for _ in range(3):
        lines = await asyncio.to_thread(killed_writers, tmp_path, where)
        known = {
            (head.log_id, sequence) for head in heads.read().heads for sequence in range(head.first, head.sequence + 1)
        }
        assert {tuple(map(int, line.split())) for line in lines} <= known
        await settle(store, heads)
        assert (await verify(store, heads)).is_good


def killed_writers(folder, where) -> list[str]:
    """Let two processes record, kill them, and return what they say that they have recorded."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True, env=os.environ | where
        )
        for _ in range(2)
    ]
    lines = [writer.stdout.readline() for writer in writers for _ in range(50)]
    for writer in writers:
        writer.kill()
        lines += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        writer.stdout.close()
        writer.wait()
    return lines
