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


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.note("", "started", "one")
    with (tmp_path / "parts.log").open("a") as file:
        file.write('{"time": 1, "par\n{"time": 1}\n[1]\n\n')
    kept.note("", "started", "two")
    assert texts(kept) == ["one", "two"]


@pytest.mark.parametrize(("days", "left"), [(1, ["new"]), (3, ["old", "new"]), (0, ["old", "new"])])
def test_old_lines_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, left: list[str]) -> None:
    kept = Journal(tmp_path, days=days)
    now = time.time()
    monkeypatch.setattr(journal.time, "time", lambda: now - 2 * DAY_SECONDS)
    kept.note("", "started", "old")
    monkeypatch.setattr(journal.time, "time", lambda: now)
    kept.note("", "started", "new")
    assert texts(kept) == left


def test_it_never_grows_beyond_its_bound_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 2000)
    kept = Journal(tmp_path)
    for number in range(100):
        kept.note("worker", "died", str(number))
        assert (tmp_path / "parts.log").stat().st_size <= 2000
    assert texts(kept)[-5:] == ["95", "96", "97", "98", "99"]
