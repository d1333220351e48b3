"""The database: its schema, its clock, and the work in it."""

import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from server.core import checkup, retention
from server.core.caller import TOKEN_ROLES
from server.core.checkup import Checkup
from server.core.retention import Due, Policy, State
from server.doctor.findings import Finding
from server.settings import Settings
from server.store import migrate
from server.store.engine import SchemaMismatch, Store, StoreUnavailable
from server.store.opening import open_store
from server.store.sqlite import FLOOR

CLOCK_SECONDS = 5.0  # By more than this two clocks differ.
SECOND = retention.SECOND
LATE = 10  # periods that a sweep may be late
_Look = tuple[Checkup, State, Due]


def check_sqlite() -> Finding:
    """Look at the version of SQLite."""
    found, floor = sqlite.sqlite_version, ".".join(map(str, FLOOR))
    if sqlite.sqlite_version_info >= FLOOR:
        return Finding("versions", f"SQLite {found}")
    what = f"SQLite {found}, at least {floor} is needed"
    return Finding(
        "versions", what, "older ones can corrupt data, so no server starts", "`pip install --upgrade pysqlite3`"
    )


def check_schema(settings: Settings) -> tuple[bool, Finding]:
    """Look at the schema, and say whether the rest of the database can be looked at."""
    database = settings.database
    if isinstance(database, Path) and not database.is_file():
        return False, Finding("schema", f"there is no database {database} yet: `taskhouse up` makes it")
    try:
        migrate.check(database)
    except SchemaMismatch as error:
        what, _, remedy = str(error).partition(": ")
        return False, Finding("schema", what, "no server starts on it", remedy)
    except StoreUnavailable as error:
        return False, _unavailable(settings, error)
    return True, Finding("schema", f"the database {database} is at schema {migrate.REVISION}")


async def check_database(settings: Settings, *, runs: bool) -> list[Finding]:
    """Look into the database, which is at this version's schema; `runs`: its house runs."""
    policy = Policy.of_days(results=settings.results_days, tasks=settings.tasks_days)
    try:
        store = await open_store(settings.database)
        try:
            engine = await _engine(settings)
            seen = await _look(store, policy)
        finally:
            await store.close()
    except StoreUnavailable as error:
        return [_unavailable(settings, error)]
    checked, state, due = seen
    return [
        *engine,
        *_clock(checked),
        *_work(checked, settings, runs=runs),
        *_expiring(checked),
        _retention(state, due, settings, now=checked.now, runs=runs),
    ]


async def _look(store: Store, policy: Policy) -> _Look:
    return (
        await store.scan(checkup.examine),
        await store.read(retention.state),
        await store.scan(retention.due, policy=policy),
    )


def _unavailable(settings: Settings, error: StoreUnavailable) -> Finding:
    if isinstance(settings.database, Path):
        remedy = "see the owner and the room of its folder, or give the database from a backup"
    else:
        remedy = "see that it runs, and that --database or TASKHOUSE_DATABASE is its URL"
    return Finding("database", str(error), "nothing of the house works without it", remedy)


async def _engine(settings: Settings) -> list[Finding]:
    if isinstance(settings.database, Path):
        return []
    from server.doctor.postgresql import check_postgres  # Here, as a house on SQLite can do without the driver.

    return await check_postgres(settings.database, processes=settings.processes)


def _clock(seen: Checkup) -> Iterator[Finding]:
    here = time.time()
    ahead = here - seen.now / SECOND
    set_clock = "set the clocks, with `timedatectl set-ntp true`, and start the house again"
    if abs(ahead) > CLOCK_SECONDS:
        told = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        yield Finding("clock", told, "keys and tokens seem to end at the wrong time", set_clock)
    elif seen.newest_task and seen.newest_task / SECOND - here > CLOCK_SECONDS:
        told = f"the newest task was created at {_time(seen.newest_task)}, which is in the future"
        yield Finding("clock", f"{told}: a clock is behind, or was ahead", "times are wrong somewhere", set_clock)
    else:
        yield Finding("clock", "this machine's clock and the database's agree")


