"""Accounts: users of services, as organizations registered them."""

from typing import NamedTuple

from sqlalchemy import Integer, bindparam, delete, insert, select
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Tx


class AccountRow(SQLModel, table=True):
    """A registered user of a service."""

    __tablename__ = "accounts"
    __table_args__ = (
        Index("accounts_by_username", "organization_id", "service", "username", unique=True),
        Index("accounts_of_organization", "organization_id", "id"),
    )

    id: str = Field(primary_key=True)
    organization_id: int = reference("organizations.id")
    service: str  # A slug, and no reference: an account outlives its service's place in the catalogue.
    username: str
    create_time: int = micros()


ACCOUNTS = table_of(AccountRow)
_A = ACCOUNTS.c


class Stored(NamedTuple):
    """An account."""

    id: str
    service: str
    username: str
    create_time: int


_ACCOUNT = (_A.id, _A.service, _A.username, _A.create_time)
_MINE = _A.organization_id == bindparam("organization_id")
_BY_ID = Query(select(*_ACCOUNT).where(_A.id == bindparam("account_id"), _MINE), Stored)
_BY_USERNAME = Query(
    select(*_ACCOUNT).where(_MINE, _A.service == bindparam("service"), _A.username == bindparam("username")), Stored
)
_PAGE = Query(
    select(*_ACCOUNT).where(_MINE, _A.id > bindparam("after")).order_by(_A.id).limit(bindparam("most", type_=Integer)),
    Stored,
)
_ADD = Command(
    insert(ACCOUNTS).values(
        {name: bindparam(name) for name in ("id", "organization_id", "service", "username", "create_time")}
    )
)
_REMOVE = Query(
    delete(ACCOUNTS)
    .where(_A.id == bindparam("account_id"), _A.organization_id == bindparam("of_organization"))
    .returning(*_ACCOUNT),
    Stored,
)


async def by_id(tx: Tx, *, organization_id: int, account_id: str) -> Stored | None:
    """Return the organization's account of this id."""
    return await tx.one(_BY_ID, organization_id=organization_id, account_id=account_id)


async def by_username(tx: Tx, *, organization_id: int, service: str, username: str) -> Stored | None:
    """Return the organization's account of this username of a service."""
    return await tx.one(_BY_USERNAME, organization_id=organization_id, service=service, username=username)


async def page(tx: Tx, *, organization_id: int, after: str, most: int) -> list[Stored]:
    """Return up to `most` accounts whose ids come after `after`, in order of their ids."""
    return await tx.all(_PAGE, organization_id=organization_id, after=after, most=most)


async def add(tx: Tx, *, organization_id: int, account: Stored) -> None:
    """Add an account. The username must be free."""
    await tx.run(_ADD, organization_id=organization_id, **account._asdict())


async def remove(tx: Tx, *, organization_id: int, account_id: str) -> Stored | None:
    """Remove an account and return what it was."""
    return await tx.one(_REMOVE, of_organization=organization_id, account_id=account_id)
