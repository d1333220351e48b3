"""The heads of the event logs, kept outside the database: how far each log was when its last event was acknowledged.

Whoever can write to the database can rebuild a chain of hashes, or cut off its end. The heads are in a file of their
own, each line under a key that is not in the database; so what was acknowledged cannot be taken back unseen.
"""

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from server.store.engine import StoreUnavailable

KEY_BYTES = 32
COMPACT_BYTES = 4 * 1024 * 1024  # Beyond, the file is written anew with the last head of each log.


class Head(NamedTuple):
    """The last event of a log. As its events are numbered from 1 without gaps, the number is their count as well."""

    log_id: int
    sequence: int
    digest: bytes  # of that event and, through it, of all before

    def line(self, key: bytes) -> bytes:
        """Return the head as it is written."""
        text = f"{self.log_id} {self.sequence} {self.digest.hex()}"
        return f"{text} {hmac.digest(key, text.encode(), 'sha256').hex()}\n".encode()

    @staticmethod
    def read(line: bytes, key: bytes) -> "Head | None":
        """Return the head that a line says; None if it was not written under this key."""
        text, _, seal = line.rpartition(b" ")
        if not hmac.compare_digest(hmac.digest(key, text, "sha256").hex().encode(), seal):
            return None
        log_id, sequence, digest = text.decode().split(" ")
        return Head(int(log_id), int(sequence), bytes.fromhex(digest))


class HeadsBroken(Exception):
    """The file of heads was changed by somebody else. The text says where."""


class Heads:
    """The heads in the folder DIR: the file events.heads, and its key in events.key, both for their owner alone."""

    def __init__(self, folder: Path) -> None:
        """Open them, or begin. Raises StoreUnavailable."""
        self._path = folder / "events.heads"
        self._lock = folder / "events.lock"
        with _told(self._path), self._alone():
            self._key = _key(folder / "events.key")

    def write(self, heads: Iterable[Head]) -> None:
        """Add heads, and return once they are on the disk. Raises StoreUnavailable."""
        lines = b"".join(head.line(self._key) for head in heads)
        with _told(self._path), self._alone():
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":  # What a crash cut short was not acknowledged.
                    lines = b"\n" + lines
                os.write(file, lines)
                os.fdatasync(file)
            finally:
                os.close(file)
            if size > COMPACT_BYTES:
                _write(self._path, b"".join(head.line(self._key) for head in self._read().values()))

    def read(self) -> Mapping[int, Head]:
        """Return the last head of each log. Raises HeadsBroken, StoreUnavailable."""
        with _told(self._path), self._alone():
            return self._read()

    def _read(self) -> dict[int, Head]:
        last: dict[int, Head] = {}
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for number, line in enumerate(lines, 1):
            head = Head.read(line, self._key) if line else None
            if head and (head.log_id not in last or last[head.log_id].sequence < head.sequence):
                last[head.log_id] = head  # Processes write theirs in any order.
            if line and head is None and not _is_cut_short(line):
                raise HeadsBroken(f"{self._path}:{number} was not written by this house")
        return last

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes and threads out."""
        file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def _is_cut_short(line: bytes) -> bool:
    """Say whether the line is too short for a whole head: a crash, or a full disk, ended it."""
    return line.count(b" ") < 3 or len(line.rpartition(b" ")[2]) < KEY_BYTES * 2


def _key(path: Path) -> bytes:
    """Return the key, made at the first time."""
    if not path.exists():
        _write(path, secrets.token_bytes(KEY_BYTES))
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    """Put a file in place, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    draft.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot use {path}: {error.strerror}") from error
