"""What the real MONARC stats service of May 2020 was asked, and what it answered, one after the other.

It was run at the revisions 556cbd0 and fad4b99, and before 6ef71ad for PUT and DELETE. Values that are new in every run
stand as <uuid>, <time> and <id>; an `<id>` of a path is the stat that was stored last. Where this house answers
otherwise, the line has its answer too, and says why.
"""

from typing import NamedTuple


class Ours(NamedTuple):
    """What this house answers instead."""

    status: int
    body: str
    why: str


class Line(NamedTuple):
    """A request, and the recorded answer. A body of None was HTML, which nobody reads."""

    method: str
    path: str
    sent: str | None
    status: int
    body: str | None
    ours: Ours | None = None
    headers: tuple[tuple[str, str], ...] = ()  # beside the key, unless it or Accept is among them, and JSON's type


def shown(**changed: str) -> str:
    """Return the stat of the document's example, as JSON texts by their fields."""
    fields = {
        "uuid": '"<uuid>"',
        "organization": '"CASES"',
        "anr": "2",
        "type": '"risk"',
        "day": "1",
        "week": "1",
        "month": "1",
        "year": "2020",
        "data": '{"what": "you want", "super": "cool"}',
        "created_at": '"<time>"',
        "updated_at": '"<time>"',
        "id": '"<id>"',
    } | changed
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def given(**changed: str | None) -> str:
    """Return what was posted for it."""
    fields: dict[str, str | None] = {
        "type": '"risk"',
        "anr": "2",
        "data": '{"what": "you want", "super": "cool"}',
        "day": "1",
        "week": "1",
        "month": "1",
        "year": "2020",
    }
    fields |= changed
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items() if text is not None) + "}"


def faults(**told: str) -> str:
    """Return the refusal of fields."""
    return '{"field-errors": {' + ", ".join(f'"{name}": "{text}"' for name, text in told.items()) + "}}"


STATS, ONE, ORGANIZATIONS = "/api/v2/stats/", "/api/v2/stats/<id>/", "/api/v2/organizations/"
UUID = "66f20692-b627-41e6-8d11-030bd84ee479"
UNAUTHORIZED = '{"error": "Unauthorized"}'
EMPTY = '{"data": [], "has_more": false}'
INVALID = '{"error": "The request contains invalid JSON."}'
NO_DICT = '{"error": "JSON data must be a dict."}'
NO_JSON = '{"error": "Please send valid JSON with a \'Content-Type: application/json\' header."}'
NO_STAT = '{"error": "Empty query: Stats matching query does not exist."}'
NO_ORGANIZATION = '{"error": "Empty query: Organization matching query does not exist."}'
PUT_INSTEAD = '{"error": "404 Not Found: Did you mean to use PUT?"}'
NO_UUID = "Could not convert to UUID: badly formed hexadecimal UUID string"
NO_500 = "a fault of the caller is told as one"

