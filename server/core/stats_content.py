"""What a stat holds: how a caller's JSON becomes its values, and what is wrong with it, in the documented words."""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from server.core import exactjson
from server.core.errors import MAX_VALUE, Fault, InvalidFields, cut
from server.core.exactjson import Number
from server.core.stats_leaves import TooManyLeaves, leaves_of, storable

MAX_TYPE = 120  # characters
LEAVES_SHARE, LEAVES_FREE = 4, 64 * 1024  # Leaves may be so many times as long as the data, and so many characters.
TOO_LONG_NAMES = "has long names with too many members below them"
LEAST, MOST = -(2**63), 2**63 - 1  # of whole numbers
REQUIRED = "Field is required"
BAD_UUID = "Could not convert to UUID: badly formed hexadecimal UUID string"
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - documented times are naive, in UTC.
_MICROSECOND = timedelta(microseconds=1)

Values = dict[str, str | int | None]
"""Some of a stat's columns. `data` is JSON text, and beside it stand its `leaves`."""


class _Bad(ValueError):
    """A field's value cannot be what the field holds."""


def read_new(given: Mapping[str, Any]) -> Values:
    """Return all columns that the caller gives of a new stat. Raises InvalidFields."""
    return _read({**dict.fromkeys(_REQUIRED), **given})


def read_changes(given: Mapping[str, Any]) -> Values:
    """Return the columns that the caller changes. Raises InvalidFields."""
    return _read(given)


def time_of(text: str) -> int | None:
    """Return microseconds since 1970 of a time in ISO 8601, without a zone in UTC; None if it is none."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        return None
    *parts, fraction, zone = found.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    micros = int(f"{fraction or '0':0<6.6}")
    try:
        whole = datetime(year, month, day, hour, minute, second, micros, _zone(zone))
        return (whole.astimezone(UTC) - _EPOCH) // _MICROSECOND  # Which must be in the years 1 to 9999, too.
    except (ValueError, OverflowError):
        return None


def time_text(micros: int) -> str:
    """Return a time as it is documented: naive, in UTC, and without a fraction if that is zero."""
    minute, rest = divmod(micros, 60_000_000)
    second, fraction = divmod(rest, 1_000_000)
    return f"{_minute_text(minute)}{second:02}.{fraction:06}" if fraction else f"{_minute_text(minute)}{second:02}"


def uuid_of(text: str) -> str | None:
    """Return the UUID in lower case and with its dashes; None if it is none."""
    return str(uuid.UUID(text)) if _UUID.fullmatch(text) else None


def milliseconds(micros: int) -> int:
    """Return a time without what is below milliseconds."""
    return micros - micros % 1000


def _read(given: Mapping[str, Any]) -> Values:
    values: Values = {}
    faults = []
    for name, reader in _READERS.items():
        if name not in given:
            continue
        if given[name] is None and name in _REQUIRED:
            faults.append(Fault(name, REQUIRED))
            continue
        try:
            reader(values, name, given[name])
        except _Bad as bad:
            faults.append(Fault(name, str(bad)))
    if faults:
        raise InvalidFields(tuple(faults))
    if "data" in values:
        most = LEAVES_SHARE * len(str(values["data"])) + LEAVES_FREE
        try:
            values["leaves"] = leaves_of(given["data"], str(values.get("type", "")), most=most)
        except TooManyLeaves as error:
            raise InvalidFields((Fault("data", TOO_LONG_NAMES),)) from error
    return values


def _whole(value: Any) -> int:
    if type(value) is int and LEAST <= value <= MOST:  # Nearly always.
        return value
    try:
        number = int(float(value.text)) if isinstance(value, Number) and not _is_whole(value.text) else _int(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _Bad(f"{cut(_shown(value), MAX_VALUE)} could not be converted to int") from error
    if not LEAST <= number <= MOST:
        raise _Bad("Integer value does not fit into 64 bits")
    return number


def _int(value: Any) -> int:
    if isinstance(value, Number):
        return int(value.text)
    if not isinstance(value, int | float | str):  # As None, lists and objects.
        raise TypeError
    return int(value)


def _is_whole(text: str) -> bool:
    return not set(text) & set(".eE")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else exactjson.write(value)


def _number(values: Values, name: str, value: Any) -> None:
    values[name] = _whole(value)


def _optional(values: Values, name: str, value: Any) -> None:
    values[name] = None if value is None else _whole(value)


def _type(values: Values, name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _Bad("StringField only accepts string values")
    if len(value) > MAX_TYPE:
        raise _Bad("String value is too long")
    if storable(value) != value:
        raise _Bad("String value has characters that cannot be kept")
    values[name] = value


def _uuid(values: Values, name: str, value: Any) -> None:
    if value is None:
        return
    found = uuid_of(value) if isinstance(value, str) else None
    if found is None:
        raise _Bad(BAD_UUID)
    values[name] = found


def _anr(values: Values, name: str, value: Any) -> None:
    del name
    values["anr_number"], values["anr_uuid"] = None, uuid_of(value) if isinstance(value, str) else None
    if values["anr_uuid"]:
        return
    try:
        values["anr_number"] = _whole(value)
    except _Bad as bad:
        raise _Bad(BAD_UUID if isinstance(value, str) else str(bad)) from bad


def _data(values: Values, name: str, value: Any) -> None:
    values[name] = exactjson.write(value)


def _time(values: Values, name: str, value: Any) -> None:
    if value is None:
        return
    found = time_of(value) if isinstance(value, str) else None
    if found is None:
        raise _Bad(f'cannot parse date "{cut(_shown(value), MAX_VALUE)}"')
    values["create_time" if name == "created_at" else "update_time"] = milliseconds(found)


@lru_cache(maxsize=1024)
def _minute_text(minute: int) -> str:
    """Return all of a time before its seconds: most of what is listed together was stored together."""
    return (_NAIVE_EPOCH + timedelta(minutes=minute)).isoformat()[:-2]


def _zone(text: str | None) -> timezone:
    if not text or text in "Zz":
        return UTC
    sign, hours, minutes = text[0], text[1:3], text[3:].lstrip(":") or "0"
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)


_READERS: Mapping[str, Callable[[Values, str, Any], None]] = {
    "uuid": _uuid,
    "anr": _anr,
    "type": _type,
    "day": _number,
    "week": _number,
    "month": _number,
    "quarter": _optional,
    "year": _optional,
    "data": _data,
    "created_at": _time,
    "updated_at": _time,
}
_REQUIRED = ("anr", "type", "day", "week", "month", "data")
