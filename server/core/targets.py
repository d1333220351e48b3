"""Targets: what a rule applies to. A simple one is text; others are objects, written as they are in JSON.

"group:servers"
{"include": {"or": ["special:all"]}, "exclude": {"and": ["group:a", {"or": ["group:b", "group:c"]}]}}
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from server.core.errors import Fault

Target = str | dict[str, Any]

MAX_TARGETS = 10_000  # of a rule, those within others included
MAX_DEPTH = 10  # groups within each other
_SIMPLE = re.compile(r"(?:group|node|policyServer):(.{1,255})")
_SPECIAL = frozenset(
    f"special:{name}" for name in ("all", "all_exceptPolicyServers", "all_servers_with_role", "all_nodes_without_role")
)
_EMPTY: dict[str, list[Any]] = {"or": []}


class NoTarget(ValueError):
    """The value is no target. The text says what of it."""


def read(values: Sequence[Any], path: str) -> tuple[tuple[Target, ...], list[Fault]]:
    """Return the targets, each once and composites with both of their parts, and what is wrong with them."""
    if _count(values) > MAX_TARGETS:
        return (), [Fault(path, f"must be at most {MAX_TARGETS} targets")]
    targets: dict[str, Target] = {}
    faults = []
    for number, value in enumerate(values):
        try:
            target = _target(value)
        except NoTarget as error:
            faults.append(Fault(f"{path}[{number}]", str(error)))
        else:
            targets.setdefault(key(target), target)
    found = tuple(targets.values())
    if not faults and len(found) > 1 and not all(isinstance(target, str) for target in found):
        faults.append(Fault(path, "must be one composite target, or simple ones"))
    return found, faults


def key(target: Target) -> str:
    """Return what two targets have in common if they are the same."""
    return orjson.dumps(target, option=orjson.OPT_SORT_KEYS).decode()


def _target(value: Any) -> Target:
    if isinstance(value, str):
        return _simple(value)
    if isinstance(value, dict) and value and not value.keys() - {"include", "exclude"}:
        return {part: _group(value.get(part, _EMPTY), 1) for part in ("include", "exclude")}
    raise NoTarget('must be a simple target, or a composite one of "include" and "exclude"')


def _simple(text: str) -> str:
    found = _SIMPLE.fullmatch(text)
    if text in _SPECIAL or (found and found[1].isprintable()):
        return text
    raise NoTarget(f"{text} is not a valid RuleTarget" if text.isprintable() else "has characters that no target has")


def _group(value: Any, depth: int) -> dict[str, list[Any]]:
    if depth > MAX_DEPTH:
        raise NoTarget(f"is nested deeper than {MAX_DEPTH} levels")
    match value:
        case {"or": list(members)} | {"and": list(members)} if len(value) == 1:
            operator = next(iter(value))
            return {operator: [_simple(one) if isinstance(one, str) else _group(one, depth + 1) for one in members]}
    raise NoTarget('must have groups that say either "or" or "and", each with a list of targets')


def _count(values: Sequence[Any]) -> int:
    """Return how many texts there are, whatever the values are."""
    return sum(1 for _ in _texts(values))


def _texts(values: Any) -> Iterator[str]:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
