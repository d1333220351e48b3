"""`taskhouse work`: a worker."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar
from urllib.parse import urlsplit

import click

from server.cli.house import COMMAND_LINE, house_options, in_house, need_house
from server.core import credentials
from server.core.caller import Role
from server.core.errors import CredentialTaken
from server.settings import Settings
from server.sockets import existing
from server.store.engine import Store, Tx
from server.worker import actions
from server.worker.houses import House, SocketHouse, TlsHouse, WorkerRefused
from server.worker.kit import Worker
from server.worker.session import Session

AWAKE_SECONDS = 0.5
READY = "worker ready"
TOKEN_FILE = "worker.token"  # noqa: S105 - a file's name.

T = TypeVar("T")


@click.command()
@house_options
@click.option("--module", metavar="PKG.MOD:WORKER", help="A Worker to run beside the built-in actions.")
@click.option("--server", metavar="https://HOST:PORT", help="The house; default: the one in DIR, over its socket.")
@click.option("--key", type=click.Path(path_type=Path), help="PEM file with the worker's key and certificate.")
@click.option("--ca", type=click.Path(path_type=Path), help="PEM file of the house's authority: its DIR/ca.pem.")
@click.option("--capacity", type=click.IntRange(1, 10_000), help="Tasks at a time; default: the setting, 4.")
def work(
    settings: Settings, module: str | None, server: str | None, key: Path | None, ca: Path | None, capacity: int | None
) -> None:
    """Lease tasks and do them, until SIGTERM or Ctrl-C: then finish what is begun, or hand it back. Twice: at once."""
    if not server and (key or ca):
        raise click.UsageError("--key and --ca go with --server: without it, the house is the one in DIR")
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    workers = [actions.worker, *([_load(module)] if module else [])]
    try:
        house = _remote(server, key, ca) if server else _local(settings)
        session = Session(workers, house, capacity=capacity or settings.worker_capacity, on_welcome=_Ready())
        _run(session, settings.drain_seconds)
    except WorkerRefused as refusal:
        raise click.ClickException(str(refusal)) from refusal


def _run(session: Session, grace_seconds: float) -> None:
    """Run the session in a thread of its own, so that signals reach this one whatever the session waits for."""
    events: SimpleQueue[BaseException | str] = SimpleQueue()

    def run() -> None:
        try:
            session.run()
            events.put("ended")
        except BaseException as failure:  # noqa: BLE001 - it is raised again, in the main thread.
            events.put(failure)

    graces = [0.0, grace_seconds]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: events.put("stop"))
    threading.Thread(target=run, daemon=True, name="session").start()
    while (event := _next(events)) == "stop":
        session.stop(graces.pop() if graces else 0.0)
    if isinstance(event, BaseException):
        raise event


def _next(events: SimpleQueue[T]) -> T:
    """Wait for an event, awake now and then: the system may give a signal to a thread for which Python wakes nobody."""
    while True:
        try:
            return events.get(timeout=AWAKE_SECONDS)
        except Empty:
            continue


class _Ready:
    """Tells, once, that the house has welcomed the worker: `up` waits for that line."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self) -> None:
        if not self._told:
            self._told = True
            print(READY, flush=True)


def _load(name: str) -> Worker:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.UsageError("--module is PKG.MOD:WORKER, for example actions:worker")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"--module {name}: {error.msg}, in {Path.cwd()} or among the installed") from error
    except AttributeError as error:
        raise click.ClickException(f"--module {name}: {error}") from error
    if not isinstance(found, Worker):
        raise click.ClickException(f"--module {name}: that is of type {type(found).__name__}, not a Worker")
    return found


def _remote(server: str, key: Path | None, ca: Path | None) -> House:
    if key is None or ca is None:
        raise click.UsageError("--server needs --key and --ca")
    try:
        address = urlsplit(server)
        host, port = address.hostname, address.port
    except ValueError:
        host = port = None
    if not host or not port or address.scheme != "https" or address.path.strip("/"):
        raise click.UsageError("--server is https://HOST:PORT")
    return TlsHouse(host, port, key=key, ca=ca)


def _local(settings: Settings) -> House:
    need_house(settings)
    token = in_house(settings, lambda store: _token(store, settings.data / TOKEN_FILE))
    return SocketHouse(lambda: existing(settings.data), token)


async def _token(store: Store, file: Path) -> str:
    """Return the token of this machine's workers, made and registered if need be."""
    token = _kept(file)
    try:
        await store.write(_register, token=token)
    except CredentialTaken as error:
        raise WorkerRefused(f"the token in {file} is revoked; remove the file, and another will be made") from error
    return token


def _kept(file: Path) -> str:
    """Return the file's token; if there is no file, of one that is made whole or not at all, whoever else makes it."""
    if not file.exists():
        new = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(credentials.make_token() + "\n")
        with suppress(FileExistsError):  # Another worker was quicker.
            file.hardlink_to(new)
        new.unlink()
    return file.read_text().strip()


async def _register(tx: Tx, *, token: str) -> None:
    digest = credentials.token_digest(token)
    if await credentials.by_digest(tx, digest=digest, token=True) is None:
        wanted = credentials.NewToken(organization="", kind=Role.TOKEN_WRITE, display_name="workers of this machine")
        await credentials.create_token(tx, caller=COMMAND_LINE, wanted=wanted, digest=digest)
