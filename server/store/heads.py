"""The heads of the event logs, kept outside the database: which events were acknowledged, and what they were.

Whoever can write to the database can rebuild a chain of hashes, or cut off its end. So after each commit the heads of
its logs are added to a file of their own, and every head that was ever added must be found in its log. Each line has a
code, under a key that is not in the database, of itself and of the line before: whoever lacks the key can take the file
back to what it once was, and do nothing else to it unseen. The same key seals each event, so that whoever has it can
say which events somebody else has put in.

Every host keeps them for itself, in its data folder: those of the events that it has acknowledged, and with them, as
each digest stands for all events before, of those that others had recorded until then.
"""

import asyncio
import errno
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from server.store.engine import Head, StoreUnavailable

KEY_BYTES = 32
_CODE = 64  # characters
_TAIL_BYTES = 512  # more than the last whole line's code, and what a crash has left of a line behind it
_START = b"heads"
_HOST = "host"


class Kept(NamedTuple):
    """What the file says, as far as this house has written it."""

    heads: Sequence[Head]  # in the order in which they were added
    hosts: Sequence[str]  # the other hosts of this house
    fault: str  # where somebody else has changed it; empty: nowhere


class Heads:
    """The heads in the folder DIR: the file events.heads, and its key in events.key, both for their owner alone.

    The files are made when they are first needed. All methods raise StoreUnavailable if they cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.heads"
        self._key_path = folder / "events.key"
        self._lock = folder / "events.lock"
        self._turn = folder / "events.start"
        self._key = b""  # not read yet

    @cached_property
    def host(self) -> str:
        """The folder's name, which tells nothing of the key that it is made from."""
        with self._alone():
            return hashlib.sha256(b"taskhouse host" + self._key).hexdigest()[:16]

    def size(self) -> int:
        """Return how many bytes the file has."""
        with self._alone():
            return self._path.stat().st_size if self._path.exists() else 0

    def seal(self, digest: bytes) -> bytes:
        """Return the seal of the event that has this digest and names this host."""
        return hmac.digest(self._key, b"taskhouse event" + digest, "sha256")

    def write(self, heads: Iterable[Head]) -> None:
        """Add heads, and return once they are on the disk."""
        self._add(map(_text, heads))

    def trust(self, host: str) -> None:
        """Add another host of this house, and return once it is on the disk."""
        self._add([f"{_HOST} {host}"])

    def read(self) -> Kept:
        """Return what the file says."""
        with self._alone():
            content = self._content()
        return self._said(content)

    def replace(self, read: Kept, heads: Iterable[Head]) -> None:
        """Put heads in the place of those that were read; what was added since stays.

        If somebody else has changed the file since, it stays as it is.
        """
        with self._alone():
            now = self._said(self._content())
            since = now.heads[len(read.heads) :]
            if (now.heads[: len(read.heads)], now.fault) == (read.heads, read.fault):
                hosts = (f"{_HOST} {host}" for host in dict.fromkeys(now.hosts))
                self._begin([*hosts, *map(_text, heads), *map(_text, since)])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other process of this host looks after what is not acknowledged, and keep others from it."""
        with ExitStack() as held:
            with self._telling():
                held.enter_context(_locked(self._turn))
            yield

    def _add(self, texts: Iterable[str]) -> None:
        with self._alone():
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(file).st_size
                tail = os.pread(file, _TAIL_BYTES, max(size - _TAIL_BYTES, 0))
                end = tail.rfind(b"\n") + 1
                if end < len(tail):  # What a crash cut short was not acknowledged.
                    os.ftruncate(file, size - len(tail) + end)
                lines = self._lines(texts, previous=tail[:end][-1 - _CODE : -1])
                if os.write(file, lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fdatasync(file)
            finally:
                os.close(file)
            if not size:
                _sync(self._path.parent)

    def _begin(self, texts: Iterable[str]) -> None:
        """Put a file in place that begins with a line of its own, so that an empty one is found as well."""
        _write(self._path, self._lines([_START.decode(), *texts], previous=b""))

    def _content(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""

    def _said(self, content: bytes) -> Kept:
        heads: list[Head] = []
        hosts: list[str] = []
        faults: list[int] = []
        code = b""
        lines = content.split(b"\n")
        for number, line in enumerate(lines[:-1] or lines, 1):  # After the last line end, a crash has cut it short.
            previous, (text, _, code) = code, line.rpartition(b" ")
            is_ours = hmac.compare_digest(self._code(previous, text), code)
            if not is_ours or (number == 1) != (text == _START):
                faults.append(number)
            if is_ours:
                kind, *values = text.decode().split(" ")
                if kind == _HOST:
                    hosts += values
                elif values:
                    heads.append(Head(int(kind), int(values[0]), int(values[1]), bytes.fromhex(values[2])))
        fault = f"{self._path.name}:{faults[0]} was changed, removed or written by somebody else" if faults else ""
        return Kept(heads, hosts, fault)

    def _lines(self, texts: Iterable[str], *, previous: bytes) -> bytes:
        lines = []
        for text in map(str.encode, texts):
            previous = self._code(previous, text)
            lines.append(b"%b %b\n" % (text, previous))
        return b"".join(lines)

    def _code(self, previous: bytes, text: bytes) -> bytes:
        """Return the code of a line, given that of the line before it."""
        return hmac.digest(self._key, b"taskhouse heads" + previous + b" " + text, "sha256").hex().encode()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes and threads out, and have the key, which is made at the first time."""
        with self._telling(), _locked(self._lock):
            if not self._key:
                if not self._key_path.exists():
                    self._make_key()
                self._key = self._key_path.read_bytes()
            yield

    def _make_key(self) -> None:
        """Put a key in place, and before it the file: if that is missing beside its key, it was removed."""
        self._key = secrets.token_bytes(KEY_BYTES)
        try:
            self._begin([])
            _write(self._key_path, self._key)
        finally:
            self._key = b""

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
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
                await asyncio.to_thread(self._heads.write, joined(head for heads, _ in some for head in heads))
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


def joined(heads: Iterable[Head]) -> list[Head]:
    """Return the heads of several transactions, those of events that follow each other in one log as one."""
    together: list[Head] = []
    for head in sorted(heads):
        last = together[-1] if together else None
        if last and last.log_id == head.log_id and last.sequence + 1 == head.first:
            together[-1] = head._replace(first=last.first)
        else:
            together.append(head)
    return together


def _text(head: Head) -> str:
    return f"{head.log_id} {head.first} {head.sequence} {head.digest.hex()}"


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


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
