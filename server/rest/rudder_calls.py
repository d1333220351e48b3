"""The calls of the rudder API: their paths, the names of their functions, and the versions that they are there in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import NamedTuple

from server.rest.exchange import unescaped_segment

VERSIONS = (2, 3, 4)
LATEST = "latest"
UNKNOWN = "unknown"  # in place of a function's name
NAMED: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        resource: {LATEST: VERSIONS[-1]} | {str(version): version for version in VERSIONS if version >= first}
        for resource, first in (("rules", 2), ("changeRequests", 3), ("info", 2))
    }
)
"""The resources, each with the versions that have it, by their names as people are told them."""
_ANY = ""  # An id, in place of what it says.
FUNCTIONS: Mapping[tuple[str, ...], Mapping[str, str]] = MappingProxyType(
    {
        ("rules",): {"GET": "listRules", "PUT": "createRule"},
        ("rules", _ANY): {"GET": "ruleDetails", "POST": "updateRule", "DELETE": "deleteRule"},
        ("changeRequests",): {"GET": "listChangeRequests"},
        ("changeRequests", _ANY): {
            "GET": "changeRequestDetails",
            "POST": "updateChangeRequest",
            "DELETE": "declineChangeRequest",
        },
        ("changeRequests", _ANY, "accept"): {"POST": "acceptChangeRequest"},
        ("info",): {"GET": "ApiGeneralInformations"},
    }
)
"""The names of the functions by the paths after the version, and by methods."""
_NONE: Mapping[str, str] = MappingProxyType({})


class Address(NamedTuple):
    """What a path says."""

    version: str | None  # as it stands there; None: the path has none
    segments: tuple[str, ...]  # what follows it, without escapes

    @property
    def functions(self) -> Mapping[str, str]:
        """The names of the path's functions, by methods; none if there is no such path."""
        segments = self.segments
        return FUNCTIONS.get((segments[0], _ANY, *segments[2:]) if len(segments) > 1 else segments, _NONE)

    @property
    def resource(self) -> str:
        """What it is about, such as "rules"; empty if nothing is known of it."""
        return self.segments[0] if self.segments and self.segments[0] in NAMED else ""

    @property
    def id(self) -> str:
        """The id or the number in it; empty if it has none."""
        return self.segments[1] if len(self.segments) > 1 else ""


def address_of(path: str) -> Address:
    """Read a path, as `path_of` returns it. A slash at its end says nothing. Raises QueryBroken."""
    path = path.removeprefix("/rudder").removeprefix("/api").strip("/")
    segments = tuple(map(unescaped_segment, path.split("/"))) if path else ()
    if not segments or segments[0] in NAMED:
        return Address(None, segments)
    return Address(segments[0], segments[1:])


@dataclass(frozen=True)
class Versions:
    """Which versions are deprecated, and since when."""

    deprecated: Mapping[int, date] = field(default_factory=dict)

    def info(self) -> dict[str, object]:
        """Return what the info call says."""
        states = [
            {"version": version, "status": "deprecated" if version in self.deprecated else "maintained"}
            for version in VERSIONS
        ]
        return {"availableVersions": {"latest": VERSIONS[-1], "all": states}}

    def headers(self, version: int | None) -> dict[str, str]:
        """Return the headers of an answer in that version: since when it is deprecated, as RFC 9745 writes it."""
        day = self.deprecated.get(version or 0)
        if day is None:
            return {}
        return {"deprecation": f"@{datetime.combine(day, time(), UTC).timestamp():.0f}"}
