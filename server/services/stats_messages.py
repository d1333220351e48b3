"""Stats and filters, from the messages of StatService to what the verbs take."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from server.core import exactjson
from server.core.errors import MAX_FAULTS, Fault, InvalidFields, invalid
from server.core.exactjson import MalformedJson
from server.core.pages import unknown_token
from server.core.stats import ORDERS, Stat
from server.core.stats_content import REQUIRED, Values, read_changes, read_new, time_text
from server.core.stats_filters import MAX_FILTERS, MAX_VALUES, BadValue, Condition, Operator, Value, is_field, values_of
from server.services.times import micros_of, timestamp
from server.store.stats_filters import Order, Place
from taskhouse.v1 import stats_pb2 as pb

MAX_BATCH = 5_000
ID_LENGTH = 24
_ID = re.compile(r"[0-9a-f]{24}")
_OPERATORS = {
    pb.STAT_OPERATOR_UNSPECIFIED: Operator.EXACT,
    pb.STAT_OPERATOR_EQUAL: Operator.EXACT,
    pb.STAT_OPERATOR_EQUAL_IGNORING_CASE: Operator.IEXACT,
    pb.STAT_OPERATOR_GREATER: Operator.GT,
    pb.STAT_OPERATOR_GREATER_OR_EQUAL: Operator.GTE,
    pb.STAT_OPERATOR_LESS: Operator.LT,
    pb.STAT_OPERATOR_LESS_OR_EQUAL: Operator.LTE,
    pb.STAT_OPERATOR_IN: Operator.IN,
    pb.STAT_OPERATOR_ALL: Operator.ALL,
    pb.STAT_OPERATOR_CONTAINS: Operator.CONTAINS,
    pb.STAT_OPERATOR_CONTAINS_IGNORING_CASE: Operator.ICONTAINS,
    pb.STAT_OPERATOR_STARTS_WITH: Operator.STARTSWITH,
    pb.STAT_OPERATOR_STARTS_WITH_IGNORING_CASE: Operator.ISTARTSWITH,
    pb.STAT_OPERATOR_ENDS_WITH: Operator.ENDSWITH,
    pb.STAT_OPERATOR_ENDS_WITH_IGNORING_CASE: Operator.IENDSWITH,
    pb.STAT_OPERATOR_EXISTS: Operator.EXISTS,
    pb.STAT_OPERATOR_SIZE: Operator.SIZE,
}
_CHANGEABLE = (
    "uuid", "anr_number", "anr_uuid", "type", "day", "week", "month", "quarter", "year", "data", "create_time",
)  # fmt: skip
_NAMES = {"anr": "anr_number", "created_at": "create_time"}
"""The messages' fields, by the documented names of what they hold."""
_DOCUMENTED = {"create_time": "created_at"}
_COMPARED = frozenset({Operator.EXACT, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.IN, Operator.ALL})
_SPELLED = ("uuid", "id", "anr", "created_at", "updated_at")  # Fields whose values have one spelling in the store.
_WHOLE = ("day", "week", "month", "quarter", "year")


def stat_to_proto(stat: Stat) -> pb.Stat:
    """Render a stat."""
    message = pb.Stat(
        id=stat.id,
        uuid=stat.uuid,
        organization=stat.organization,
        type=stat.type,
        day=stat.day,
        week=stat.week,
        month=stat.month,
        quarter=stat.quarter,
        year=stat.year,
        data=stat.data,
        create_time=timestamp(stat.create_time),
        update_time=timestamp(stat.update_time),
    )
    if stat.anr_uuid is None:
        message.anr_number = stat.anr_number or 0
    else:
        message.anr_uuid = stat.anr_uuid
    return message


def contents_of(messages: Sequence[pb.Stat], prefix: str) -> list[Values]:
    """Return what new stats hold. Raises InvalidFields; the fields of its faults begin with the prefix."""
    if len(messages) > MAX_BATCH:
        raise invalid(f"{prefix}stats", f"must be at most {MAX_BATCH}")
    contents: list[Values] = []
    faults: list[Fault] = []
    for number, message in enumerate(messages):
        try:
            contents.append(_read(*_given(message), read_new, f"{prefix}stats[{number}]."))
        except InvalidFields as refusal:
            faults += refusal.faults
            if len(faults) > MAX_FAULTS:
                break
    if faults:
        raise InvalidFields(tuple(faults))
    return contents


def changes_of(message: pb.Stat, paths: Sequence[str]) -> Values:
    """Return what the fields that a mask names are changed to. Raises InvalidFields."""
    if not paths or not set(paths).issubset(_CHANGEABLE):
        raise invalid("update_mask", f"must name some of {', '.join(_CHANGEABLE)}")
    wanted = {"anr" if name.startswith("anr_") else _DOCUMENTED.get(name, name) for name in paths}
    given, faults = _given(message)
    if "anr" in wanted and message.WhichOneof("anr") not in paths:
        faults.append(Fault("anr", REQUIRED))
    known = {name: given.get(name) for name in wanted}
    return _read(known, [fault for fault in faults if fault.field in wanted], read_changes, "stat.")


