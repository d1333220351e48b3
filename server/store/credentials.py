"""Credentials: keys and tokens, found by the SHA-256 of the certificate or of the token."""

from typing import NamedTuple

from sqlalchemy import bindparam, or_, select
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Query, Tx
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
    organization_id: int | None
    organization: str | None


_BY_DIGEST = Query(
    select(_C.digest, _C.id, _C.kind, _C.user_id, _C.organization_id, _O.name)
    .select_from(CREDENTIALS.outerjoin(ORGANIZATIONS))
    .where(
        _C.digest == bindparam("digest"),
        _C.revoke_time.is_(None),
        or_(_C.expire_time.is_(None), _C.expire_time > bindparam("now")),
    ),
    Found,
)


async def good_by_digest(tx: Tx, digest: bytes) -> Found | None:
    """Return the credential with this digest if it is neither revoked nor expired."""
    return await tx.one(_BY_DIGEST, digest=digest, now=tx.now)
