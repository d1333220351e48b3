"""Credentials: keys and tokens, found by the SHA-256 of the certificate or of the token."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Integer, bindparam, case, insert, or_, select, update
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import texts
from server.store.organizations import ORGANIZATIONS


class CredentialRow(SQLModel, table=True):
    """A key or a token. `organization_id` is null for those of the house."""

    __tablename__ = "credentials"
    __table_args__ = (Index("credentials_of_organization", "organization_id", "id"),)

    id: str = Field(primary_key=True)
    organization_id: int | None = reference("organizations.id", nullable=True)
    digest: bytes = Field(unique=True)
    kind: str  # see core/credentials.py
    display_name: str
    user_id: str  # upload_user only, else empty
    allowed: str | None  # JSON list of texts; tokens of asapi only, see core/allowances.py
    create_time: int = micros()
    expire_time: int | None = micros(nullable=True)
    revoke_time: int | None = micros(nullable=True)


CREDENTIALS = table_of(CredentialRow)
_C, _O = CREDENTIALS.c, ORGANIZATIONS.c


class Found(NamedTuple):
    """A credential that is good now, and its organization."""

    digest: bytes
    id: str
    kind: str
    user_id: str
    display_name: str
    allowed: str | None
    organization_id: int | None
    organization: str | None


_BY_DIGEST = Query(
    select(_C.digest, _C.id, _C.kind, _C.user_id, _C.display_name, _C.allowed, _C.organization_id, _O.name)
    .select_from(CREDENTIALS.outerjoin(ORGANIZATIONS))
    .where(
        _C.digest == bindparam("digest"),
        _C.revoke_time.is_(None),
        or_(_C.expire_time.is_(None), _C.expire_time > bindparam("now")),
    ),
    Found,
)


class Name(NamedTuple):
    """A credential, and its secret's digest."""

    id: str
    digest: bytes


_IDS = texts("ids")
_GOOD = Query(
    select(_C.id, _C.digest).where(
        _C.id.in_(select(_IDS.c.value)),
        _C.revoke_time.is_(None),
        or_(_C.expire_time.is_(None), _C.expire_time > bindparam("now")),
    ),
    Name,
)


async def good_of(tx: Tx, ids: Sequence[str]) -> list[Name]:
    """Return those of these credentials that are neither revoked nor expired."""
    return await tx.all(_GOOD, ids=orjson.dumps(ids).decode(), now=tx.now)


async def good_by_digest(tx: Tx, digest: bytes) -> Found | None:
    """Return the credential with this digest if it is neither revoked nor expired."""
    return await tx.one(_BY_DIGEST, digest=digest, now=tx.now)


class Stored(NamedTuple):
    """A credential, good or not."""

    id: str
    kind: str
    organization: str | None
    display_name: str
    user_id: str
    allowed: str | None
    create_time: int
    expire_time: int | None
    revoke_time: int | None


class Holder(NamedTuple):
    """Whose a digest is."""

    id: str


_STORED = select(
    _C.id, _C.kind, _O.name, _C.display_name, _C.user_id, _C.allowed, _C.create_time, _C.expire_time, _C.revoke_time
).select_from(CREDENTIALS.outerjoin(ORGANIZATIONS))  # fmt: skip
_NEWEST_FIRST = _STORED.order_by(_C.id.desc())  # Ids grow with time.
_PAGE = _NEWEST_FIRST.where(_C.id < bindparam("before")).limit(bindparam("most", type_=Integer))
_BEYOND_ALL_IDS = "~"

_BY_ID = Query(_STORED.where(_C.id == bindparam("credential_id")), Stored)
_BY_ID_OF_ORGANIZATION = Query(
    _STORED.where(_C.id == bindparam("credential_id"), _C.organization_id == bindparam("organization")), Stored
)
_PAGE_OF_ORGANIZATION = Query(_PAGE.where(_C.organization_id == bindparam("organization")), Stored)
_PAGE_OF_HOUSE = Query(_PAGE.where(_C.organization_id.is_(None)), Stored)
_PAGE_OF_ALL = Query(_PAGE, Stored)
_LIVE_FIRST = Query(
    _STORED.where(_C.organization_id == bindparam("organization"))
    .order_by(case((_C.revoke_time.is_(None), 0), else_=1), _C.id.desc())
    .limit(bindparam("most", type_=Integer)),
    Stored,
)
_HOLDER = Query(select(_C.id).where(_C.digest == bindparam("digest")), Holder)
_INSERT = Command(insert(CREDENTIALS))
_REVOKE = Command(
    update(CREDENTIALS)
    .where(_C.id == bindparam("credential_id"), _C.revoke_time.is_(None))
    .values(revoke_time=bindparam("now"))
)
_REPLACE = Command(
    update(CREDENTIALS).where(_C.id == bindparam("credential_id")).values(digest=bindparam("new_digest"))
)


async def by_id(tx: Tx, credential_id: str, *, organization: int | None) -> Stored | None:
    """Return the credential, if it is of this organization; None asks for anybody's."""
    if organization is None:
        return await tx.one(_BY_ID, credential_id=credential_id)
    return await tx.one(_BY_ID_OF_ORGANIZATION, credential_id=credential_id, organization=organization)


async def page_of(tx: Tx, organization: int | None, *, before: str, most: int) -> list[Stored]:
    """Return credentials of an organization (None: of the house), newest first, those before an id ("": all)."""
    before = before or _BEYOND_ALL_IDS
    if organization is None:
        return await tx.all(_PAGE_OF_HOUSE, before=before, most=most)
    return await tx.all(_PAGE_OF_ORGANIZATION, before=before, most=most, organization=organization)


async def page_of_all(tx: Tx, *, before: str, most: int) -> list[Stored]:
    """Return credentials of everybody, newest first, those before an id ("": all)."""
    return await tx.all(_PAGE_OF_ALL, before=before or _BEYOND_ALL_IDS, most=most)


async def live_first(tx: Tx, *, organization: int, most: int) -> list[Stored]:
    """Return credentials of an organization: those that are not revoked, then those that are, each newest first."""
    return await tx.all(_LIVE_FIRST, organization=organization, most=most)


async def is_taken(tx: Tx, digest: bytes) -> bool:
    """Say whether a credential, good or not, has this digest."""
    return await tx.one(_HOLDER, digest=digest) is not None


async def add(
    tx: Tx,
    *,
    credential_id: str,
    organization: int | None,
    digest: bytes,
    kind: str,
    display_name: str,
    user_id: str,
    expire_time: int | None,
    allowed: str | None = None,
) -> None:
    """Add a credential, created now. The digest must be free."""
    await tx.run(
        _INSERT,
        id=credential_id,
        organization_id=organization,
        digest=digest,
        kind=kind,
        display_name=display_name,
        user_id=user_id,
        allowed=allowed,
        create_time=tx.now,
        expire_time=expire_time,
        revoke_time=None,
    )


async def revoke(tx: Tx, credential_id: str) -> None:
    """Revoke a credential now; one that is revoked stays as it is."""
    await tx.run(_REVOKE, credential_id=credential_id, now=tx.now)


async def replace_digest(tx: Tx, credential_id: str, digest: bytes) -> None:
    """Give a credential another secret. The digest must be free."""
    await tx.run(_REPLACE, credential_id=credential_id, new_digest=digest)
