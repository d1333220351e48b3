"""Organizations: the tenants."""

from typing import NamedTuple

from sqlalchemy import Integer, bindparam, insert, select
from sqlmodel import Field, SQLModel

from server.store.columns import micros, serial, table_of
from server.store.engine import Command, Query, Tx


class OrganizationRow(SQLModel, table=True):
    """A tenant."""

    __tablename__ = "organizations"

    id: int = serial()
    name: str = Field(unique=True)
    create_time: int = micros()


ORGANIZATIONS = table_of(OrganizationRow)
_O = ORGANIZATIONS.c


class Stored(NamedTuple):
    """An organization."""

    id: int
    name: str
    create_time: int


_BY_NAME = Query(select(_O.id, _O.name, _O.create_time).where(_O.name == bindparam("name")), Stored)
_PAGE = Query(
    select(_O.id, _O.name, _O.create_time)
    .where(_O.name > bindparam("after"))
    .order_by(_O.name)
    .limit(bindparam("most", type_=Integer)),
    Stored,
)
_INSERT = Command(insert(ORGANIZATIONS).values(name=bindparam("name"), create_time=bindparam("create_time")))


async def by_name(tx: Tx, name: str) -> Stored | None:
    """Return the organization of this name."""
    return await tx.one(_BY_NAME, name=name)


async def page(tx: Tx, *, after: str, most: int) -> list[Stored]:
    """Return organizations by name, those after the name `after`."""
    return await tx.all(_PAGE, after=after, most=most)


async def add(tx: Tx, name: str) -> None:
    """Add an organization, created now. The name must be free."""
    await tx.run(_INSERT, name=name, create_time=tx.now)
