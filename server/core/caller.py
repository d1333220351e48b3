"""Who calls, as the verbs know it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What a credential is for. The permission table speaks of these and of nothing else."""

    UPLOAD_ANY = "upload_any"
    UPLOAD_USER = "upload_user"
    ADMIN = "admin"
    TASK_RUNNER = "task_runner"
    WEB_API = "web_api"
    WORKER = "worker"  # of the house
    OPERATOR = "operator"  # of the house
    TOKEN_READ = "grpc_read"  # noqa: S105 - a role's name.
    TOKEN_WRITE = "grpc_write"  # noqa: S105 - a role's name.
    TOKEN_ADMIN = "grpc_admin"  # noqa: S105 - a role's name.
    MONARC_READ = "monarc_read"
    MONARC_WRITE = "monarc_write"
    MONARC_ADMIN = "monarc_admin"
    ASAPI_STORE = "asapi_asstore"
    ASAPI_CHANNEL = "asapi_aschannel"
    RUDDER_READ = "rudder_read"
    RUDDER_WRITE = "rudder_write"
    STRANGER = "stranger"  # nobody: whoever calls an API whose authentication is switched off


HOUSE_ROLES = frozenset({Role.WORKER, Role.OPERATOR})
TOKENS: Mapping[str, Mapping[str, Role]] = MappingProxyType(
    {
        "grpc": {"read": Role.TOKEN_READ, "write": Role.TOKEN_WRITE, "admin": Role.TOKEN_ADMIN},
        "monarc": {"read": Role.MONARC_READ, "write": Role.MONARC_WRITE, "admin": Role.MONARC_ADMIN},
        "asapi": {"asstore": Role.ASAPI_STORE, "aschannel": Role.ASAPI_CHANNEL},
        "rudder": {"read": Role.RUDDER_READ, "write": Role.RUDDER_WRITE},
    }
)
"""What the tokens of each API may be: a role for each access, and in asapi for each way in which results come back.

A token is unknown to every API but its own.
"""
TOKEN_ROLES = frozenset(role for accesses in TOKENS.values() for role in accesses.values())


@dataclass(frozen=True, slots=True)
class Caller:
    """A credential that was found good."""

    credential_id: str
    role: Role
    organization_id: int | None  # None: the house
    organization: str  # its name; empty: the house
    user_id: str  # upload_user only, else empty
    name: str = ""  # what people call it; for the event log
    allowed: tuple[str, ...] = ()  # tokens of asapi: what they may ask for; see core/allowances.py

    @property
    def tenant(self) -> int:
        """The organization's id, for calls that only an organization's credentials may make."""
        if self.organization_id is None:
            raise ValueError("a credential of the house reached a tenant's verb: the permission table is wrong")
        return self.organization_id
