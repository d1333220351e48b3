"""What the event log tells of stats that were deleted. It keeps nothing of their data."""

from collections.abc import Sequence
from typing import Any

from server.core import events
from server.core.caller import Caller
from server.core.errors import MAX_VALUE, cut
from server.core.events import Object
from server.core.exactjson import Number
from server.core.stats_filters import Condition, Value
from server.store.engine import Tx
from server.store.stats import Stored

MOST_VALUES = 20  # of a condition, that are told


async def deleted(tx: Tx, *, caller: Caller, stat: Stored) -> None:
    """Record that a stat was deleted, in the log of whose it was."""
    await events.record(
        tx,
        organization_id=stat.organization_id,
        actor=caller,
        action="stat.deleted",
        object=Object("stat", stat.id),
        before={"uuid": stat.uuid, "type": stat.type},
    )


async def purged(tx: Tx, *, caller: Caller, conditions: Sequence[Condition], number: int) -> None:
    """Record that so many stats were deleted for which these conditions held, in the caller's log."""
    await events.record(
        tx,
        organization_id=caller.organization_id,
        actor=caller,
        action="stat.purged",
        object=Object("stat", ""),
        after={"deleted": number, "filters": [_told(condition) for condition in conditions]},
    )


def _told(condition: Condition) -> dict[str, Any]:
    """Return a condition as an event tells it: without what data is compared with, as that may be personal."""
    told: dict[str, Any] = {
        "field": ".".join((condition.field, *condition.path)),
        "operator": condition.operator.value,
        "negated": condition.negated,
    }
    if condition.field != "data":
        told["values"] = [_value(value) for value in condition.values[:MOST_VALUES]]
    return told


def _value(value: Value) -> str | bool | None:
    if value is None or isinstance(value, bool):
        return value
    return cut(value.text if isinstance(value, Number) else str(value), MAX_VALUE)
