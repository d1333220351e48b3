"""Where the parts of a house on one machine meet: unix sockets in a folder that only its owner may enter."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LONGEST = 90  # A unix socket's path may have 107 bytes; this leaves room for the names below.
RETRY_SECONDS = 0.05
LOOK_SECONDS = 0.25  # Who only looks whether a lock is held, as the doctor does, holds it for a moment.


class SocketFolderUnsafe(Exception):
    """The folder for the sockets belongs to somebody else, or others may enter it."""


class SocketTaken(Exception):
    """Another server process listens on that socket. The text says which."""


def run_folder(data: Path) -> Path:
    """Return where the sockets of the house in `data` are, whether or not there is such a folder yet.

    It is DIR/run, or a folder in the system's temporary one, named after DIR, where DIR's path is too long for a
    socket.
    """
    data = data.resolve()
    path = data / "run"
    if len(os.fsencode(path)) > LONGEST:
        name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"taskhouse-{os.getuid()}-{name}"
    return path


def folder(data: Path) -> Path:
    """Return the folder of the sockets of the house in `data`, made if need be.

    Whoever can connect in there is believed about who calls, so its owner and mode are checked.
    """
    path = run_folder(data)
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SocketFolderUnsafe(f"{path} is not a folder of this user: remove it")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def server_socket(data: Path, number: int) -> Path:
    """Return the socket of the server process with this number, from 0."""
    return folder(data) / f"server-{number}.sock"


def existing(data: Path) -> list[Path]:
    """Return the sockets of the server processes that run, or have run without tidying up."""
    return sorted(folder(data).glob("server-*.sock"))


def lock_alone(file: IO[str]) -> None:
    """Lock a file until it is closed. Raises BlockingIOError if another process keeps it locked."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


@contextmanager
def sole_listener(path: Path) -> Iterator[None]:
    """Be the only process that listens on this socket, and tidy up before and after. Raises SocketTaken.

    A lock on the file beside it, NAME.lock, says who that is; it ends with its process, however that happens.
    """
    beside = path.with_name(f"{path.name}.lock")
    with beside.open("w") as lock:
        try:
            lock_alone(lock)
        except BlockingIOError as error:
            raise SocketTaken(
                f"another server process listens on {path}: stop it, or wait until it has ended"
            ) from error
        path.unlink(missing_ok=True)  # Of a process that was killed.
        try:
            yield
        finally:
            if _is(lock, beside):
                path.unlink(missing_ok=True)


def clear(data: Path, *, within: float) -> bool:
    """Remove the sockets of server processes that were killed, and wait, some seconds at most, for those that end.

    Returns whether there were any. Raises SocketTaken.
    """
    deadline = time.monotonic() + within
    left = bool(existing(data))
    for path in existing(data):
        while not _clear(path, last=time.monotonic() > deadline):
            time.sleep(RETRY_SECONDS)
    return left


def _clear(path: Path, *, last: bool) -> bool:
    try:
        with sole_listener(path):
            return True
    except SocketTaken:
        if last:
            raise
        return False


def _is(file: IO[str], path: Path) -> bool:
    """Say whether the file is still the one at `path`: somebody may have removed it, and locked another one."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def admin_socket(data: Path) -> Path:
    """Return the socket of Envoy's admin interface."""
    return folder(data) / "envoy.sock"
