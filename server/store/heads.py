"""The heads of the event logs, kept outside the database: how far each log was when its last event was acknowledged.

Whoever can write to the database can rebuild a chain of hashes, or cut off its end. The heads are in a file of their
own, each line under a key that is not in the database; so what was acknowledged cannot be taken back unseen. Every host
keeps them for itself, in its data folder: those of the events that it has acknowledged, and with them, as each digest
stands for all events before, of those that others had recorded until then. The same key seals each event, so whoever
has it can say which events somebody else has put in.
"""

import asyncio
import errno
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from server.store.engine import Head, StoreUnavailable

KEY_BYTES = 32
COMPACT_BYTES = 4 * 1024 * 1024  # Beyond, the file is written anew with the last head of each log.


class HeadsBroken(Exception):
    """The file of heads was changed by somebody else. The text says where."""


class Heads:
    """The heads in the folder DIR: the file events.heads, and its key in events.key, both for their owner alone.

    The files are made when they are first needed. All methods raise StoreUnavailable if they cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.heads"
        self._key_path = folder / "events.key"
        self._lock = folder / "events.lock"
        self._turn = folder / "events.start"
        self._compact_bytes = COMPACT_BYTES
        self._key = b""  # not read yet

    @cached_property
    def host(self) -> str:
        """The folder's name, which tells nothing of the key that it is made from."""
        with self._alone():
            return hashlib.sha256(b"taskhouse host" + self._key).hexdigest()[:16]

    def seal(self, digest: bytes) -> bytes:
        """Return the seal of the event that has this digest and names this host."""
        return hmac.digest(self._key, b"taskhouse event" + digest, "sha256")

    def write(self, heads: Iterable[Head]) -> None:
        """Add heads, and return once they are on the disk."""
        with self._alone():
            lines = b"".join(map(self._line, heads))
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":  # What a crash cut short was not acknowledged.
                    lines = b"\n" + lines
                if os.write(file, lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fdatasync(file)
            finally:
                os.close(file)
            if not size:
                _sync(self._path.parent)
            if size > self._compact_bytes:
                with suppress(HeadsBroken):  # Then it stays as it is, for whoever finds out.
                    self._rewrite(_last(self._lines()))

    def read(self) -> Mapping[int, Head]:
        """Return the last head of each log. Raises HeadsBroken."""
        with self._alone():
            return _last(self._lines())

    def replace(self, head: Head) -> None:
        """Forget the heads of a log that was cut or rewritten, and begin again with this one. Raises HeadsBroken."""
        with self._alone():
            self._rewrite(_last(self._lines()) | {head.log_id: head})

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other process of this host looks after what is not acknowledged, and keep others from it."""
        with self._held(self._turn):
            yield

    def _rewrite(self, heads: Mapping[int, Head]) -> None:
        content = b"".join(map(self._line, heads.values()))
        _write(self._path, content)
        self._compact_bytes = max(COMPACT_BYTES, 2 * len(content))

    def _lines(self) -> Iterator[Head]:
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for number, line in enumerate(lines, 1):
            if head := self._head(line):
                yield head
            elif line and not _is_cut_short(line):
                raise HeadsBroken(f"{self._path}:{number} was not written by this house")

    def _line(self, head: Head) -> bytes:
        text = f"{head.log_id} {head.sequence} {head.digest.hex()}"
        return f"{text} {self._code(text.encode())}\n".encode()

    def _head(self, line: bytes) -> Head | None:
        """Return the head that a line says; None if it was not written under this key."""
        text, _, seal = line.rpartition(b" ")
        if not hmac.compare_digest(self._code(text).encode(), seal):
            return None
        log_id, sequence, digest = text.decode().split(" ")
        return Head(int(log_id), int(sequence), bytes.fromhex(digest))

    def _code(self, text: bytes) -> str:
        return hmac.digest(self._key, text, "sha256").hex()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes and threads out, and have the key, which is made at the first time."""
        with self._held(self._lock):
            if not self._key:
                if not self._key_path.exists():
                    _write(self._key_path, secrets.token_bytes(KEY_BYTES))
                self._key = self._key_path.read_bytes()
            yield

    @contextmanager
    def _held(self, lock: Path) -> Iterator[None]:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            finally:
                os.close(file)
        except OSError as error:
            raise StoreUnavailable(f"cannot use {self._path}: {error.strerror}") from error


class HeadsTogether:
    """Heads that several transactions of one event loop add at the same time, written at once."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._waiting: list[tuple[Collection[Head], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def begin(self, heads: Collection[Head]) -> "asyncio.Future[None]":
        """Add heads; what is returned is done once they are on the disk. It may raise StoreUnavailable."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.add_done_callback(lambda _: written.cancelled() or written.exception())  # Nobody may wait for it.
        self._waiting.append((heads, written))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_all())
        return written

    async def _write_all(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            failure: Exception | None = None
            try:
                await asyncio.to_thread(self._heads.write, _last(head for heads, _ in some for head in heads).values())
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to those who wait.
                failure = error
            for _, written in some:
                if written.done():
                    continue
                if failure:
                    written.set_exception(failure)
                else:
                    written.set_result(None)
        self._writing = None


def _last(heads: Iterable[Head]) -> dict[int, Head]:
    """Return the furthest head of each log: processes write theirs in any order."""
    last: dict[int, Head] = {}
    for head in heads:
        if head.log_id not in last or last[head.log_id].sequence < head.sequence:
            last[head.log_id] = head
    return last


def _is_cut_short(line: bytes) -> bool:
    """Say whether the line is too short for a whole head: a crash, or a full disk, ended it."""
    return line.count(b" ") < 3 or len(line.rpartition(b" ")[2]) < KEY_BYTES * 2


def _write(path: Path, content: bytes) -> None:
    """Put a file in place, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(file, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
