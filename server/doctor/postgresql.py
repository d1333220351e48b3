"""PostgreSQL: its version, who answers for it, and its room for connections."""

from collections.abc import Iterator

from server.doctor.findings import Finding
from server.store.address import PostgresAddress
from server.store.postgres import CONNECTIONS, connect

FLOOR = 14  # Older ones get no fixes any more.
_ROOM = """
SELECT current_setting('max_connections')::INTEGER - current_setting('superuser_reserved_connections')::INTEGER
     - coalesce(current_setting('reserved_connections', true)::INTEGER, 0),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""


async def check_postgres(address: PostgresAddress, *, processes: int) -> list[Finding]:
    """Look at the database server; so many server processes of this machine are to use it."""
    connection = await connect(address)
    try:
        version = connection.get_server_version()
        room, used = await connection.fetchrow(_ROOM)
    finally:
        await connection.close()
    return [
        _version(version.major, version.minor),
        *_transport(address),
        _room(room, used, processes),
    ]


def _version(major: int, minor: int) -> Finding:
    if major >= FLOOR:
        return Finding("versions", f"PostgreSQL {major}.{minor}")
    what = f"PostgreSQL {major}.{minor}, at least {FLOOR} is needed"
    return Finding("versions", what, "older ones get no fixes", "upgrade the server, with `pg_upgrade`")


def _transport(address: PostgresAddress) -> Iterator[Finding]:
    if address.is_exposed:
        yield Finding(
            "database",
            f"{address} is reached over a network without `sslmode=verify-full`",
            "whoever stands between can read and change everything",
            "add `?sslmode=verify-full&sslrootcert=/path/ca.pem` to its URL",
        )


def _room(room: int, used: int, processes: int) -> Finding:
    told = f"{used} of {room} connections to PostgreSQL are open; each server process may open {CONNECTIONS}"
    if processes * CONNECTIONS <= room and used <= 0.9 * room:
        return Finding("connections", told)
    return Finding(
        "connections",
        told,
        "under load calls will fail as UNAVAILABLE",
        f"raise its `max_connections`, to {CONNECTIONS} for each server process of all machines and some for others",
    )
