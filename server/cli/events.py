"""`taskhouse events`: who did what, when and why; and whether the logs are as they were written."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import click
import orjson

from server.cli.credentials import OF_HOUSE
from server.cli.house import (
    COMMAND_LINE,
    as_item,
    house_options,
    in_house,
    json_option,
    need_house,
    owner_of,
    owner_options,
    print_facts,
    print_json,
    time_text,
)
from server.core import event_log, organizations
from server.core import events as core
from server.core.events import Event
from server.services.events import event_to_proto
from server.services.sealing import settle
from server.services.verification import Verdict
from server.services.verification import verify as verify_logs
from server.settings import Settings
from server.store.engine import Store
from server.store.heads import Heads

PAGE = 100
LOOK_SECONDS = 1.0  # Between two looks, if no hint comes earlier.


@click.group(invoke_without_command=True)
@click.pass_context
@house_options
@click.option("--org", metavar="NAME", help="Only this organization's log; default: all of them, and the house's.")
@click.option("--follow", is_flag=True, help="Go on with what is recorded from now on, until Ctrl-C.")
@json_option
def events(settings: Settings, context: click.Context, org: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the event logs in the order of time: who did what to which object, when and why."""
    if context.invoked_subcommand:
        if any(context.params.values()):
            raise click.UsageError(f"give options after `{context.invoked_subcommand}`")
        return
    need_house(settings)

    async def printed(store: Store) -> None:
        seen: dict[int, int] = {}
        while True:
            generation = store.generation
            await _print_new(store, org, seen, as_json=as_json)
            if not follow:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await store.changed(generation)

    with suppress(KeyboardInterrupt):
        in_house(settings, printed)


@events.command()
@house_options
@json_option
def verify(settings: Settings, *, as_json: bool) -> int:
    """Look at every event of every log, and say which were changed, dropped, put in or moved: then the exit code is 1.

    The house may run meanwhile.
    """
    need_house(settings)
    heads = Heads(settings.data)
    verdict = in_house(settings, lambda store: verify_logs(store, heads))
    if as_json:
        print_json(_items(verdict))
    else:
        for item in _items(verdict):
            click.echo(_fault(**item))
        if verdict.is_good:
            click.echo(f"ok {verdict.events} events in {verdict.logs} logs, up to their last acknowledged ones")
            for host, number in verdict.others.items():
                click.echo(f"   {number} of them from the host {host}, which can verify them itself")
    return 0 if verdict.is_good else 1


@events.command()
@house_options
@owner_options
@click.option("--reason", metavar="TEXT", required=True, help="Why the log was cut or rewritten.")
@json_option
def accept(settings: Settings, org: str | None, reason: str, *, house: bool, as_json: bool) -> None:
    """Accept that a log was cut or rewritten, for example as a backup was restored; the log keeps who did and why.

    With --house, also that the file of heads was changed or lost. Events that were changed or put in stay wrong.
    """
    need_house(settings)
    owner = owner_of(org, house=house)

    async def accepted(store: Store) -> int:
        await settle(store, Heads(settings.data))  # What is accepted is noted first.
        return await store.write(event_log.accept, caller=COMMAND_LINE, organization=owner, reason=reason)

    _print_recorded(owner, in_house(settings, accepted), as_json=as_json)


@events.command()
@house_options
@click.argument("host")
@click.option("--reason", metavar="TEXT", required=True, help="How you know the host.")
@json_option
def trust(settings: Settings, host: str, reason: str, *, as_json: bool) -> None:
    """Name another HOST that records events in this house's database, so that `verify` here takes them as that host's.

    Only that host can check its seals: run `verify` there as well.
    """
    need_house(settings)

    async def trusted(store: Store) -> int:
        sequence = await store.write(event_log.trust, caller=COMMAND_LINE, host=host, reason=reason)
        await asyncio.to_thread(Heads(settings.data).trust, host)
        return sequence

    _print_recorded("", in_house(settings, trusted), as_json=as_json)


