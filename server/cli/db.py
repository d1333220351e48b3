"""`taskhouse db`: the database's schema."""

import click

from server.cli.house import house_options, json_option, make_data_folder, print_facts, print_json
from server.settings import Settings
from server.store import migrate


@click.group()
def db() -> None:
    """Create, migrate and check the database."""


@db.command()
@house_options
@json_option
def upgrade(settings: Settings, *, as_json: bool) -> None:
    """Bring the database to this version's schema, or create it. `taskhouse up` does so by itself."""
    make_data_folder(settings.data)
    migrate.upgrade(settings.database)
    _print(settings, as_json=as_json)


@db.command()
@house_options
@json_option
def check(settings: Settings, *, as_json: bool) -> None:
    """Say whether the database is at this version's schema; if not, the exit code is 1."""
    migrate.check(settings.database)
    _print(settings, as_json=as_json)


def _print(settings: Settings, *, as_json: bool) -> None:
    facts = {"database": str(settings.database), "schema": migrate.REVISION}
    if as_json:
        print_json([facts])
    else:
        print_facts(facts)