def _work(seen: Checkup, settings: Settings, *, runs: bool) -> Iterator[Finding]:
    workers = f"{seen.workers} worker{'s' * (seen.workers != 1)}"
    work = f"`taskhouse work --data {shlex.quote(str(settings.data))}`"
    for service, action, tasks, oldest in seen.waiting:
        told = f"{tasks} task{'s' * (tasks != 1)} of {service}/{action} could be leased, the oldest for"
        yield Finding(
            "tasks",
            f"{told} {_span(seen.now - oldest)}; there are {workers}",
            "nobody does them, or too few do",
            f"{work} with --module for this action, on more machines with --server" if runs else "`taskhouse up`",
        )
    for task_id, service, action, failures, error in seen.failing:
        yield Finding(
            "tasks",
            f"task {task_id} of {service}/{action} has failed {failures} time{'s' * (failures != 1)}: {_line(error)}",
            "it will be given up soon",
            "mend the action, or cancel the task",
        )
    for service, action, tasks, failed in seen.ended:
        if failed * 2 > tasks:
            yield Finding(
                "tasks",
                f"{failed} of the last {tasks} tasks of {service}/{action} failed",
                "whoever asked for them got nothing",
                "see the tasks' errors, with `GET /v1/tasks`, and mend the action",
            )
    if runs and not seen.workers:
        yield Finding("workers", "no worker is there", "tasks wait until one comes", work)
    else:
        yield Finding("workers", f"{workers} now")


def _expiring(seen: Checkup) -> Iterator[Finding]:
    for id_, kind, organization, name, expire_time in seen.expiring[: checkup.MOST]:
        whose = f"of {organization}" if organization else "of the house"
        owner = f"--org {shlex.quote(organization)}" if organization else "--house"
        is_token = kind in TOKEN_ROLES
        make = f"tokens create {owner} --api …" if is_token else f"keys issue {owner} --kind {kind} --out FILE"
        yield Finding(
            "credentials",
            f"{kind} {name or id_} {whose} ends at {_time(expire_time)}",
            "after that its calls are refused",
            f"`taskhouse {make}`, then `taskhouse {'tokens' if is_token else 'keys'} revoke {id_}`",
        )
    if len(seen.expiring) > checkup.MOST:
        yield Finding(
            "credentials", "more credentials end within 30 days", "their calls will be refused", "`taskhouse keys list`"
        )


def _retention(state: State, due: Due, settings: Settings, *, now: int, runs: bool) -> Finding:
    kept = f"results are kept {_days(settings.results_days)}, tasks {_days(settings.tasks_days)}"
    logs = f"{settings.logs_days:g} days" if settings.logs_days else "for ever"
    kept = f"{kept}, lines of parts.log {logs}"
    last = f"swept last at {_time(state.end_time)}" if state.end_time else "never swept so far"
    more = f"{due.results} results and {due.tasks} tasks are due"
    if retention.MOST_COUNTED in due:
        more = f"{more} or more"
    told = f"{kept}; {last}; {more}"
    period = round(max(settings.sweep_seconds, 60) * SECOND)
    if runs and state.due_time - now > period:
        ahead = f"the next sweep is due at {_time(state.due_time)}, as the last was made by a clock that was ahead"
        why = "until servers notice nothing is removed"
        return Finding("retention", f"{told}; {ahead}", why, "see that each server is of this version, and runs")
    if runs and now - state.due_time > LATE * period:
        late = f"a sweep is late by {_span(now - state.due_time)}"
        return Finding(
            "retention", f"{told}; {late}", "the disk fills up", "see the servers' log, and start them again"
        )
    return Finding("retention", told)


def _days(days: float) -> str:
    return f"{days:g} days after their end" if days else "for ever"


def _time(micros: int | None) -> str:
    return f"{datetime.fromtimestamp((micros or 0) // SECOND, UTC):%Y-%m-%d %H:%M:%SZ}"


def _span(micros: int) -> str:
    return str(timedelta(seconds=micros // SECOND))


def _line(text: str | None) -> str:
    return " ".join((text or "").split())[:200]
