"""What tests of event logs begin with: events, their heads, and somebody who writes to the database."""

from pathlib import Path

import asyncpg
from pysqlite3 import dbapi2 as sqlite

from server.core import events
from server.core.caller import Caller, Role
from server.core.events import Object
from server.services.verification import verify
from server.store.address import DatabaseAddress
from tests.core.scenes import organization

ANNA = Caller("c1", Role.ADMIN, 1, "acme", "", "Anna")
CUT = (
    "DELETE FROM events WHERE log_id = {acme} AND sequence > 3",
    "UPDATE event_logs SET last_sequence = 3 WHERE id = {acme}",
    "UPDATE event_logs SET digest = (SELECT digest FROM events WHERE log_id = id AND sequence = 3) WHERE id = {acme}",
)
"""Takes a log back to its third event, as an older database has it."""
GONE = ("DELETE FROM events WHERE log_id = {acme}", "DELETE FROM event_logs WHERE id = {acme}")
"""Takes a log away without a trace."""


async def tamper(address: DatabaseAddress, *statements: str, acme: int) -> None:
    """Write to the database by another way than the store's; `{acme}` in a statement is that number."""
    filled_in = [statement.format(acme=acme) for statement in statements]
    if isinstance(address, Path):
        connection = sqlite.connect(str(address))
        for statement in filled_in:
            connection.execute(statement)
        connection.commit()
        connection.close()
        return
    connection = await asyncpg.connect(address.url)
    for statement in ("SET session_replication_role = replica", *filled_in):  # No foreign keys, as on SQLite.
        await connection.execute(statement)
    await connection.close()


async def record(tx, organization_id, number):
    about = Object("rule", f"r{number}")
    return await events.record(
        tx, organization_id=organization_id, actor=ANNA, action="rule.updated", object=about, after={"n": number}
    )


async def filled(store, number=5) -> int:
    """Give a new organization and the house logs of so many events, and return the organization's id."""
    acme = await organization(store)
    for each in range(number):
        for owner in (acme.tenant, None):
            await store.write(record, owner, each)
    return acme.tenant


async def findings(store, heads) -> list[tuple[int, int | None]]:
    """Return where a verification finds something wrong."""
    return [(one.log_id, one.sequence) for one in (await verify(store, heads)).findings]
