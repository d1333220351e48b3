"""Finds the caller behind a credential, anew on every call, so that a revoked one is refused from its next call on."""

import asyncio
import hmac
import logging
from contextlib import suppress

from server.core import credentials
from server.core.caller import Caller
from server.core.errors import CredentialUnknown
from server.store.engine import Store, StoreUnavailable

log = logging.getLogger("taskhouse.callers")

RECHECK_SECONDS = (
    0.5  # How often open streams' credentials are looked at: revocation must cut them off within a second.
)
EXPIRY_SECONDS = 5.0  # As above, while nothing is written at all.
MAX_LOOK = 500  # Credentials in one read: about a millisecond of the event loop.

Name = tuple[str, bytes]
"""A credential's id and the digest by which it was presented."""


class Callers:
    """The one lookup for both types of credential; and one look at the credentials of all streams that are open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[Name, set[asyncio.Future[None]]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def find(self, digest: bytes, *, token: bool, api: str = "grpc") -> Caller:
        """Return who presents this digest. Raises CredentialUnknown, for revoked and expired ones as for strangers."""
        found = await self._store.read(credentials.by_digest, digest=digest, token=token, api=api)
        # The index has found equal digests already; what is secret is compared in constant time all the same.
        if found is None or not hmac.compare_digest(found.digest, digest):
            raise CredentialUnknown
        return found.caller

    async def until_revoked(self, credential_id: str, digest: bytes) -> CredentialUnknown:
        """Return, once the credential is no longer good by this digest, the refusal to give."""
        name = (credential_id, digest)
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.setdefault(name, set()).add(gone)
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({gone, self._watching}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                self._watching.result()  # Raises what nobody foresaw.
            return CredentialUnknown()
        finally:
            self._open[name].discard(gone)
            if not self._open[name]:
                del self._open[name]
            if not self._open and self._watching:
                self._watching.cancel()
                self._watching = None

    async def _watch(self) -> None:
        generation = -1
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            with suppress(TimeoutError):  # Without a change only time can end a credential.
                async with asyncio.timeout(EXPIRY_SECONDS):
                    await self._store.changed(generation)
            generation = self._store.generation
            looked_at = set(self._open)
            ids = list({credential_id for credential_id, _ in looked_at})
            good: set[Name] = set()
            try:
                for start in range(0, len(ids), MAX_LOOK):
                    good |= await self._store.read(credentials.still_good, ids=ids[start : start + MAX_LOOK])
            except StoreUnavailable as error:
                log.warning("open streams wait for the store: %s", error)
                continue
            for name in looked_at - good:
                for gone in self._open.get(name, ()):
                    if not gone.done():
                        gone.set_result(None)
