"""Callers' own JSON, read strictly and told again: ASCII, `, ` and `: ` between its parts, and else as it was.

Numbers keep their digits, whatever Python could make of them, and objects keep the order of their members.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

MAX_DEPTH = 100  # lists and objects within each other
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"[\[\]{}]")
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_EXPONENT_DIGITS = 12
_BLANKS = " \t\n\r"
_SAFE_DIGITS = 18  # as many always fit into 64 bits


class MalformedJson(ValueError):
    """The text is no JSON; or, if this error has a text, such JSON as cannot be kept."""


class Number:
    """A number that Python would write otherwise than it came."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def read(text: str) -> Any:
    """Return what the text says: as Python has it, but for Numbers. Raises MalformedJson."""
    return _read(text, _decoder.decode)


def read_first(text: str) -> tuple[Any, str]:
    """Return what the text begins with, as `read` returns it, and what follows that. Raises MalformedJson."""
    text = text.lstrip(_BLANKS)
    value, end = _read(text, _decoder.raw_decode)
    return value, text[end:].lstrip(_BLANKS)


def _read(text: str, decode: Callable[[str], Any]) -> Any:
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    try:
        return decode(text)
    except RecursionError as error:
        raise MalformedJson("it is nested too deep") from error
    except json.JSONDecodeError as error:
        raise MalformedJson from error


def write(value: Any) -> str:
    """Return what `read` returned, or any part of it, as text."""
    try:
        return _encode(value)
    except TypeError:  # There is a Number in it.
        return _write(value)


def same(one: str, other: str) -> bool:
    """Say whether two texts that `write` made differ in nothing but the order of objects' members."""
    if one == other or len(one) != len(other):
        return one == other
    return write(_in_order(read(one))) == write(_in_order(read(other)))


def point_and_digits(number: int | float | Number) -> tuple[bool, int, str]:
    """Return a number as (negative, point, digits): ±0.DIGITS times ten to the power of POINT; of zero, no digits."""
    text = number.text if isinstance(number, Number) else repr(number)
    found = _NUMBER.fullmatch(text)
    assert found  # noqa: S101 - JSON has no other numbers.
    sign, whole, fraction, power = found.groups()
    digits = whole + (fraction or "")
    stripped = digits.lstrip("0")
    exponent = 0
    if power:
        # With so many digits it is beyond any that is compared with.
        size = int(power.lstrip("+-").lstrip("0")[:_EXPONENT_DIGITS] or "0")
        exponent = -size if power.startswith("-") else size
    return sign == "-", len(whole) - (len(digits) - len(stripped)) + exponent, stripped.rstrip("0")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("a member of an object stands twice")
    return members


def _in_order(value: Any) -> Any:
    match value:
        case dict():
            return {key: _in_order(item) for key, item in sorted(value.items())}
        case list():
            return [_in_order(item) for item in value]
    return value


def _whole(text: str) -> int | Number:
    return int(text) if len(text) <= _SAFE_DIGITS and text != "-0" else Number(text)


def _real(text: str) -> float | Number:
    number = float(text)
    return number if repr(number) == text else Number(text)


def _constant(name: str) -> NoReturn:
    del name  # NaN, for example.
    raise MalformedJson


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_constant)
_encode: Callable[[Any], str] = json.JSONEncoder(check_circular=False).encode


def _write(value: Any) -> str:
    match value:
        case Number():
            return value.text
        case dict():
            return "{" + ", ".join(f"{_encode(key)}: {_write(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_write, value)) + "]"
    return _encode(value)


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedJson(f"it is nested deeper than {MAX_DEPTH} levels")
