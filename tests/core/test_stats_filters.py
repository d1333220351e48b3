"""Filters on stats, on both engines, against a filter in plain Python."""

import asyncio
import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.core import stats
from server.core.caller import Role
from server.core.stats import Effort
from server.core.stats_content import read_new
from server.core.stats_filters import Condition, Operator
from server.store.opening import open_store
from tests.core import scenes

MISSING = object()
SPECIAL = [
    "",
    "risk",
    "Risk",
    "RISK1",
    "ÉTÉ",
    "été",
    "straße",
    "STRASSE",
    "İ",
    "a%b",
    "a_b",
    "a.b",
    "\\",
    "'--",
    '"',
    "s",
    "z",
]
WORDS = st.sampled_from(SPECIAL) | st.text(max_size=4)
TYPES = WORDS.filter(lambda text: "\0" not in text and text.isprintable()).map(
    lambda text: text.encode("utf-8", "ignore").decode()
)
NUMBERS = (
    st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.1, 0.5, 1e300, -1e300, 5e-324, 2**53, 2**53 + 1, 1.0, 10, 100, 99])
)
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS.filter(lambda text: not has_surrogates(text))
KEYS = st.sampled_from(["a", "b", "c.d", "$e", "gt", "é", "0", ""])
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
WHOLE = st.integers(-2, 5) | st.sampled_from([2**40, 2**63 - 1, -(2**63)])
ANRS = st.integers(1, 3) | st.sampled_from(
    ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]
)
TIMES = st.sampled_from(
    ["2020-05-11T21:56:49.584000", "2020-05-12", "1999-12-31 23:59Z", "2020-05-11T23:56:49.584+02:00"]
)
STATS = st.fixed_dictionaries(
    {
        "anr": ANRS,
        "type": TYPES,
        "day": WHOLE,
        "week": WHOLE,
        "month": WHOLE,
        "data": DATA.filter(lambda data: data is not None),
        "created_at": TIMES,
    },
    optional={"year": WHOLE, "quarter": WHOLE},
)
ORDERED = [Operator.GT, Operator.GTE, Operator.LT, Operator.LTE]
COUNT = itertools.count()


def has_surrogates(text):
    return any("\ud800" <= character <= "\udfff" for character in text)


def conditions(field, path, values):
    """Conditions on a field, with values of its own kind and others that can be asked for it."""

    def of(operator):
        if operator is Operator.EXISTS:
            several = st.booleans().map(lambda value: (value,))
        elif operator is Operator.SIZE:
            several = st.integers(0, 3).map(lambda value: (value,))
        elif operator in (Operator.IN, Operator.ALL):
            several = st.lists(values, max_size=4).map(tuple)
        elif operator in ORDERED or operator is Operator.EXACT:
            several = values.map(lambda value: (value,))
        else:
            several = WORDS.filter(lambda text: not has_surrogates(text)).map(lambda value: (value,))
        return st.builds(Condition, st.just(field), path, st.just(operator), st.booleans(), several)

    return st.sampled_from(list(Operator)).flatmap(of)


MICROS = st.sampled_from([1589234209584000, 1589234209584001, 1589241600000000, 0])
CONDITIONS = st.one_of(
    *(conditions(field, st.just(()), st.none() | WHOLE | st.sampled_from([2**63, -(2**80), 10**30]))
      for field in ("day", "week", "month", "year", "quarter")),
    conditions("type", st.just(()), st.none() | WORDS.filter(lambda text: not has_surrogates(text))),
    conditions("anr", st.just(()), st.none() | ANRS),
    conditions("created_at", st.just(()), st.none() | MICROS),
    conditions("data", st.lists(KEYS, max_size=3).map(tuple), SCALARS),
)  # fmt: skip


def kind(value):
    return "truth" if isinstance(value, bool) else "number" if isinstance(value, int | float) else type(value).__name__


def field_of(stat, condition):
    """What is compared: the value, or MISSING."""
    if condition.field == "data":
        value = stat["data"]
        for key in condition.path:
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        return value
    if condition.field == "created_at":
        text = stat["created_at"].replace("Z", "+00:00")
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000) * 1000
    return stat.get(condition.field, MISSING)


def same(value, wanted):
    if wanted is None or value is MISSING or value is None:
        return wanted is None and (value is None or value is MISSING)
    return kind(value) == kind(wanted) and not isinstance(value, list | dict) and value == wanted


def clean(value):
    """Text as it can be stored."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def holds(stat, condition):
    return plainly_holds(stat, condition) is not condition.negated


def plainly_holds(stat, condition):
    value, wanted = clean(field_of(stat, condition)), [clean(each) for each in condition.values]
    operator = condition.operator
    if operator is Operator.EXISTS:
        return (value is not MISSING) is wanted[0]
    if operator is Operator.SIZE:
        return isinstance(value, list) and len(value) == wanted[0]
    if operator is Operator.EXACT:
        return same(value, wanted[0])
    if operator is Operator.IN:
        return any(same(value, each) for each in wanted)
    if operator is Operator.ALL:
        return bool(wanted) and all(same(value, each) for each in wanted)
    [wanted] = wanted
    if value is MISSING or kind(value) != kind(wanted) or kind(value) not in ("number", "str"):
        return False
    if operator in ORDERED:
        return {"gt": value > wanted, "gte": value >= wanted, "lt": value < wanted, "lte": value <= wanted}[operator]
    if not isinstance(value, str):
        return False
    name = operator.value
    if name.startswith("i"):
        name, value, wanted = name[1:], value.casefold(), wanted.casefold()
    return {
        "exact": value == wanted,
        "contains": wanted in value,
        "startswith": value.startswith(wanted),
        "endswith": value.endswith(wanted),
    }[name]


@pytest.fixture
def searches(address):
    """Returns what stores stats for a new organization and returns, search by search, the numbers of those found."""
    with asyncio.Runner() as runner:
        store = runner.run(open_store(address))

        async def found(rows, searched):
            caller = await scenes.organization(store, f"o{next(COUNT)}", Role.MONARC_WRITE)
            contents = [read_new(row) for row in rows]
            made = await store.write(stats.create, caller=caller, contents=contents)
            ids = [stat.id for stat in made]
            assert ids == sorted(ids)
            pages = [
                await store.read(stats.page, caller=caller, asked=stats.Asked(tuple(asked)), effort=Effort.QUICK)
                for asked in searched
            ]
            return [[ids.index(stat.id) for stat in page.stats] for page in pages]

        yield lambda rows, searched: runner.run(found(rows, searched))
        runner.run(store.close())


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rows=st.lists(STATS, max_size=6),
    searched=st.lists(st.lists(CONDITIONS, min_size=1, max_size=3), min_size=1, max_size=8),
)
def test_filters_find_what_a_filter_in_plain_python_finds(searches, rows, searched):
    expected = [
        [number for number, row in enumerate(rows) if all(holds(row, condition) for condition in asked)]
        for asked in searched
    ]
    assert searches(rows, searched) == expected
