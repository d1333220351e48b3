"""Reading the event logs."""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from server.core import chain, organizations
from server.core.caller import Caller, Role
from server.core.errors import invalid
from server.core.events import Event, Object, event_of, log_id_of, record
from server.core.pages import Page, fitting, number_of, read_page
from server.store import events as store
from server.store.engine import Head, Tx
from server.store.events import HOUSE, End, Log, Place, Span, Stored
from server.store.organizations import every as every_organization

MAX_FILTER = 1000  # characters
HOUSE_ITSELF = Caller("house", Role.OPERATOR, None, "", "", "house")
ITSELF = Object("event_log", "")  # the house's log
Told = dict[str, Any] | None


class Standing(NamedTuple):
    """Where a log stands, as its entry says and as its last event is; None: there is none."""

    log_id: int
    organization: str | None  # its name; None: it is the house's, or of an organization that is not there
    entry: Log | None
    end: End | None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.organization or ("the house" if self.log_id == HOUSE else f"organization number {self.log_id}")

    @property
    def is_right(self) -> bool:
        """Whether its entry says where it ends."""
        said = self.entry and (self.entry.last_sequence, self.entry.digest)
        return said == (self.end and (self.end.sequence, self.end.digest))


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
    given = _given(filters) | ({"before": number_of(asked.after)} if asked.after else {})
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


async def every(tx: Tx, *, after: Place, most: int) -> list[Stored]:
    """Return events of all logs after a place, log by log: for whoever verifies them.

    They are up to `most`, and as many as fit into a page's bytes, but at least one if there is one.
    """
    return await store.every(tx, after=after, most=fitting(await store.every_sizes(tx, after=after, most=most), most))


async def standings(tx: Tx, *, logs: Collection[int]) -> list[Standing]:
    """Return where the logs stand: all that have an entry, and these, by their ids."""
    entries = {log.id: log for log in await store.logs(tx)}
    known = sorted({*entries, *logs})
    ends = {end.log_id: end for end in await store.ends(tx, known)}
    names = {one.id: one.name for one in await every_organization(tx)}
    return [Standing(log_id, names.get(log_id), entries.get(log_id), ends.get(log_id)) for log_id in known]


async def set_right(tx: Tx, *, standing: Standing) -> bool:
    """Have a log's entry say where the log ends, so that it can go on, and return whether it did not."""
    return await store.set_right(tx, standing.log_id, genesis=chain.GENESIS)


async def note_break(tx: Tx, *, standing: Standing, lost: Head) -> None:
    """Record of a log that it was cut or rewritten: a head has lost its event."""
    before = {"sequence": lost.sequence, "digest": lost.digest.hex()}
    there = standing.end
    after = {"sequence": there.sequence, "digest": there.digest.hex()} if there else {"sequence": 0, "digest": ""}
    await _note(tx, standing, chain.BROKEN, before=before, after=after)


async def note_unacknowledged(tx: Tx, *, standing: Standing, span: Span) -> None:
    """Record of a log that some of its events were not acknowledged."""
    await _note(tx, standing, chain.UNACKNOWLEDGED, after={"first": span.first, "last": span.last})


async def note_fault(tx: Tx, *, standing: Standing, fault: str) -> None:
    """Record in a log, the house's, that somebody else has changed the file of heads."""
    await _note(tx, standing, chain.BROKEN, after={"heads": fault})


async def trust(tx: Tx, *, caller: Caller, host: str, reason: str) -> int:
    """Note in the house's log that another host records events of this house, and return the number of that event.

    Raises InvalidFields (host, reason).
    """
    if not re.fullmatch("[0-9a-f]{16}", host):
        raise invalid("host", "must be the name of a host, 16 of 0-9a-f, as `taskhouse events --json` tells it there")
    _check_reason(reason, "how you know that host, for example that it serves the same database")
    return await record(
        tx, organization_id=None, actor=caller, action=chain.TRUSTED, object=ITSELF, after={"host": host}, reason=reason
    )


async def accept(tx: Tx, *, caller: Caller, organization: str, reason: str) -> int:
    """Note that somebody knows why a log was cut or rewritten, and return the number of that event.

    Raises InvalidFields (reason), OrganizationNotFound.
    """
    _check_reason(reason, "why the log was cut or rewritten, for example that a backup was restored")
    owner = await organizations.owner(tx, caller=caller, name=organization)
    about = Object("event_log", owner.name if owner else "")
    owner_id = owner and owner.id
    return await record(tx, organization_id=owner_id, actor=caller, action=chain.ACCEPTED, object=about, reason=reason)


async def _note(tx: Tx, standing: Standing, action: str, *, before: Told = None, after: Told = None) -> None:
    """Record what became of a log in it, or, if its organization is not there, in the house's."""
    owner = standing.log_id if standing.organization else None
    itself = ITSELF if standing.log_id == HOUSE else Object("event_log", standing.name)
    await record(
        tx, organization_id=owner, actor=HOUSE_ITSELF, action=action, object=itself, before=before, after=after
    )


def _check_reason(reason: str, what: str) -> None:
    if not reason.strip():
        raise invalid("reason", f"must say {what}")


def _given(filters: Filters) -> dict[str, Any]:
    for name, value in filters._asdict().items():
        if isinstance(value, str) and len(value) > MAX_FILTER:
            raise invalid(name, f"must be at most {MAX_FILTER} characters")
    return {name: value for name, value in filters._asdict().items() if value not in (None, "")}
