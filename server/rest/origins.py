"""Where the house is, as its callers see it."""

from collections.abc import Mapping

AUTHORITY = "x-taskhouse-authority"  # the host that was asked, as the edge tells it
PROTOCOL = "x-forwarded-proto"


def origin_of(headers: Mapping[str, str], public_url: str) -> str:
    """Return `protocol://host`: the public URL, or, if that is "", what the call went to."""
    return public_url or f"{headers.get(PROTOCOL, 'http')}://{headers.get(AUTHORITY, '')}"
