"""What befell the parts of a house, in DIR/parts.log: one JSON object a line, for `taskhouse doctor` and for people."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

DAY_SECONDS = 86_400
LAST_TIME = 1e11  # Beyond, no calendar of Python's goes.
MOST_BYTES = 256 * 1024  # Beyond, the older half goes, however young it is: a part may die every ten seconds.

Event = Literal["started", "died", "back"]
"""The whole house answers (its text: where); a part has ended without being asked to; that part answers again."""


class Entry(NamedTuple):
    """One line."""

    time: float  # seconds since 1970
    part: str  # "" for the house
    event: Event
    text: str  # for people


class Journal:
    """The journal of the house in the folder `data`. Lines older than `days` are dropped; 0 keeps all that fit."""

    def __init__(self, data: Path, *, days: float = 0) -> None:
        self._path, self._days = data / "parts.log", days

    def note(self, part: str, event: Event, text: str = "") -> None:
        """Add a line. Never fails: a house whose disk is full has other worries."""
        with suppress(OSError):
            with self._path.open("ab+") as file:
                file.write(_cut_short(file) + _line(Entry(time.time(), part, event, text)))
            self._sweep()

    def _sweep(self) -> None:
        entries = self.entries()
        oldest = time.time() - self._days * DAY_SECONDS if self._days else 0
        kept = [entry for entry in entries if entry.time >= oldest]
        if self._path.stat().st_size > MOST_BYTES:
            kept = kept[len(kept) // 2 :]
        started = [entry for entry in entries if entry.event == "started"][-1:]
        if not any(entry in kept for entry in started):  # However old: it says where the house that runs listens.
            kept = started + kept
        if len(kept) < len(entries):
            self._keep(kept)

    def entries(self) -> list[Entry]:
        """Return all lines, the oldest first; those that are none of ours, or that a crash cut short, are left out."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return []
        return [entry for line in lines if (entry := _entry(line))]

    def _keep(self, entries: list[Entry]) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(b"".join(map(_line, entries)))
        draft.replace(self._path)


def _line(entry: Entry) -> bytes:
    return json.dumps(entry._asdict()).encode() + b"\n"


def _entry(line: str) -> Entry | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match found:
        case {
            "time": int() | float() as when,
            "part": str() as part,
            "event": "started" | "died" | "back" as event,
            "text": str() as text,
        } if 0 <= when < LAST_TIME:
            return Entry(when, part, event, text)
    return None


def _cut_short(file: BinaryIO) -> bytes:
    """Return what ends the file's last line, if a crash cut that short: else the next one would be part of it."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read() == b"\n" else b"\n"
