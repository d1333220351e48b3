"""Credentials: keys and tokens."""

from typing import NamedTuple

from server.core.caller import HOUSE_ROLES, TOKEN_ROLES, Caller, Role
from server.store import credentials as store
from server.store.engine import Tx


class Good(NamedTuple):
    """A credential that is neither revoked nor expired."""

    digest: bytes
    caller: Caller


async def by_digest(tx: Tx, *, digest: bytes, token: bool) -> Good | None:
    """Return whose credential this is; None if it is not good, or of the other type."""
    found = await store.good_by_digest(tx, digest)
    if found is None or (Role(found.kind) in TOKEN_ROLES) is not token:
        return None
    role = role_of(Role(found.kind), house=found.organization_id is None)
    if role is None:
        return None
    caller = Caller(found.id, role, found.organization_id, found.organization or "", found.user_id)
    return Good(found.digest, caller)


def role_of(kind: Role, *, house: bool) -> Role | None:
    """Return what a credential of this kind may act as; None for a kind that the house, or an organization, cannot have.

    A token of the house acts as a worker if it may write, and as an operator if it has admin access.
    """
    if not house:
        return None if kind in HOUSE_ROLES else kind
    if kind in HOUSE_ROLES:
        return kind
    return {Role.TOKEN_WRITE: Role.WORKER, Role.TOKEN_ADMIN: Role.OPERATOR}.get(kind)
