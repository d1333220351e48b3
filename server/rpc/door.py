"""A door: how one API learns of its caller's credential, and how it says no."""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn, Protocol

import grpc.aio

from server.core.caller import Caller

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Mapping[str, str | bytes]


class CredentialType(StrEnum):
    """How a credential was presented."""

    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - a kind, not a secret.


class Presented(NamedTuple):
    """A credential as it came: the SHA-256 of the certificate or of the token."""

    type: CredentialType
    digest: bytes
    api: str = "grpc"  # whose token it would be; see core/caller.py


class Door(Protocol):
    """One API's manners. Every service has one."""

    @property
    def stranger(self) -> Caller | None:
        """Who calls without a good credential, where that is nobody's fault; None: such calls are refused."""

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the caller's credential, reading only what this API reads. Raises TwoCredentials."""

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """End the call as this API documents. What its table does not know is told as a fault of the house."""


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """Return who makes the call that is being served. Public methods have nobody: LookupError."""
    return _caller.get()


def set_caller(caller: Caller) -> None:
    """Name the caller for the rest of this call's task."""
    _caller.set(caller)
