"""The journal of what befell the parts."""

import time
from pathlib import Path

import pytest

from server import journal
from server.journal import DAY_SECONDS, Journal


def texts(kept: Journal) -> list[str]:
    return [entry.text for entry in kept.entries()]


def test_what_was_noted_is_read_in_order_by_another_process(tmp_path: Path) -> None:
    Journal(tmp_path).note("worker", "died", "was killed")
    Journal(tmp_path).note("worker", "back")
    first, second = Journal(tmp_path).entries()
    assert (first.part, first.event, first.text) == ("worker", "died", "was killed")
    assert second.event == "back"
    assert first.time <= second.time <= time.time()


def test_there_may_be_no_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path / "nowhere").entries() == []
    Journal(tmp_path / "nowhere", days=1).note("worker", "died")


@pytest.mark.parametrize(
    "line",
    [
        '{"time": 1}',
        "[1]",
        "",
        '{"time": "1", "part": "", "event": "started", "text": ""}',
        '{"time": null, "part": "", "event": "started", "text": ""}',
        '{"time": 1e400, "part": "", "event": "started", "text": ""}',
        '{"time": 1, "part": 1, "event": "started", "text": ""}',
        '{"time": 1, "part": "", "event": "ended", "text": ""}',
        '{"time": 1, "part": "", "event": ["started"], "text": ""}',
        '{"time": 1, "part": "", "event": "started", "text": {}}',
        "[" * 200_000,
    ],
)
def test_lines_that_are_none_are_passed_over(tmp_path: Path, line: str) -> None:
    kept = Journal(tmp_path, days=1)
    kept.note("", "started", "one")
    with (tmp_path / "parts.log").open("a") as file:
        file.write(f"{line}\n")
    kept.note("", "started", "two")
    assert texts(kept) == ["one", "two"]


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.note("", "started", "one")
    with (tmp_path / "parts.log").open("a") as file:
        file.write('{"time": 1, "par')
    kept.note("", "started", "two")
    kept.note("", "started", "three")
    assert texts(kept) == ["one", "two", "three"]


@pytest.mark.parametrize(("days", "left"), [(1, ["new"]), (3, ["old", "new"]), (0, ["old", "new"])])
def test_old_lines_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, left: list[str]) -> None:
    kept = Journal(tmp_path, days=days)
    now = time.time()
    monkeypatch.setattr(journal.time, "time", lambda: now - 2 * DAY_SECONDS)
    kept.note("worker", "died", "old")
    monkeypatch.setattr(journal.time, "time", lambda: now)
    kept.note("worker", "died", "new")
    assert texts(kept) == left


def test_where_the_house_was_started_last_is_kept_however_long_ago_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 2000)
    kept = Journal(tmp_path, days=1)
    now = time.time()
    monkeypatch.setattr(journal.time, "time", lambda: now - 2 * DAY_SECONDS)
    for text in ("before", "here"):
        kept.note("", "started", text)
    monkeypatch.setattr(journal.time, "time", lambda: now)
    for number in range(100):
        kept.note("worker", "died", str(number))
    assert [entry.text for entry in kept.entries() if entry.event == "started"] == ["here"]
    assert texts(kept)[0] == "here"


def test_it_never_grows_beyond_its_bound_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 2000)
    kept = Journal(tmp_path)
    for number in range(100):
        kept.note("worker", "died", str(number))
        assert (tmp_path / "parts.log").stat().st_size <= 2000
    assert texts(kept)[-5:] == ["95", "96", "97", "98", "99"]