AUTHENTICATION = (
    Line("GET", STATS, None, 401, UNAUTHORIZED, headers=(("X-API-KEY", "BAD-TOKEN"),)),
    Line("GET", STATS, None, 401, UNAUTHORIZED, headers=(("X-API-KEY", ""),)),
    Line("GET", STATS, None, 401, UNAUTHORIZED, headers=(("Accept", "*/*"),)),
    Line("POST", STATS, "{", 401, UNAUTHORIZED, headers=(("X-API-KEY", "BAD-TOKEN"),)),
    Line("GET", "/api/v2/stats/xyz/", None, 401, UNAUTHORIZED, headers=(("X-API-KEY", "BAD-TOKEN"),)),
)
CREATING = (
    Line("GET", STATS, None, 200, EMPTY),
    Line("POST", STATS, given(), 200, shown()),
    Line("GET", ONE, None, 200, shown()),
    Line("GET", f"{ONE}?_fields=day", None, 200, '{"day": 1}'),
    Line("POST", f"{STATS}?_fields=id", given(), 200, '{"id": "<id>"}'),
    Line("POST", STATS, given(day='"1"', week="1.7", month="true"), 200, shown()),
    Line("POST", STATS, given(day="-5"), 200, shown(day="-5")),
    Line("POST", STATS, given(type='""'), 200, shown(type='""')),
    Line("POST", STATS, given(unknown="1", organization='"NOBODY"'), 200, shown()),
    Line("POST", STATS, given(uuid=f'"{UUID.upper()}"'), 200, shown(uuid=f'"{UUID}"')),
    Line("POST", STATS, given(created_at='"2019-01-01"'), 200, shown(created_at='"2019-01-01T00:00:00"')),
    Line("POST", STATS, given(type='"caf\u00e9"'), 200, shown(type='"caf\\u00e9"')),
    *(
        Line("POST", STATS, given(data=data), 200, shown(data=data))
        for data in ("{}", "[]", '[1, {"a": []}]', '"text"', "1.5", '{"averageRate": "2.82"}')
    ),
    Line(
        "POST", STATS, given(year=None), 400, faults(year="Field is required"),
        Ours(200, shown().replace('"year": 2020, ', ""), "the document's own example has no year"),
    ),
    Line(
        "POST", STATS, given(anr=f'"{UUID}"'), 400, faults(anr="x could not be converted to int"),
        Ours(200, shown(anr=f'"{UUID}"'), "numbers until 14 May, UUIDs from 15 May: both are taken"),
    ),
)  # fmt: skip
REFUSALS = (
    Line(
        "POST", STATS, given(type=None, anr=None, day="null", week=None, month=None), 400,
        faults(**dict.fromkeys(("anr", "type", "day", "week", "month"), "Field is required")),
    ),
    Line("POST", STATS, given(data="null"), 400, faults(data="Field is required")),
    Line("POST", STATS, given(day='"x"'), 400, faults(day="x could not be converted to int")),
    Line("POST", STATS, given(type="5"), 400, faults(type="StringField only accepts string values")),
    Line("POST", STATS, given(type=f'"{"x" * 121}"'), 400, faults(type="String value is too long")),
    Line("POST", STATS, given(uuid='"x"'), 400, faults(uuid=NO_UUID)),
    Line("POST", STATS, given(anr='"x"'), 400, faults(anr=NO_UUID)),
    Line("POST", STATS, given(created_at='"garbage"'), 400, faults(created_at='cannot parse date \\"garbage\\"')),
    Line("POST", STATS, given(day="1e30"), 500, None,
         Ours(400, faults(day="Integer value does not fit into 64 bits"), NO_500)),
    Line("POST", STATS, "{", 400, INVALID),
    Line("POST", STATS, "", 400, INVALID),
    Line("POST", STATS, given(data="NaN"), 400, INVALID),
    Line("POST", STATS, given(data="Infinity"), 400, INVALID),
    Line("POST", STATS, '"x"', 400, NO_DICT),
    Line("POST", STATS, "[5]", 400, NO_DICT,
         Ours(400, faults(**{"0": "JSON data must be a dict."}), "an array stores several")),
    Line("POST", STATS, "[]", 400, NO_DICT, Ours(200, "[]", "an array stores several")),
    Line("POST", STATS, given(), 400, NO_JSON, headers=(("Content-Type", "text/plain"),)),
    Line("POST", STATS, "a=1", 400, NO_JSON, headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    Line("POST", STATS, given(), 200, shown(), headers=(("Content-Type", "application/vnd.api+json"),)),
    Line("POST", STATS, given(id='"5eb9ca210381f6f321022ae6"'), 200, shown(id='"5eb9ca210381f6f321022ae6"'),
         Ours(200, shown(), "ids are the house's; the real one replaced whatever stat had this one")),
    Line("POST", STATS, given(uuid=f'"{UUID}"', day="2"), 500, None,
         Ours(409, f'{{"error": "The stat <id> has the uuid {UUID} and other content.", "id": "<id>"}}', NO_500)),
    Line("POST", STATS, given(data='{"a.b": 1, "$where": 2, "_cls": 3}'), 500, None,
         Ours(200, shown(data='{"a.b": 1, "$where": 2, "_cls": 3}'), "data is kept, whatever its names are")),
    Line("GET", "/api/v2/stats/5eb9ca210381f6f321022ae6/", None, 404, NO_STAT),
    Line("GET", "/api/v2/stats/xyz/", None, 500, None, Ours(404, NO_STAT, NO_500)),
    Line("GET", f"/api/v2/stats/{UUID}/", None, 500, None, Ours(404, NO_STAT, NO_500)),
    Line("POST", ONE, given(), 404, PUT_INSTEAD),
    Line("PUT", STATS, given(), 405, None, Ours(405, '{"error": "Method not allowed."}', "refusals are JSON")),
    Line("GET", "/api/v2/nothing/", None, 404, None, Ours(404, '{"error": "Not found."}', "refusals are JSON")),
)  # fmt: skip
CHANGING = (
    Line("POST", STATS, given(), 200, shown()),
    Line("PUT", ONE, '{"day": 9, "unknown": 1}', 200, shown(day="9")),
    Line("PUT", ONE, '{"day": "x"}', 400, faults(day="x could not be converted to int")),
    Line("DELETE", ONE, None, 200, "{}"),
    Line("DELETE", ONE, None, 404, NO_STAT),
    Line("PUT", ONE, '{"day": 9}', 404, NO_STAT),
)
HIDDEN = "who sees whose stats, and creates organizations, is decided by its credential"
ORGANIZING = (
    Line("GET", ORGANIZATIONS, None, 200, '{"data": [{"name": "CASES"}], "has_more": false}'),
    Line("GET", f"{ORGANIZATIONS}CASES/", None, 200, '{"name": "CASES"}'),
    Line("GET", f"{ORGANIZATIONS}NOBODY/", None, 404, NO_ORGANIZATION),
    Line("POST", f"{ORGANIZATIONS}CASES/", "{}", 404, PUT_INSTEAD),
    Line("PUT", f"{ORGANIZATIONS}CASES/", '{"token": "a-token-of-a-stranger"}', 200, '{"name": "CASES"}',
         Ours(405, '{"error": "Method not allowed."}', HIDDEN)),
    Line("DELETE", f"{ORGANIZATIONS}CASES/", None, 405, None,
         Ours(405, '{"error": "Method not allowed."}', "refusals are JSON")),
    Line("POST", ORGANIZATIONS, '{"name": "CASES", "token": "a-token-of-a-stranger"}', 200, '{"name": "CASES"}',
         Ours(403, '{"error": "This token may not do this."}', HIDDEN)),
    Line("GET", ORGANIZATIONS, None, 200, '{"data": [{"name": "CASES"}], "has_more": false}',
         Ours(401, UNAUTHORIZED, HIDDEN), headers=(("Accept", "*/*"),)),
)  # fmt: skip
PAGES = (
    Line("GET", f"{STATS}?_limit=abc", None, 400, '{"error": "_limit must be an integer (got \\"abc\\" instead)."}'),
    Line("GET", f"{STATS}?_limit=", None, 400, '{"error": "_limit must be an integer (got \\"\\" instead)."}'),
    Line("GET", f"{STATS}?_limit=1.5", None, 400, '{"error": "_limit must be an integer (got \\"1.5\\" instead)."}'),
    Line("GET", f"{STATS}?_skip=x", None, 400, '{"error": "_skip must be an integer (got \\"x\\" instead)."}'),
    Line("GET", f"{STATS}?_skip=-1", None, 400,
         '{"error": "_skip must be a non-negative integer (got \\"-1\\" instead)."}'),
    Line("GET", f"{STATS}?_limit=1001", None, 400,
         '{"error": "The limit you set is larger than the maximum limit for this resource (max_limit = 1000)."}'),
    Line("GET", f"{ORGANIZATIONS}?_limit=101", None, 400,
         '{"error": "The limit you set is larger than the maximum limit for this resource (max_limit = 100)."}'),
    Line("GET", f"{STATS}?_limit=0", None, 200, '{"data": [], "has_more": true}'),
    Line("GET", f"{STATS}?_skip=9999", None, 200, EMPTY),
    Line("GET", f"{STATS}?_limit=1&_fields=nonsense", None, 200, '{"data": [{}], "has_more": true}'),
)  # fmt: skip


class Search(NamedTuple):
    """A query of stats of the months 1 to 9, and the months of those that were found; None: 500."""

    query: str
    found: str | None
    ours: str | None = None  # what this house finds instead; "" is nothing, and "400" a refusal
    why: str = ""


ALL, NO_OPERATOR = "123456789", "an operator means what its name says"
SEARCHES = (
    Search("", ALL),
    Search("month=2", "2"),
    Search("month__exact=2", "2"),
    Search("day=1&month=2", "2"),
    Search("month__ne=2", "13456789"),
    Search("month__gt=2&month__lt=8", "34567"),
    Search("month__gte=2&month__lte=8", "2345678"),
    Search("type__gt=risk", "2468"),
    Search("type__iexact=RISK", "13579"),
    Search("type__contains=is", "13579"),
    Search("type__contains=i.k", ""),
    Search("type__icontains=IS", "13579"),
    Search("type__startswith=ri", "13579"),
    Search("type__istartswith=RI", "13579"),
    Search("type__endswith=sk", "13579"),
    Search("type__iendswith=SK", "13579"),
    Search("month__in=3", "3"),
    Search("month__in=1,3", None, "13", "lists are between commas"),
    Search("type__in=risk", "", "13579", "lists are between commas"),
    Search("type__nin=risk", ALL, "2468", "lists are between commas"),
    Search("month__all=3", "3"),
    Search("month__size=1", ""),
    Search("month__exists=true", ALL),
    Search("month__exists=false", ALL, "", NO_OPERATOR),
    Search("month__not__gt=3", "123"),
    Search("month__not__in=3", "12456789"),
    Search("type__not__exact=risk", ALL, "2468", NO_OPERATOR),
    Search("month__not=3", ALL, "12456789", NO_OPERATOR),
    Search("type__not__contains=risk", ALL, "2468", NO_OPERATOR),
    Search("month__mod=2", None, "400", NO_500),
    Search("month__unknown=2", None, "400", NO_500),
    Search("month__gt__lt=2", None, "400", NO_500),
    Search("organization__name=CASES", None, "400", NO_500),
    Search("month=", ""),
    Search("type=", ""),
    Search('type=""', ""),
    Search("type=''", ""),
    Search("month=x", None, "400", NO_500),
    Search("month=1.0", None, "400", NO_500),
    Search("month=2&month=3", "2"),
    Search("organization=CASES", ALL),
    Search("organization=NOBODY", ""),
    Search("unknown=1", ALL),
    Search("MONTH=1", ALL),
    Search("anr=99", ALL, "", "anr, uuid, id, updated_at and data are filters, too"),
    Search("data__x=1", ALL, "", "anr, uuid, id, updated_at and data are filters, too"),
    Search("created_at__gt=2020-05-01T00:00:00.000", "56789"),
    Search("created_at__gt=2020-05-01", "56789"),
    Search("created_at__gte=2020-05-01%2000:00", "56789"),
    Search("created_at__gte=2020-05-01T02:00:00%2B02:00", "56789"),
    Search("created_at__gte=2020-05-01T00:00:00Z", "56789"),
    Search("created_at__lte=2020-05-01", "1234"),
    Search("created_at__contains=2020", ""),
    Search("created_at=nonsense", "", "400", NO_500),
    Search("_order_by=-month", ALL, "987654321", "the order can be asked for"),
    Search("_order_by=data", ALL),
    Search("_skip=2&_limit=3", "345"),
)
