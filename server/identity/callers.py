"""Finds the caller behind a credential, anew on every call, so that a revoked one is refused from its next call on."""

import asyncio
import hmac

from server.core import credentials
from server.core.caller import Caller
from server.core.errors import CredentialUnknown
from server.store.engine import Store

RECHECK_SECONDS = 0.5  # How often an open stream's credential is looked at: revocation must cut it off within a second.


class Callers:
    """The one lookup for both types of credential."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, digest: bytes, *, token: bool, api: str = "grpc") -> Caller:
        """Return who presents this digest. Raises CredentialUnknown, for revoked and expired ones as for strangers."""
        found = await self._store.read(credentials.by_digest, digest=digest, token=token, api=api)
        # The index has found equal digests already; what is secret is compared in constant time all the same.
        if found is None or not hmac.compare_digest(found.digest, digest):
            raise CredentialUnknown
        return found.caller

    async def until_revoked(self, digest: bytes, *, token: bool, api: str = "grpc") -> CredentialUnknown:
        """Return, once the credential is no longer good, the refusal to give."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.find(digest, token=token, api=api)
            except CredentialUnknown as refusal:
                return refusal
