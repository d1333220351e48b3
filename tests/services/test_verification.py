"""Verifying the event logs, in a database that somebody may have written to."""

import asyncio

import pytest

from server.core import event_log, events, pages
from server.services import sealing
from server.services.sealing import settle
from server.services.verification import MOST_TOLD, verify
from server.store.heads import Heads
from server.store.opening import open_store
from tests.services.event_logs import CUT, GONE, filled, findings, record, tamper


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(sealing, "GRACE_SECONDS", 0.1)


@pytest.fixture
def heads(tmp_path) -> Heads:
    return Heads(tmp_path)


async def test_logs_that_nobody_touched_are_good_also_while_the_house_writes_to_them(
    store, elsewhere, heads, monkeypatch
):
    monkeypatch.setattr(sealing, "GRACE_SECONDS", 20)  # However slow the disk is.
    acme = await filled(store)
    verdict = await verify(store, heads)
    assert (verdict.is_good, verdict.logs, verdict.events) == (True, 2, 10)
    writing = asyncio.gather(*(one.write(record, acme, number) for number, one in enumerate((store, elsewhere) * 20)))
    verdicts = [await verify(store, heads) for _ in range(5)]
    await writing
    assert [verdict.findings for verdict in verdicts] == [[]] * 5
    assert (await verify(store, heads)).events == 50


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE events SET reason = 'none' WHERE log_id = {acme} AND sequence = 2", 2),
        ("UPDATE events SET event_time = event_time + 1 WHERE log_id = {acme} AND sequence = 1", 1),
        ("UPDATE events SET before = '{{}}' WHERE log_id = {acme} AND sequence = 5", 5),
        ("UPDATE events SET host = '' WHERE log_id = {acme} AND sequence = 3", 3),
        ("DELETE FROM events WHERE log_id = {acme} AND sequence = 3", 3),
        ("DELETE FROM events WHERE log_id = {acme} AND sequence = 5", 5),
        ("DELETE FROM events WHERE log_id = {acme}", 1),
        ("UPDATE events SET sequence = 9 WHERE log_id = {acme} AND sequence = 5", 5),
        ("UPDATE events SET sequence = -1 WHERE log_id = {acme} AND sequence = 1", -1),
        ("UPDATE events SET log_id = 77 WHERE log_id = {acme} AND sequence = 4", 4),
        ("UPDATE event_logs SET last_sequence = 3 WHERE id = {acme}", 5),
        ("UPDATE event_logs SET last_sequence = 8 WHERE id = {acme}", 6),
        ("DELETE FROM event_logs WHERE id = {acme}", None),
    ],
)
async def test_what_was_done_in_the_database_is_found_where_it_was_done(store, heads, address, statement, where):
    acme = await filled(store)
    await tamper(address, statement, acme=acme)
    assert (acme, where) in await findings(store, heads)


async def test_no_more_events_are_read_at_once_than_a_page_has_bytes(store, heads, monkeypatch):
    await filled(store)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 22)  # Three of them.
    read, every = [], event_log.every

    async def noted(tx, **asked):
        read.append(found := await every(tx, **asked))
        return found

    monkeypatch.setattr(event_log, "every", noted)
    verdict = await verify(store, heads)
    assert (verdict.is_good, verdict.events) == (True, 10)
    assert [len(found) for found in read] == [3, 3, 3, 1, 0]
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 1)
    assert (await verify(store, heads)).events == 10


async def test_a_log_that_was_deleted_without_a_trace_is_found_by_its_head(store, heads, address):
    acme = await filled(store)
    await tamper(address, *GONE, acme=acme)
    assert await findings(store, heads) == [(acme, 1)]


async def test_a_log_that_is_wrong_everywhere_is_not_told_event_by_event(store, heads, address):
    acme = await filled(store, 50)
    await tamper(address, "UPDATE events SET actor_name = 'Bert' WHERE log_id = {acme}", acme=acme)
    verdict = await verify(store, heads)
    assert len(verdict.findings) == MOST_TOLD
    assert sum(verdict.untold.values()) >= 50 - MOST_TOLD


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["CAST(x'ff41' AS TEXT)", "x'4142'", "17"])
async def test_what_is_no_text_is_found_in_a_column_of_texts(store, heads, address, value):
    acme = await filled(store)
    statement = "UPDATE events SET object_id = VALUE WHERE log_id = {acme} AND sequence = 2"
    await tamper(address, statement.replace("VALUE", value), acme=acme)
    assert (acme, 2) in await findings(store, heads)
    assert {log_id for log_id, _ in await findings(store, heads)} == {acme}


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("table", ["event_logs SET last_sequence", "events SET sequence"])
async def test_what_is_no_number_is_found_in_a_column_of_numbers(store, heads, address, table):
    acme = await filled(store)
    key = "log_id = {acme} AND sequence = 5" if table.startswith("events ") else "id = {acme}"
    await tamper(address, f"UPDATE {table} = 'none' WHERE {key}", acme=acme)
    assert {log_id for log_id, _ in await findings(store, heads)} == {acme}
    await settle(store, heads)
    assert await store.write(record, acme, 6) in (6, 7)


async def test_heads_that_somebody_wrote_are_told(store, heads, tmp_path):
    await filled(store)
    path = tmp_path / "events.heads"
    path.write_bytes(path.read_bytes().replace(b" 5 ", b" 4 "))
    verdict = await verify(store, heads)
    assert not verdict.is_good
    assert "events.heads:10 was changed" in verdict.heads_fault


@pytest.mark.parametrize("further", [1, 2, 5])
async def test_a_log_that_was_cut_is_found_however_far_it_has_grown_since(store, heads, address, further):
    acme = await filled(store)
    await tamper(address, *CUT, acme=acme)
    for number in range(further):
        await store.write(record, acme, number)
    found = await findings(store, heads)
    assert {log_id for log_id, _ in found} == {acme}
    assert found[0] == (acme, 4)


async def test_heads_that_were_taken_back_leave_events_that_nobody_acknowledged(store, heads, tmp_path):
    acme = await filled(store)
    path = tmp_path / "events.heads"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert await findings(store, heads) == [(0, 1), (acme, 1)]


async def test_events_of_a_host_that_nobody_has_named_are_told_and_of_one_that_is_are_counted(store, tmp_path_factory):
    acme = await filled(store, 1)
    here = Heads(tmp_path_factory.mktemp("here"))
    [event] = await store.read(events.page, organization_id=acme, after=0, most=10)
    assert await findings(store, here) == [(0, 1), (acme, 1)]
    here.trust(event.host)
    verdict = await verify(store, here)
    assert (verdict.is_good, verdict.others) == (True, {event.host: 2})


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite's only host is where its file is.
async def test_hosts_of_one_database_keep_heads_of_their_own(store, heads, address, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    there = Heads(folder)
    heads.trust(there.host)
    there.trust(heads.host)
    acme = await filled(store)
    other = await open_store(address, folder)
    await asyncio.gather(*(one.write(record, acme, number) for number, one in enumerate((store, other) * 10)))
    await other.close()
    for kept in (heads, there):
        assert (await verify(store, kept)).is_good
    await settle(store, there)
    assert [(head.log_id, head.sequence) for head in there.read().heads] == [(0, 5), (acme, 25)]
    await tamper(address, *GONE, acme=acme)
    assert await findings(store, there) == [(acme, 1)]
