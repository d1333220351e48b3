"""All that the doctor looks at, in the order in which it is told."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from server.doctor.certificates import check_certificates
from server.doctor.database import check_database, check_schema, check_sqlite
from server.doctor.files import check_files, foreign
from server.doctor.findings import Finding
from server.doctor.parts import check_environment, check_envoy, check_restarts
from server.doctor.ports import check_ports
from server.doctor.running import check_running, find_running
from server.journal import Journal
from server.settings import Settings


def examine(settings: Settings, *, config: Path | None = None) -> Iterator[Finding]:
    """Look at the house in the settings' folder, whether it runs or not. `config` is the settings file, if not its own.

    Nothing is changed: no folder, no database and no key is made, and none is migrated.
    """
    data = settings.data
    running = find_running(data)
    entries = Journal(data).entries()
    told = next((entry.text for entry in reversed(entries) if entry.event == "started"), "")
    yield from check_running(data, running)
    yield from check_environment()
    file = config or data / "config.toml"
    yield from check_files(data, config=file, is_secret=not isinstance(settings.database, Path))
    yield check_envoy()
    yield check_sqlite()
    yield from check_ports(settings, running, told=told if running.is_up else "")
    yield from check_certificates(settings)
    yield from _database(settings, runs=running.works)
    yield from check_restarts(entries, runs=running.is_up)


def _database(settings: Settings, *, runs: bool) -> Iterator[Finding]:
    """Look at the database, unless that would leave files of one user in the house of another."""
    if settings.data.is_dir() and foreign(settings.data):
        return
    is_good, schema = check_schema(settings)
    yield schema
    if is_good:
        yield from asyncio.run(check_database(settings, runs=runs))
