"""Where the parts of a house on one machine meet: unix sockets in a folder that only its owner may enter."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

LONGEST = 90  # A unix socket's path may have 107 bytes; this leaves room for the names below.


class SocketFolderUnsafe(Exception):
    """The folder for the sockets belongs to somebody else, or others may enter it."""


def folder(data: Path) -> Path:
    """Return the folder of the sockets of the house in `data`, made if need be.

    It is DIR/run, or a folder in the system's temporary one, named after DIR, where DIR's path is too long for a
    socket. Whoever can connect in there is believed about who calls, so its owner and mode are checked.
    """
    data = data.resolve()
    path = data / "run"
    if len(os.fsencode(path)) > LONGEST:
        name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"taskhouse-{os.getuid()}-{name}"
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


def admin_socket(data: Path) -> Path:
    """Return the socket of Envoy's admin interface."""
    return folder(data) / "envoy.sock"
