"""The data folder: who may read it, whether its disk has room, and what dead processes have left in it."""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from server.doctor.findings import Finding
from server.doctor.running import is_held, server_sockets
from server.sockets import run_folder

SECRETS = (
    "taskhouse.db",
    "taskhouse.db-wal",
    "taskhouse.db-shm",
    "ca.key",
    "events.key",
    "events.heads",
    "edge.key",
    "worker.token",
)
LEAST_BYTES = 256 * 1024 * 1024
LEAST_SHARE, ENOUGH_BYTES = 0.05, 5 * 1024**3  # A twentieth of a large disk is still plenty.
LEAST_FILES = 1000


def check_files(data: Path, *, config: Path | None, is_secret: bool) -> Iterator[Finding]:
    """Look at the data folder. `config` is the settings file, if there is one; `is_secret`: it holds a password."""
    if not data.is_dir():
        yield Finding("files", f"there is no folder {data} yet: `taskhouse up` makes it")
        return
    faults = list(_permissions(data, config if is_secret else None))
    yield from faults or [Finding("files", f"{data} and the keys in it are their owner's alone")]
    yield from _room(data)
    yield from _sockets(data)


def foreign(data: Path) -> list[Path]:
    """Return those of the house's own files that belong to another user than this process's."""
    return [path for path in (data, *_secrets(data, None)) if path.stat().st_uid != os.geteuid()]


def _secrets(data: Path, config: Path | None) -> list[Path]:
    return [path for path in (*(data / name for name in SECRETS), *([config] if config else [])) if path.exists()]


def _permissions(data: Path, config: Path | None) -> Iterator[Finding]:
    why = "whoever reads it can be the house, or read what people uploaded"
    for path in (data, *_secrets(data, config)):
        mode, good = stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600
        if mode & 0o077:
            remedy = f"`chmod {good:o} {shlex.quote(str(path))}`"
            yield Finding("files", f"{path} is open to other users (mode {mode:o})", why, remedy)
    if others := foreign(data):
        owner, me = _name(others[0].stat().st_uid), _name(os.geteuid())
        yield Finding(
            "files",
            f"{others[0]} belongs to {owner}, not to {me}",
            "a house that mixes users cannot write, or writes what its own user cannot read",
            f"run this and the house as {owner}, or `sudo chown -R {shlex.quote(me)} {shlex.quote(str(data))}`",
        )
    elif not os.access(data, os.W_OK | os.X_OK):
        remedy = f"`chmod 700 {shlex.quote(str(data))}`, or mount it for writing"
        yield Finding("files", f"{data} cannot be written", "the house cannot start", remedy)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _room(data: Path) -> Iterator[Finding]:
    disk = os.statvfs(data)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    told = f"{free / 1024**3:.1f} GiB of {total / 1024**3:.1f} GiB are free where {data} is"
    why = "once it is full every write is refused"
    remedy = "make room, see what takes it with `du -xh --max-depth=2 / | sort -h | tail`"
    if free < max(LEAST_BYTES, min(LEAST_SHARE * total, ENOUGH_BYTES)):
        yield Finding("disk", f"only {told}", why, remedy)
    elif disk.f_files and disk.f_favail < LEAST_FILES:
        yield Finding("disk", f"only {disk.f_favail} more files can be made where {data} is", why, remedy)
    else:
        yield Finding("disk", told)


def _sockets(data: Path) -> Iterator[Finding]:
    dead = [path for path in server_sockets(data) if not is_held(path.with_name(f"{path.name}.lock"))]
    if dead:
        yield Finding(
            "sockets",
            f"{', '.join(path.name for path in dead)} in {run_folder(data)}: of server processes that were killed",
            "`taskhouse edge` would send calls there",
            f"`taskhouse up` removes them, or `rm {' '.join(shlex.quote(str(path)) for path in dead)}`",
        )
