"""`taskhouse serve`: one server process."""

import asyncio
import gc
import logging
import signal
from functools import partial
from pathlib import Path

import click
import uvloop

from server.cli.house import house_options
from server.cli.log_lines import LinesTogether
from server.core.restarting import run_until
from server.core.retention import Policy
from server.identity.authority import Authority
from server.services.sealing import keep_settled, settle
from server.settings import Settings
from server.sockets import server_socket, sole_listener
from server.store import migrate
from server.store.heads import Heads
from server.store.opening import open_store
from server.wiring import build_server

log = logging.getLogger("taskhouse.serve")

MIB = 1024 * 1024
READY = "server ready"


@click.command()
@house_options
@click.option(
    "--socket", type=click.Path(path_type=Path), help="Unix socket to listen on; default: server-N.sock of DIR."
)
@click.option("--number", type=int, default=0, show_default=True, help="Number of this process in its house.")
def serve(settings: Settings, socket: Path | None, number: int) -> None:
    """Run one server process on the house in DIR, behind the edge. The database must be at this version's schema."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", handlers=[LinesTogether()]
    )
    migrate.check(settings.database)
    path = socket or server_socket(settings.data, number)
    with sole_listener(path):
        uvloop.run(_serve(settings, path))


async def _serve(settings: Settings, path: Path) -> None:
    store = await open_store(settings.database, settings.data)
    heads = Heads(settings.data)
    await settle(store, heads)
    authority = Authority.open(settings.data)
    server = build_server(
        store=store,
        authority=authority,
        address=f"unix:{path}",
        reflect=settings.reflection,
        api_key_authentication=settings.api_key_authentication,
        web_origins=settings.web_origins,
        strict_filters=settings.strict_filters,
        public_url=settings.public_url,
        max_unfinished_tasks=settings.max_unfinished_tasks,
        max_result_bytes=round(settings.max_result_mb * MIB),
        rudder_deprecated=settings.rudder_deprecated,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    policy = Policy.of_days(results=settings.results_days, tasks=settings.tasks_days, stored=settings.stored_days)
    await server.start(policy, sweep_seconds=settings.sweep_seconds)
    gc.collect()
    gc.freeze()  # What is there by now stays: looking at it again and again took a tenth of the CPU of large answers.
    print(READY, flush=True)
    await run_until(
        stop, partial(keep_settled, store, heads), name="holding the event logs against their heads", log=log
    )
    await server.stop(settings.drain_seconds)
