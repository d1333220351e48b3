"""Reads the client certificate that the edge verified.

Only its SHA-256 is believed, and only because every listener of the server is a unix socket in a folder of mode 0700,
behind an edge that removes what clients send under this name.
"""

import re

from server.rpc.door import Metadata

_HASH = re.compile(r"(?:^|;)Hash=([0-9a-f]{64})(?:;|$)")


def certificate_digest(metadata: Metadata) -> bytes | None:
    """Return the SHA-256 of the caller's certificate; None if it sent none."""
    found = _HASH.search(str(metadata.get("x-forwarded-client-cert", "")))
    return bytes.fromhex(found[1]) if found else None
