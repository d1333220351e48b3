"""Allowances: what a token of asapi may ask for, where that is not the whole catalogue.

They are written as they are given: "icloud/fetch-data" allows an action, "icloud/fetch-data:data=sms,photos" allows it
with some values of a parameter only. Of an action that is named several times each parameter may hold the values that
are named for it anywhere, and parameters that are not named are free.
"""

import re
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType

from server.core.catalogue import HOUSE_SERVICE, Action, Service, listed
from server.core.errors import Fault, FaultKind

MAX_ALLOWANCES = 100
MAX_LENGTH = 1000  # of each, in characters
_SLUG = "[a-z0-9_-]{1,63}"
_WRITTEN = re.compile(rf"({_SLUG})/({_SLUG})(?::({_SLUG})=(.*))?")

Limits = Mapping[str, frozenset[str]]
"""By slugs of parameters, the values that each may hold; parameters that are not here are free."""

_FREE: Limits = MappingProxyType({})


def faults_of(texts: Sequence[str]) -> list[Fault]:
    """Return what is wrong with the allowances of a new token, by the paths of its request's field `allow`."""
    faults = [] if len(texts) <= MAX_ALLOWANCES else [Fault("allow", f"must be at most {MAX_ALLOWANCES}")]
    rule = f"must be SERVICE/ACTION or SERVICE/ACTION:PARAMETER=VALUE,…, of at most {MAX_LENGTH} characters"
    return faults + [Fault(f"allow[{number}]", rule) for number, text in enumerate(texts) if not _is_written(text)]


class Allowances:
    """All that a token may ask for. Without any it is everything but the house's own service."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take texts that have no faults."""
        self._limits: dict[tuple[str, str], dict[str, frozenset[str]]] = {}
        for text in texts:
            found = _WRITTEN.fullmatch(text)
            assert found  # noqa: S101 - its faults were looked for when the token was made.
            service, action, parameter, values = found.groups()
            limits = self._limits.setdefault((service, action), {})
            if parameter:
                limits[parameter] = limits.get(parameter, frozenset()) | frozenset(listed(values))

    def has_service(self, service: str) -> bool:
        """Say whether anything may be asked of the service, by its slug."""
        if not self._limits:
            return service != HOUSE_SERVICE
        return any(service == allowed for allowed, _ in self._limits)

    def limits(self, service: str, action: str) -> Limits | None:
        """Return what holds for the parameters of an action; None: it may not be asked for at all."""
        if not self._limits:
            return _FREE if service != HOUSE_SERVICE else None
        return self._limits.get((service, action))

    def of(self, services: Sequence[Service]) -> list[Service]:
        """Return what may be asked for, of all that can be."""
        found = [
            service._replace(
                actions=tuple(
                    narrowed(action, limits)
                    for action in service.actions
                    if (limits := self.limits(service.slug, action.slug)) is not None
                )
            )
            for service in services
        ]
        return [service for service in found if service.actions]


def narrowed(action: Action, limits: Limits) -> Action:
    """Return the action with those of its permissions' values that the limits leave."""
    permissions = (
        one._replace(values=tuple(value for value in one.values if value in limits.get(one.slug, one.values)))
        for one in action.permissions
    )
    return action._replace(permissions=tuple(permissions))


def faults_of_values(limits: Limits, given: Mapping[str, str], *, lists: Set[str]) -> list[Fault]:
    """Return which parameters hold what the limits do not leave them. Those that are no lists hold one value."""
    held = {slug: listed(text) if slug in lists else (text,) for slug, text in given.items() if text and slug in limits}
    refused = {slug: [one for one in values if one not in limits[slug]] for slug, values in held.items()}
    return [
        Fault(slug, f"may not hold {', '.join(values)}", FaultKind.NOT_PERMITTED)
        for slug, values in refused.items()
        if values
    ]


def _is_written(text: str) -> bool:
    found = _WRITTEN.fullmatch(text)
    if not found or len(text) > MAX_LENGTH or not text.isprintable():
        return False
    return found[3] is None or bool(listed(found[4]))
