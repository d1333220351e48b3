"""Reading what is mostly short and may be long."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from server.store.engine import Store

Found = TypeVar("Found")
Rendered = TypeVar("Rendered")


async def read_and_render(
    store: Store,
    render: Callable[[Found], Rendered],
    verb: Callable[..., Coroutine[Any, Any, Found | None]],
    **asked: object,
) -> Rendered:
    """Read and render; if it is long, both beside the event loop.

    The verb also takes `quickly`, and then returns None if what there is takes long. Raises what it raises.
    """
    found = await store.read(verb, quickly=True, **asked)
    if found is not None:
        return render(found)
    found = await store.scan(verb, quickly=False, **asked)
    assert found is not None  # noqa: S101 - nothing is too long for a scan.
    return await asyncio.to_thread(render, found)
