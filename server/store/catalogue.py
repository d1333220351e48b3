"""The catalogue: services and their actions, replaced as a whole."""

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select
from sqlmodel import Field, SQLModel

from server.store.columns import table_of
from server.store.engine import Command, Query, Tx


class ServiceRow(SQLModel, table=True):
    """A service."""

    __tablename__ = "catalogue_services"

    slug: str = Field(primary_key=True)
    name: str
    folded: str = Field(unique=True)  # the name without capitals
    position: int


class ActionRow(SQLModel, table=True):
    """An action of a service. Tasks hold slugs and no reference: they outlive what they asked for."""

    __tablename__ = "catalogue_actions"

    service: str = Field(primary_key=True, foreign_key="catalogue_services.slug")
    slug: str = Field(primary_key=True)
    definition: str  # JSON, as core has it
    position: int


SERVICES, ACTIONS = table_of(ServiceRow), table_of(ActionRow)
_S, _A = SERVICES.c, ACTIONS.c


class StoredService(NamedTuple):
    """A service."""

    slug: str
    name: str


class StoredAction(NamedTuple):
    """An action."""

    service: str
    slug: str
    definition: str


class _Slug(NamedTuple):
    value: str


_SERVICES = Query(select(_S.slug, _S.name).order_by(_S.position), StoredService)
_ACTIONS = Query(select(_A.service, _A.slug, _A.definition).order_by(_A.service, _A.position), StoredAction)
_ACTION = Query(
    select(_A.service, _A.slug, _A.definition).where(_A.service == bindparam("service"), _A.slug == bindparam("slug")),
    StoredAction,
)
_FIND = Query(select(_S.slug).where(or_(_S.slug == bindparam("folded"), _S.folded == bindparam("folded"))), _Slug)
_CLEAR = (Command(delete(ACTIONS)), Command(delete(SERVICES)))
_ADD_SERVICE = Command(
    insert(SERVICES).values({name: bindparam(name) for name in ("slug", "name", "folded", "position")})
)
_ADD_ACTION = Command(
    insert(ACTIONS).values({name: bindparam(name) for name in ("service", "slug", "definition", "position")})
)


async def services(tx: Tx) -> list[StoredService]:
    """Return all services in their order."""
    return await tx.all(_SERVICES)


async def actions(tx: Tx) -> list[StoredAction]:
    """Return all actions, those of a service in their order."""
    return await tx.all(_ACTIONS)


async def action(tx: Tx, *, service: str, slug: str) -> StoredAction | None:
    """Return one action."""
    return await tx.one(_ACTION, service=service, slug=slug)


async def find_service(tx: Tx, folded: str) -> str | None:
    """Return the slug of the service with this slug, or this name without its capitals."""
    found = await tx.one(_FIND, folded=folded)
    return found.value if found else None


async def clear(tx: Tx) -> None:
    """Remove everything."""
    for command in _CLEAR:
        await tx.run(command)


async def add_service(tx: Tx, *, slug: str, name: str, folded: str, position: int) -> None:
    """Add a service."""
    await tx.run(_ADD_SERVICE, slug=slug, name=name, folded=folded, position=position)


async def add_action(tx: Tx, row: StoredAction, *, position: int) -> None:
    """Add an action to its service."""
    await tx.run(_ADD_ACTION, **row._asdict(), position=position)
