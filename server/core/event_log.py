"""Reading the event logs."""

from collections.abc import Collection
from typing import Any, NamedTuple

from server.core import chain, organizations
from server.core.caller import Caller, Role
from server.core.errors import invalid
from server.core.events import Event, Object, event_of, log_id_of, record
from server.core.pages import Page, read_page, unknown_token
from server.store import events as store
from server.store.engine import Head, Tx
from server.store.events import HOUSE, Log

MAX_FILTER = 1000  # characters
HOUSE_ITSELF = Caller("house", Role.OPERATOR, None, "", "", "house")
Told = dict[str, Any] | None


class Filters(NamedTuple):
    """Which events are asked for. What is None or empty does not matter."""

    start_time: int | None = None  # microseconds since 1970
    end_time: int | None = None  # not included
    actor: str = ""  # a credential's id, or its name then
    action: str = ""
    object_kind: str = ""
    object_id: str = ""


async def listed(
    tx: Tx, *, caller: Caller, organization: str, filters: Filters, page_size: int, page_token: str
) -> Page[Event]:
    """Return a page of the events that the filters let through, newest first.

    An empty `organization` is the caller's own, or, of a caller of the house, the house. Raises InvalidFields,
    OrganizationNotFound.
    """
    asked = read_page(page_size, page_token)
    owner = await organizations.owner(tx, caller=caller, name=organization)
    log_id = log_id_of(owner and owner.id)
    given = _given(filters) | ({"before": _number(asked.after)} if asked.after else {})
    asked = asked.within(await store.sizes(tx, log_id, filters=given, most=asked.size))
    found = await store.listed(tx, log_id, filters=given, most=asked.most)
    return asked.of([event_of(one) for one in found], lambda event: str(event.sequence))


async def log_of(tx: Tx, *, caller: Caller, organization: str) -> int | None:
    """Return whose log this is, as `page` takes it. Raises OrganizationNotFound."""
    owner = await organizations.owner(tx, caller=caller, name=organization)
    return owner and owner.id


async def logs(tx: Tx) -> list[Log]:
    """Return all logs: for the command line, and for whoever holds them against their heads."""
    return await store.logs(tx)


async def progress(tx: Tx, *, logs: Collection[int | None]) -> dict[int | None, int]:
    """Return the last numbers of these logs, whosever they are: for telling that they grew, and nothing else."""
    found = await store.positions(tx, [log_id_of(each) for each in logs])
    return {None if log_id == HOUSE else log_id: sequence for log_id, sequence in found}


async def note(tx: Tx, *, log: int, action: str, about: str, before: Told = None, after: Told = None) -> Head:
    """Record in a log, named by its id, what became of the log itself, and return its new head."""
    owner = None if log == HOUSE else log
    itself = Object("event_log", about)
    await record(
        tx, organization_id=owner, actor=HOUSE_ITSELF, action=action, object=itself, before=before, after=after
    )
    return tx.heads[log]


async def accept(tx: Tx, *, caller: Caller, organization: str, reason: str) -> int:
    """Note that somebody knows why a log was cut or rewritten, and return the number of that event.

    Raises InvalidFields (reason), OrganizationNotFound.
    """
    if not reason.strip():
        raise invalid("reason", "must say why the log was cut or rewritten, for example that a backup was restored")
    owner = await organizations.owner(tx, caller=caller, name=organization)
    about = Object("event_log", owner.name if owner else "")
    owner_id = owner and owner.id
    return await record(tx, organization_id=owner_id, actor=caller, action=chain.ACCEPTED, object=about, reason=reason)


def _given(filters: Filters) -> dict[str, Any]:
    for name, value in filters._asdict().items():
        if isinstance(value, str) and len(value) > MAX_FILTER:
            raise invalid(name, f"must be at most {MAX_FILTER} characters")
    return {name: value for name, value in filters._asdict().items() if value not in (None, "")}


def _number(key: str) -> int:
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        raise unknown_token()
    return int(key)
