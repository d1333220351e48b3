"""What filters see of a stat's `data`: its leaves, as texts that compare as the values do.

A leaf's first letter is its kind, so that values of different kinds are never equal: `s` text, `n` number, `b` truth,
`z` null, `a` list (with the number of its items), `o` object. Numbers are written so that their order is that of the
texts, exactly and whatever their size. So both engines compare text by its bytes and nothing else: their own JSON
functions differ in numbers, and PostgreSQL's refuse text that SQLite's take.

Leaves are found by path, through objects; lists are not entered. A text that is not ASCII has a second leaf, in which
case is folded, for comparisons that ignore it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any
from urllib.parse import quote

import orjson

from server.core.exactjson import Number, point_and_digits

FOLDED = "~"
FOLDED_TYPE = "~type"
NULL, LIST, TEXT, NUMBER = "z", "a", "s", "n"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL's text, or UTF-8, cannot hold
_MIDDLE, _MOST = 50_000_000, 49_999_999  # of a number's power of ten
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


class TooManyLeaves(ValueError):
    """The leaves are longer than they may be: long names with many members below them are in each of their paths."""


def leaves_of(data: Any, type_: str, *, most: float = inf) -> str:
    """Return the leaves of `data`, of `most` characters, as JSON: {path: leaf}. Raises TooManyLeaves."""
    found = _Leaves(most)
    if type_folded := folded_type(type_):
        found.all[FOLDED_TYPE] = type_folded
    found.collect("/", data)
    return orjson.dumps(found.all).decode()


def folded_type(type_: str) -> str | None:
    """Return the second leaf of a type that is not ASCII."""
    return None if type_.isascii() else type_.casefold()


def path_of(keys: Sequence[str]) -> str:
    """Return the path that these keys lead along."""
    return "/" + "/".join(map(_segment, keys))


def leaf_of(value: Any) -> str:
    """Return the leaf of a value."""
    return _LEAVES[type(value)](value)


def storable(text: str) -> str:
    """Return the text as far as both engines can hold it; what they cannot becomes U+FFFD."""
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


class _Leaves:
    """Leaves as they are collected, up to so many characters."""

    def __init__(self, most: float) -> None:
        self.all: dict[str, str] = {}
        self._left = most

    def collect(self, path: str, value: Any) -> None:
        self._add(path, leaf_of(value))
        if isinstance(value, str):
            if not value.isascii():
                self._add(FOLDED + path, TEXT + storable(value.casefold()))
        elif isinstance(value, dict):
            stem = path if path == "/" else f"{path}/"
            for key, item in value.items():
                self.collect(stem + _segment(key), item)

    def _add(self, path: str, leaf: str) -> None:
        self._left -= len(path) + len(leaf)
        if self._left < 0:
            raise TooManyLeaves
        self.all[path] = leaf


def _segment(key: str) -> str:
    return key if _PLAIN.fullmatch(key) else quote(key.encode("utf-8", "surrogatepass"), safe="") or "%"


def _in_order(number: int | float | Number) -> str:
    if type(number) is int and number > 0:
        digits = str(number)
        return f"2{len(digits) + _MIDDLE:08}{digits.rstrip('0')}"
    negative, point, digits = point_and_digits(number)
    if not digits:
        return "1"
    power = f"{min(max(point, -_MOST), _MOST) + _MIDDLE:08}"
    if negative:
        return "0" + power.translate(_COMPLEMENT) + digits.translate(_COMPLEMENT) + "~"
    return "2" + power + digits


_LEAVES: Mapping[type, Callable[[Any], str]] = {
    str: lambda value: TEXT + storable(value),
    bool: lambda value: "b1" if value else "b0",
    int: lambda value: NUMBER + _in_order(value),
    float: lambda value: NUMBER + _in_order(value),
    Number: lambda value: NUMBER + _in_order(value),
    type(None): lambda value: NULL,  # noqa: ARG005 - as the others.
    list: lambda value: f"{LIST}{len(value)}",
    dict: lambda value: "o",  # noqa: ARG005 - as the others.
}
