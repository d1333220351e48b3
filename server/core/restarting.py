"""Loops of a server process that begin again when they fail: clients must not wait for ever because of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

RETRY_SECONDS = 0.5


async def run_until(
    stopping: asyncio.Event, *loops: Callable[[], Awaitable[None]], name: str, log: logging.Logger
) -> None:
    """Run endless loops side by side until `stopping` is set. If one fails as nobody foresaw, all begin again."""
    stop = asyncio.ensure_future(stopping.wait())
    while not stop.done():
        running = [asyncio.ensure_future(loop()) for loop in loops]
        await asyncio.wait([stop, *running], return_when=asyncio.FIRST_COMPLETED)
        for one in running:
            one.cancel()
        for failure in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(failure, Exception):
                log.error("%s failed, and starts again", name, exc_info=failure)
                await asyncio.sleep(RETRY_SECONDS)