def _print_recorded(organization: str, sequence: int, *, as_json: bool) -> None:
    if as_json:
        print_json([{"organization": organization, "sequence": sequence}])
    else:
        print_facts({"organization": organization or OF_HOUSE, "event": str(sequence)})


async def _print_new(store: Store, org: str | None, seen: dict[int, int], *, as_json: bool) -> None:
    """Print what is in the logs after the numbers `seen`, which go on, in the order of time."""
    if org is not None:
        owner = await store.read(organizations.get, caller=COMMAND_LINE, name=org)
        lines = [_Lines(store, owner.id, org, seen)]
    else:
        lines = [_Lines(store, log.id, log.organization or "", seen) for log in await store.scan(event_log.logs)]
    async for event, organization in _merged(lines):
        if as_json:
            print_json([as_item(event_to_proto(event, organization))])
        else:
            click.echo(_line(event, organization))


class _Lines:
    """The events of one log that were not printed yet, in their order."""

    def __init__(self, store: Store, log_id: int, organization: str, seen: dict[int, int]) -> None:
        self.log_id = log_id
        self.organization = organization
        self._store = store
        self._seen = seen
        self._page: deque[Event] = deque()

    async def next(self) -> Event | None:
        """Return the next event; None if there is none so far."""
        if not self._page:
            owner = self.log_id or None
            after = self._seen.get(self.log_id, 0)
            self._page += await self._store.scan(core.page, organization_id=owner, after=after, most=PAGE)
        if not self._page:
            return None
        event = self._page.popleft()
        self._seen[self.log_id] = event.sequence
        return event


async def _merged(logs: Sequence[_Lines]) -> AsyncIterator[tuple[Event, str]]:
    """Give the events of several logs in the order of time, each with its organization."""
    firsts = [(event.event_time, number, event) for number, log in enumerate(logs) if (event := await log.next())]
    heapq.heapify(firsts)
    while firsts:
        _, number, event = firsts[0]
        yield event, logs[number].organization
        following = await logs[number].next()
        if following:
            heapq.heapreplace(firsts, (following.event_time, number, following))
        else:
            heapq.heappop(firsts)


def _line(event: Event, organization: str) -> str:
    """Return an event in one line, whatever its texts hold."""
    what = [time_text(event.event_time), organization or OF_HOUSE, event.actor_name or event.actor_id, event.action]
    what.append(event.object.id)
    changed = [f"{name}: {_value(event.before, name)} -> {_value(event.after, name)}" for name in _names(event)]
    told = "  ".join([*what, ", ".join(changed), event.reason and f"({event.reason})"])
    return " ".join(part if part.isprintable() else repr(part) for part in told.split(" ")).rstrip()


def _names(event: Event) -> dict[str, None]:
    return dict.fromkeys([*(event.before or {}), *(event.after or {})])


def _value(values: dict[str, Any] | None, name: str) -> str:
    return orjson.dumps(values[name]).decode() if values and name in values else "none"


def _fault(*, organization: str | None, sequence: int | None, what: str) -> str:
    """Return a finding in one line."""
    where = [part for part in (organization, None if sequence is None else f"event {sequence}") if part]
    return f"WRONG {', '.join(where)}: {what}" if where else f"WRONG {what}"


def _items(verdict: Verdict) -> list[dict[str, Any]]:
    """Return one object for each finding."""
    items: list[dict[str, Any]] = []
    if verdict.heads_fault:
        items.append({"organization": None, "sequence": None, "what": verdict.heads_fault})
    for log_id, sequence, what in verdict.findings:
        items.append({"organization": _owner(verdict, log_id), "sequence": sequence, "what": what})
    for log_id, number in verdict.untold.items():
        items.append({"organization": _owner(verdict, log_id), "sequence": None, "what": f"and {number} more faults"})
    return items


def _owner(verdict: Verdict, log_id: int) -> str:
    if log_id == 0:
        return OF_HOUSE
    return verdict.names.get(log_id, f"organization number {log_id}")
