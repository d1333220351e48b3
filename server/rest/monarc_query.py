"""How queries of the monarc API are read: paging, and filters as `field__operator=value`."""

from collections.abc import Mapping
from typing import NamedTuple

from server.core.errors import MAX_VALUE, cut
from server.core.stats import MAX_LIMIT, ORDERS, Asked
from server.core.stats_filters import MAX_FILTERS, NEGATED, BadValue, Condition, Operator, is_field, values_of
from server.store.stats_filters import Order

DEFAULT_LIMIT = 100
MAX_SKIP = 2**62
EVERY_FIELD = "_all"
_NAMES = ("_skip", "_limit", "_fields", "_order_by", "_after", "_atomic")
_OPERATORS: Mapping[str, tuple[Operator, bool]] = {
    **{operator.value: (operator, False) for operator in Operator},
    **{name: (operator, True) for name, operator in NEGATED.items()},
}
_NOT = "not"
_HEX = frozenset("0123456789abcdef")


class BadQuery(Exception):
    """A query cannot be answered; the text says why."""


class Asking(NamedTuple):
    """What a query of stats asks for."""

    asked: Asked
    fields: frozenset[str] | None  # None: all


class Paging(NamedTuple):
    """Which part of a list is asked for."""

    skip: int
    limit: int


def asking(parameters: Mapping[str, str], *, strict: bool) -> Asking:
    """Read a query of stats. Raises BadQuery, if `strict` also for what is not known, which else is not looked at."""
    paging = paging_of(parameters)
    after = parameters.get("_after", "").lower()
    if after and not (len(after) == 24 and _HEX.issuperset(after)):
        raise BadQuery("_after must be the id of the last stat of the page before.")
    asked = Asked(
        conditions(parameters, strict=strict),
        _order(parameters.get("_order_by", ""), strict=strict),
        after or None,
        paging.skip,
        paging.limit,
    )
    return Asking(asked, fields_of(parameters))


def paging_of(parameters: Mapping[str, str], *, most: int = MAX_LIMIT) -> Paging:
    """Read `_skip` and `_limit`. Raises BadQuery."""
    skip, limit = _whole(parameters, "_skip", 0), _whole(parameters, "_limit", DEFAULT_LIMIT)
    if limit > most:
        raise BadQuery(f"The limit you set is larger than the maximum limit for this resource (max_limit = {most}).")
    return Paging(min(skip, MAX_SKIP), limit)


def fields_of(parameters: Mapping[str, str]) -> frozenset[str] | None:
    """Return the names of the fields that are asked for; None means all of them."""
    given = parameters.get("_fields", "")
    names = frozenset(name.strip() for name in given.split(","))
    return None if not given or EVERY_FIELD in names else names


def conditions(parameters: Mapping[str, str], *, strict: bool) -> tuple[Condition, ...]:
    """Read the filters. Raises BadQuery."""
    found, faults = [], []
    for name, value in parameters.items():
        field, *parts = name.split("__")
        if not is_field(field):
            if strict and name not in _NAMES:
                faults.append(f"{_shown(name)} is not known.")
            continue
        try:
            found.append(_condition(field, parts, value))
        except BadValue as bad:
            faults.append(f"{_shown(name)} {bad}.")
    if len(found) > MAX_FILTERS:
        faults.append(f"There are more than {MAX_FILTERS} filters.")
    if faults:
        raise BadQuery(" ".join(faults))
    return tuple(found)


def _condition(field: str, parts: list[str], value: str) -> Condition:
    operator, negated = Operator.EXACT, False
    if parts and parts[-1] in _OPERATORS:
        operator, negated = _OPERATORS[parts.pop()]
    if parts and parts[-1] == _NOT:
        parts.pop()
        negated = not negated
    if parts and field != "data":
        raise BadValue(f'has no operator "{_shown("__".join(parts))}"')
    return Condition(field, tuple(parts), operator, negated, values_of(field, operator, value))


def _order(given: str, *, strict: bool) -> Order:
    descending = given.startswith("-")
    column = ORDERS.get(given.removeprefix("-"))
    if column is None:
        if given and strict:
            raise BadQuery(f"_order_by must be one of {', '.join(ORDERS)}, after - for the descending order.")
        return Order()
    return Order(column, descending)


def _whole(parameters: Mapping[str, str], name: str, default: int) -> int:
    given = parameters.get(name)
    if given is None:
        return default
    digits = given[1:] if given[:1] in ("-", "+") else given
    if not (digits.isascii() and digits.isdigit()):
        raise BadQuery(f'{name} must be an integer (got "{_shown(given)}" instead).')
    if given.startswith("-") and digits.strip("0"):
        raise BadQuery(f'{name} must be a non-negative integer (got "{_shown(given)}" instead).')
    return int(digits[-20:]) if not digits[:-20].strip("0") else MAX_SKIP


def _shown(text: str) -> str:
    return cut(text, MAX_VALUE)
