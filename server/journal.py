"""What befell the parts of a house, in DIR/parts.log: one JSON object a line, for `taskhouse doctor` and for people."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

DAY_SECONDS = 86_400
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
            with self._path.open("a") as file:
                file.write(json.dumps(Entry(time.time(), part, event, text)._asdict()) + "\n")
            self._sweep()

    def _sweep(self) -> None:
        entries = self.entries()
        oldest = time.time() - self._days * DAY_SECONDS if self._days else 0
        kept = [entry for entry in entries if entry.time >= oldest]
        if self._path.stat().st_size > MOST_BYTES:
            kept = kept[len(kept) // 2 :]
        if len(kept) < len(entries):
            self._keep(kept)

    def entries(self) -> list[Entry]:
        """Return all lines, the oldest first; those that a crash cut short are left out."""
        return list(self._read())

    def _read(self) -> Iterator[Entry]:
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, TypeError):
                yield Entry(**json.loads(line))

    def _keep(self, entries: list[Entry]) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(entry._asdict()) + "\n" for entry in entries))
        draft.replace(self._path)