def conditions_of(filters: Sequence[pb.StatFilter]) -> tuple[Condition, ...]:
    """Return the filters as conditions. Raises InvalidFields."""
    if len(filters) > MAX_FILTERS:
        raise invalid("filters", f"must be at most {MAX_FILTERS}")
    conditions, faults = [], []
    for number, given in enumerate(filters):
        try:
            conditions.append(_condition(given))
        except BadValue as bad:
            faults.append(Fault(f"filters[{number}]", str(bad)))
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(conditions)


def order_of(order_by: str) -> Order:
    """Return the order that is asked for. Raises InvalidFields."""
    column = ORDERS.get(order_by.removeprefix("-") or "id")
    if column is None or order_by == "-":
        raise invalid("order_by", f"must be one of {', '.join(ORDERS)}, after - for the descending order")
    return Order(column, descending=order_by.startswith("-"))


def key_of(place: Place) -> str:
    """Return the key of a place in a list, for its page token."""
    return f"{place.id}{place.value if isinstance(place.value, int) else place.value.encode().hex()}"


def place_of(key: str, order: Order) -> Place:
    """Return the place that a key of this order is of. Raises InvalidFields."""
    stat_id, value = key[:ID_LENGTH], key[ID_LENGTH:]
    if not _ID.fullmatch(stat_id):
        raise unknown_token()
    try:
        if order.column in ("id", "type"):
            return Place(bytes.fromhex(value).decode(), stat_id)
        return Place(int(value), stat_id)
    except ValueError as error:
        raise unknown_token() from error


def _read(
    given: dict[str, Any], faults: list[Fault], read: Callable[[Mapping[str, Any]], Values], prefix: str
) -> Values:
    """Return what a stat says. Raises InvalidFields with these faults and those that are found."""
    values: Values = {}
    try:
        values = read(given)
    except InvalidFields as refusal:
        before = {fault.field for fault in faults}
        faults = [*faults, *(fault for fault in refusal.faults if fault.field not in before)]
    if faults:
        told = (Fault(prefix + _NAMES.get(fault.field, fault.field), fault.description) for fault in faults)
        raise InvalidFields(tuple(told))
    return values


def _given(message: pb.Stat) -> tuple[dict[str, Any], list[Fault]]:
    """Return a stat as JSON of the documented API would say it, and what cannot be said so."""
    faults: list[Fault] = []
    given: dict[str, Any] = {
        "type": message.type,
        "day": message.day,
        "week": message.week,
        "month": message.month,
    }
    if anr := message.WhichOneof("anr"):
        given["anr"] = getattr(message, anr)
    if uuid := message.uuid:
        given["uuid"] = uuid
    if message.HasField("quarter"):
        given["quarter"] = message.quarter
    if message.HasField("year"):
        given["year"] = message.year
    if message.HasField("create_time"):
        try:
            given["created_at"] = time_text(micros_of(message.create_time, "created_at"))
        except InvalidFields as refusal:
            faults += refusal.faults
    try:
        given["data"] = exactjson.read(message.data) if message.data else None
    except MalformedJson as malformed:
        faults.append(Fault("data", f"must be JSON{f': {malformed}' if malformed.args else ''}"))
    return given, faults


def _condition(given: pb.StatFilter) -> Condition:
    if not is_field(given.field):
        raise BadValue("field: there is no such field")
    if given.path and given.field != "data":
        raise BadValue("path: only data has paths")
    operator = _OPERATORS.get(given.operator)
    if operator is None:
        raise BadValue("operator: there is no such operator")
    if len(given.values) > MAX_VALUES:
        raise BadValue(f"values: must be at most {MAX_VALUES}")
    values = tuple(_values(given, operator))
    if operator is Operator.EXISTS and not values:
        values = (True,)
    if operator not in (Operator.IN, Operator.ALL) and len(values) != 1:
        raise BadValue("values: must be one value")
    return Condition(given.field, tuple(given.path), operator, given.negated, values)


def _values(given: pb.StatFilter, operator: Operator) -> Iterator[Value]:
    allowed = _kinds(given.field, operator)
    for value in given.values:
        kind = value.WhichOneof("kind")
        if kind is None or (kind != "missing" and kind not in allowed):
            raise BadValue(f"values: must be {' or '.join(allowed)}")
        if kind == "missing":
            if operator not in (Operator.EXACT, Operator.IN, Operator.ALL):
                raise BadValue(f"values: must be {' or '.join(allowed)}")
            yield None
            continue
        found = getattr(value, kind)
        if kind == "number" and not math.isfinite(found):
            raise BadValue("values: must be finite")
        if kind == "text" and given.field in _SPELLED and operator in _COMPARED:
            [found] = values_of(given.field, Operator.EXACT, found)
            if found is None or (given.field == "anr" and isinstance(found, int)):
                raise BadValue("values: must be a UUID" if given.field == "anr" else "values: must not be empty")
        yield found


def _kinds(field: str, operator: Operator) -> tuple[str, ...]:
    """Return which kinds of value the field is compared with."""
    if operator is Operator.EXISTS:
        return ("truth",)
    if operator is Operator.SIZE:
        return ("integer",)
    if operator not in _COMPARED:
        return ("text",)
    if field == "data":
        return ("text", "integer", "number", "truth")
    return ("integer", "text") if field == "anr" else ("integer",) if field in _WHOLE else ("text",)
