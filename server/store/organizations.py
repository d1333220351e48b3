"""Organizations: the tenants."""

from typing import NamedTuple

from sqlalchemy import Integer, bindparam, insert, select, text, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, serial, table_of
from server.store.engine import Command, Query, Tx


class OrganizationRow(SQLModel, table=True):
    """A tenant."""

    __tablename__ = "organizations"
    __table_args__ = (
        Index(
            "organizations_sharing", "id", sqlite_where=text("sharing = 1"), postgresql_where=text("sharing = 1")
        ),
    )  # fmt: skip

    id: int = serial()
    name: str = Field(unique=True)
    create_time: int = micros()
    sharing: int = Field(sa_column_kwargs={"server_default": "0"})  # 1: all others may read its stats
    workflow: int = Field(sa_column_kwargs={"server_default": "0"})  # 1: changes of its rules are reviewed
    reason_mode: str = Field(sa_column_kwargs={"server_default": "optional"})  # for changes of its rules


ORGANIZATIONS = table_of(OrganizationRow)
_O = ORGANIZATIONS.c


class Stored(NamedTuple):
    """An organization."""

    id: int
    name: str
    create_time: int
    sharing: int
    workflow: int
    reason_mode: str


class StoredReview(NamedTuple):
    """How changes of an organization's rules are reviewed."""

    workflow: int
    reason_mode: str


_STORED = select(*(_O[name] for name in Stored._fields))
_BY_NAME = Query(_STORED.where(_O.name == bindparam("name")), Stored)
_PAGE = Query(
    _STORED.where(_O.name > bindparam("after")).order_by(_O.name).limit(bindparam("most", type_=Integer)), Stored
)
# Two statements in one, each with its index.
_READABLE = Query(
    _STORED.where(_O.id == bindparam("own")).union_all(_STORED.where(text("sharing = 1"), _O.id != bindparam("own"))),
    Stored,
)
_ALL = Query(_STORED, Stored)
_REVIEW = select(_O.workflow, _O.reason_mode).where(_O.id == bindparam("organization_id"))
_REVIEW_NOW = Query(_REVIEW, StoredReview)
_REVIEW_IN_TURN = Query(_REVIEW.with_for_update(key_share=True), StoredReview)  # Rows that refer to it can be added.
_INSERT = Command(insert(ORGANIZATIONS).values(name=bindparam("name"), create_time=bindparam("create_time")))
_SET = Command(
    update(ORGANIZATIONS)
    .where(_O.id == bindparam("organization_id"))
    .values({name: bindparam(f"new_{name}") for name in ("sharing", "workflow", "reason_mode")})
)


async def by_name(tx: Tx, name: str) -> Stored | None:
    """Return the organization of this name."""
    return await tx.one(_BY_NAME, name=name)


async def page(tx: Tx, *, after: str, most: int) -> list[Stored]:
    """Return organizations by name, those after the name `after`."""
    return await tx.all(_PAGE, after=after, most=most)


async def readable(tx: Tx, *, own: int) -> list[Stored]:
    """Return the organizations whose stats this one may read: itself first, and those that share."""
    return await tx.all(_READABLE, own=own)


async def every(tx: Tx) -> list[Stored]:
    """Return all organizations."""
    return await tx.all(_ALL)


async def add(tx: Tx, name: str) -> None:
    """Add an organization, created now. The name must be free."""
    await tx.run(_INSERT, name=name, create_time=tx.now)


async def review(tx: Tx, organization_id: int, *, in_turn: bool) -> StoredReview | None:
    """Return how changes of the organization's rules are reviewed.

    In turn: once all others who asked so have committed, and before anybody else.
    """
    return await tx.one(_REVIEW_IN_TURN if in_turn else _REVIEW_NOW, organization_id=organization_id)


async def put(tx: Tx, organization: Stored) -> None:
    """Keep the organization's settings."""
    await tx.run(
        _SET,
        organization_id=organization.id,
        new_sharing=organization.sharing,
        new_workflow=organization.workflow,
        new_reason_mode=organization.reason_mode,
    )
