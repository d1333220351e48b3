"""What the commands share: their options, the opened house, and how they print."""

import asyncio
import functools
import json
import re
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pysqlite3 import dbapi2 as sqlite

from server.core import errors, organizations
from server.core.caller import Caller, Role
from server.core.organizations import Organization
from server.core.pages import MAX_PAGE, Page
from server.settings import Settings, load
from server.store import migrate
from server.store.engine import Store, StoreUnavailable
from server.store.opening import open_store

COMMAND_LINE = Caller("command-line", Role.OPERATOR, None, "", "", "command line")
"""Who calls the verbs of a command: whoever may write in DIR operates the house."""

_OPTIONS = {
    "organization.name": "NAME",
    "credential_id": "ID",
    "host": "HOST",
    "kind": "--kind",
    "user": "--user",
    "display_name": "--name",
    "valid_period": "--expires",
    "password": "--password-file",
    "token": "--token",
    "access": "--access",
    "retrieval": "--retrieval",
    "allow": "--allow",
}
_REMEDIES: dict[type[Exception], str] = {
    errors.OrganizationNotFound: "`taskhouse orgs list` shows those there are",
    errors.OrganizationExists: "choose another name",
    errors.DatasetNotFound: "`taskhouse datasets list` shows those there are",
    errors.CredentialNotFound: "`taskhouse keys list` and `taskhouse tokens list` show those there are",
    errors.CredentialTaken: "choose another, or leave out --token to have one made",
}
_STORE_REMEDIES = {
    sqlite.SQLITE_NOTADB: "give another folder with --data, or the database from a backup",
    sqlite.SQLITE_CORRUPT: "give the database from a backup",
    sqlite.SQLITE_BUSY: "another program holds the database: end that",
}
"""What to do, by SQLite's primary result code."""
_ROOM = "see that the data folder can be written and that its disk has room"
_STORE_REMEDIES |= dict.fromkeys(
    (sqlite.SQLITE_CANTOPEN, sqlite.SQLITE_READONLY, sqlite.SQLITE_FULL, sqlite.SQLITE_IOERR), _ROOM
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

P = ParamSpec("P")
T = TypeVar("T")


database_option = click.option(
    "--database",
    metavar="URL",
    help="PostgreSQL, postgresql://USER@HOST/NAME; default: $TASKHOUSE_DATABASE, else SQLite in DIR."
    " Every user of a machine can see its commands: give a password in the environment or the settings file.",
)


def house_options(command: Callable[Concatenate[Settings, P], T]) -> Callable[..., T]:
    """Give a command `--data`, `--database` and `--config`, and the settings read with them as its first argument."""

    @click.option(
        "--data", type=click.Path(path_type=Path), help="Folder of the house; default: $TASKHOUSE_DATA, else ./data."
    )
    @database_option
    @click.option("--config", type=click.Path(path_type=Path), help="Settings file; default: DIR/config.toml.")
    @functools.wraps(command)
    def loaded(*args: Any, data: Path | None, database: str | None, config: Path | None, **kwargs: Any) -> T:
        return command(load(config, data=data, database=database), *args, **kwargs)

    return loaded


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object an item.")


def owner_options(command: Callable[P, T]) -> Callable[P, T]:
    """Give a command `--org NAME` and `--house`."""
    command = click.option("--house", is_flag=True, help="Of the house itself, not of an organization.")(command)
    return click.option("--org", metavar="NAME", help="Name of the organization.")(command)


def owner_of(org: str | None, *, house: bool) -> str:
    """Return the organization that is meant, empty for the house. Exactly one of the options must be given."""
    if house == bool(org):
        raise click.UsageError("give either --org NAME or --house")
    return org or ""


class Period(click.ParamType[timedelta]):
    """A length of time such as 90d, 12h, 30m or 45s; becomes a timedelta."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read the text."""
        found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
        if not found:
            self.fail(f"{value!r} is not a length of time such as 90d or 12h", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


class Secret(click.ParamType[str]):
    """A secret itself, or `-` for the first line of the standard input."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the line."""
        del param, ctx
        if value != "-":
            return str(value)
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode(errors="surrogateescape")


token_option = click.option(
    "--token",
    type=Secret(),
    help="Take this one (16 to 256 characters) instead of making one; -: the line on standard input.",
)


def make_data_folder(path: Path) -> None:
    """Make the folder of a house if need be, for its owner alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(
            f"cannot make the data folder {path}: {error.strerror}; give another with --data DIR"
        ) from error


def need_house(settings: Settings) -> None:
    """Refuse a folder that has no house."""
    if isinstance(settings.database, Path) and not settings.database.is_file():
        command = f"taskhouse up --data {shlex.quote(str(settings.data))}"
        raise click.ClickException(f"no house in {settings.data}: start one with `{command}`, or give another --data")


def in_house(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on the house's store, made or migrated first if need be; whether the house runs does not matter."""

    async def opened() -> T:
        store = await open_store(settings.database, settings.data)
        try:
            return await work(store)
        finally:
            await store.close()

    make_data_folder(settings.data)
    migrate.upgrade(settings.database)
    return asyncio.run(opened())


async def all_of(page_after: Callable[[str], Awaitable[Page[T]]]) -> list[T]:
    """Return the items of all pages of a list. `page_after` is given a page's token, "" for the first."""
    page = await page_after("")
    found = [*page.items]
    while page.next_page_token:
        page = await page_after(page.next_page_token)
        found += page.items
    return found


async def all_organizations(store: Store) -> list[Organization]:
    """Return the organizations by name."""
    return await all_of(
        lambda token: store.scan(organizations.page, caller=COMMAND_LINE, page_size=MAX_PAGE, page_token=token)
    )


def remedy(failure: Exception) -> str:
    """Return what is told of a failure on the command line: what it is, and what to do."""
    if isinstance(failure, errors.InvalidFields):
        return "; ".join(f"{_OPTIONS.get(fault.field, fault.field)}: {fault.description}" for fault in failure.faults)
    advice = _store_remedy(failure) if isinstance(failure, StoreUnavailable) else _REMEDIES.get(type(failure))
    return f"{str(failure).rstrip('.')}; {advice}" if advice else str(failure)


def _store_remedy(failure: StoreUnavailable) -> str | None:
    cause = failure.__cause__
    if failure.remedy:
        return failure.remedy
    if isinstance(cause, OSError):
        return _ROOM
    error = getattr(cause, "orig", cause)  # SQLAlchemy wraps what its driver raised.
    return _STORE_REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)


def as_item(message: Message) -> dict[str, Any]:
    """Return a typed message as `--json` prints it: proto names, every field."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_json(items: Iterable[dict[str, Any]]) -> None:
    """Print one object a line."""
    for item in items:
        click.echo(json.dumps(item, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns under their titles."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: dict[str, str]) -> None:
    """Print one fact a line, leaving out those that are empty."""
    width = max(map(len, facts))
    for name, value in facts.items():
        if value:
            click.echo(f"{name.ljust(width)}  {value}")


def time_text(micros: int | None) -> str:
    """Return microseconds since 1970 as people read them, in UTC; empty for None."""
    if micros is None:
        return ""
    return f"{datetime.fromtimestamp(micros // 1_000_000, UTC):%Y-%m-%d %H:%M:%SZ}"
