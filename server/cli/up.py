"""`taskhouse up`: the whole house on one machine."""

import http.client
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from server import edge
from server.cli.edge import config_for
from server.cli.house import database_option, make_data_folder
from server.cli.serve import READY
from server.journal import Journal
from server.listeners import listening
from server.settings import OFF, Settings, load, split_address
from server.sockets import admin_socket, clear, lock_alone, server_socket
from server.stderr import say
from server.store import migrate
from server.supervisor import FATAL, TICK_SECONDS, House, Part, PartFailed

FRUGAL = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
"""Python's own allocator keeps a megabyte for a few live bytes in it; after large uploads that doubles a server."""
CLEAR_SECONDS = 10.0  # How long the parts of a house whose `up` was killed may take to end.


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the house; default: ./data.")
@database_option
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default: DIR/config.toml.")
@click.option("--http", metavar="HOST:PORT", help="Plain listener; default: 127.0.0.1:8080.")
@click.option("--https", metavar="HOST:PORT", help="TLS listener; default: 127.0.0.1:8443.")
@click.option("--processes", type=int, help="Server processes; default: 1.")
@click.option("--public-url", metavar="URL", help="What callers of asapi put before its paths; default: as each call.")
@click.option("--tour", is_flag=True, help="Show the demonstration once the house answers.")
def up(
    data: Path | None,
    database: str | None,
    config: Path | None,
    http: str | None,
    https: str | None,
    processes: int | None,
    public_url: str | None,
    *,
    tour: bool,
) -> None:
    """Run the whole house: migrate once, then server processes, a worker and Envoy, until Ctrl-C.

    Prints `ready http=… https=…` when every part answers. If a part cannot start, all stop and the exit code is 1; one
    that dies later is started again.
    """
    options = {"data": data, "database": database, "http": http, "https": https, "processes": processes}
    settings = load(config, **options, public_url=public_url)
    if tour and settings.http == OFF:
        raise click.ClickException("the tour needs the plain listener: give --http HOST:PORT")
    make_data_folder(settings.data)
    with _only_one(settings.data):
        was_killed = clear(settings.data, within=CLEAR_SECONDS)
        _await_free(settings, within=CLEAR_SECONDS if was_killed else 0)
        migrate.upgrade(settings.database)
        _run(settings, config, tour=tour)


def _run(settings: Settings, config: Path | None, *, tour: bool) -> None:
    journal = Journal(settings.data, days=settings.logs_days)
    house = _house(settings, config, journal)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # The last is of a terminal that is closed,
        if signal.getsignal(number) is not signal.SIG_IGN:  # unless `nohup` was given.
            signal.signal(number, lambda *_: house.ask_to_stop())
    try:
        house.start()
        if not house.stopping:
            addresses = " ".join(f"{name}={name}://{where}" for name, where in _listeners(settings))
            print(f"ready {addresses}", flush=True)
            journal.note("", "started", addresses)
            if tour:
                house.run_beside(_tour(settings))
        house.watch()
    except PartFailed as failure:
        raise click.ClickException(str(failure)) from failure
    finally:
        house.stop(grace=settings.drain_seconds)


def _house(settings: Settings, config: Path | None, journal: Journal) -> House:
    us = [sys.executable, "-m", "server.cli.main"]
    common = ["--data", str(settings.data), *(["--config", str(config)] if config else [])]
    # Its URL may hold a password, which would be seen among a command's arguments.
    where = {} if isinstance(settings.database, Path) else {"TASKHOUSE_DATABASE": settings.database.url}
    servers = [
        Part(
            f"server {number}",
            [*us, "serve", *common, "--number", str(number)],
            ready_line=READY,
            environment=FRUGAL | where | {"TASKHOUSE_PUBLIC_URL": settings.public_url},
        )
        for number in range(settings.processes)
    ]
    configuration = config_for(settings, [server_socket(settings.data, number) for number in range(settings.processes)])
    edge.write(configuration)
    return House(
        servers=servers,
        worker=Part("worker", [*us, "work", *common], ready_line="worker ready", environment=where),
        edge=Part("envoy", edge.command(configuration), answers=_answering(settings)),
        drain_edge=lambda: _drain(settings.data),
        journal=journal,
    )


def _listeners(settings: Settings) -> list[tuple[str, str]]:
    return [(name, where) for name, where in (("http", settings.http), ("https", settings.https)) if where != OFF]


def _answering(settings: Settings) -> Callable[[], bool]:
    """Return what asks for the house's health through Envoy, or where it cannot without TLS, Envoy for its own."""

    def answers() -> bool:
        connection: http.client.HTTPConnection
        if settings.http == OFF:
            connection, path = _AdminConnection(admin_socket(settings.data)), "/ready"
        else:
            connection, path = http.client.HTTPConnection(*split_address(settings.http), timeout=1), "/health"
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return answers


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over the unix socket of Envoy's admin interface."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _drain(data: Path) -> None:
    """Have Envoy accept no new connections and end those that exist with their next answer. If it cannot, so be it."""
    connection = _AdminConnection(admin_socket(data))
    try:
        for path in ("/healthcheck/fail", "/drain_listeners"):
            connection.request("POST", path)
            connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        say(f"{FATAL}envoy was not drained: {error}\n")
    finally:
        connection.close()


def _tour(settings: Settings) -> list[str]:
    """Return the command that shows the demonstration beside the running house; if it fails it says so itself."""
    command = [sys.executable, "-m", "server.cli.main", "tour", "--data", str(settings.data)]
    return [*command, "--http", settings.http, "--https", settings.https]


def _await_free(settings: Settings, *, within: float) -> None:
    """Return once both addresses can be listened on, at the same time. Raises ClickException if one cannot."""
    deadline = time.monotonic() + within
    while True:
        try:
            with ExitStack() as probes:
                for name, address in _listeners(settings):
                    probes.enter_context(_listening(address, f"--{name}"))
                return
        except click.ClickException:
            if time.monotonic() >= deadline:
                raise
        time.sleep(TICK_SECONDS)


def _listening(address: str, option: str) -> socket.socket:
    try:
        return listening(*split_address(address))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {address}: {error.strerror}; choose another address with {option} HOST:PORT"
        ) from error


@contextmanager
def _only_one(data: Path) -> Iterator[None]:
    with (data / "up.lock").open("w") as lock:
        try:
            lock_alone(lock)
        except BlockingIOError as error:
            raise click.ClickException(
                f"another `taskhouse up` runs on {data}: stop it, or give another --data"
            ) from error
        yield
