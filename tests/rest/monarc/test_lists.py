"""Lists of the monarc API: filters, pages and fields."""

import json

import pytest

from tests.rest.monarc.edge import RISK, posted


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("day=2&month=2", [2]),
        ("day__exact=2", [2]),
        ("organization=CASES&type=risk&month=3", [3]),
        ("organization=OTHER", []),
        ("created_at__gt=2020-03-01T00:00:00.000", [4, 5]),
        ("created_at__gte=2020-03-01%2002:00%2B02:00", [3, 4, 5]),
        ("type=risk&month__gt=2", [3, 5]),
        ("type=risk&month__gt=2&month__lt=5", [3]),
        ("month__in=1,3,9", [1, 3]),
        ("month__nin=1,3", [2, 4, 5]),
        ("month__ne=1", [2, 3, 4, 5]),
        ("month__not__gt=3", [1, 2, 3]),
        ("month__not=3", [1, 2, 4, 5]),
        ("type__icontains=RIS", [1, 3, 5]),
        ("type__contains=RIS", []),
        ("type__startswith=thr", [2, 4]),
        ("type__iendswith=EAT", [2, 4]),
        ("type__in=risk,none", [1, 3, 5]),
        ("year__exists=true", [5]),
        ("year__exists=false", [1, 2, 3, 4]),
        ("year=", [1, 2, 3, 4]),
        ("type=", []),
        ("anr=2&day__lte=2", [1, 2]),
        ("data__n__gt=3", [4, 5]),
        ("data__n=3", [3]),
        ('data__n="3"', []),
        ("data__deep__er=x", [1, 2, 3, 4, 5]),
        ("data__gt__exact=1", [1, 2, 3, 4, 5]),
        ("data__a.b=1", [1, 2, 3, 4, 5]),
        ("data__nothing__exists=true", []),
        ("unknown=1&MONTH=2", [1, 2, 3, 4, 5]),
        ("type='%20OR%201=1--", []),
        ("month=1&month=2", [1]),
        ("_skip=1&_limit=2", [2, 3]),
        ("_skip=99", []),
        ("_order_by=-created_at&_limit=2", [5, 4]),
        ("_order_by=nonsense", [1, 2, 3, 4, 5]),
    ],
)
async def test_filters_find_what_they_say(edge, query, days):
    for day in range(1, 6):
        await posted(
            edge, day=day, month=day, type="risk" if day % 2 else "threat", created_at=f"2020-0{day}-01",
            data={"n": day, "deep": {"er": "x"}, "gt": 1, "a.b": 1}, **({"year": 2020} if day == 5 else {}),
        )  # fmt: skip
    answer = await edge("GET", f"/api/v2/stats/?{query}")
    assert answer.status == 200, answer.text
    assert [stat["day"] for stat in answer.body["data"]] == days


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("_limit=abc", '_limit must be an integer (got "abc" instead).'),
        ("_limit=", '_limit must be an integer (got "" instead).'),
        ("_limit=1.5", '_limit must be an integer (got "1.5" instead).'),
        ("_skip=-1", '_skip must be a non-negative integer (got "-1" instead).'),
        ("_limit=-1", '_limit must be a non-negative integer (got "-1" instead).'),
        ("_limit=1001", "The limit you set is larger than the maximum limit for this resource (max_limit = 1000)."),
        ("month=x", 'month must be a whole number (got "x" instead).'),
        ("month__gt=1.0", 'month__gt must be a whole number (got "1.0" instead).'),
        ("month__in=1,x", 'month__in must be a whole number (got "x" instead).'),
        ("created_at__lt=yesterday", 'created_at__lt cannot parse date "yesterday".'),
        ("uuid=1", "uuid must be a UUID."),
        ("id=1", "id must be 24 hexadecimal digits."),
        ("anr=x", "anr must be a whole number or a UUID."),
        ("month__exists=perhaps", "month__exists must be true or false."),
        ("month__mod=2", 'month__mod has no operator "mod".'),
        ("month__gt__lt=2", 'month__gt__lt has no operator "gt".'),
        ("organization__name=x", 'organization__name has no operator "name".'),
        ("_after=1", "_after must be the id of the last stat of the page before."),
        ("type=%FF", "The query is not UTF-8."),
    ],
)
async def test_what_cannot_be_asked_is_400(edge, query, told):
    answer = await edge("GET", f"/api/v2/stats/?{query}")
    assert (answer.status, answer.body) == (400, {"error": told})


async def test_pages_go_on_after_a_stat_and_say_whether_there_is_more(edge):
    ids = [(await posted(edge, day=day))["id"] for day in range(5)]
    after, found = "", []
    for more in (True, True, False):
        page = (await edge("GET", f"/api/v2/stats/?_limit=2&_after={after}")).body
        assert page["has_more"] is more
        found += [stat["id"] for stat in page["data"]]
        after = found[-1]
    assert found == ids
    assert (await edge("GET", "/api/v2/stats/?_limit=0")).text == '{"data": [], "has_more": true}'
    assert (await edge("GET", "/api/v2/stats/?_limit=5")).body["has_more"] is False


async def test_fields_are_those_that_are_asked_for(edge):
    made = await posted(edge, year=2020)
    one = f"/api/v2/stats/{made['id']}/?_fields="
    assert (await edge("GET", one + "day,uuid,nonsense")).body == {"uuid": made["uuid"], "day": 1}
    assert (await edge("GET", one + "_all")).body == (await edge("GET", one)).body == made
    assert (await edge("GET", "/api/v2/stats/?_fields=nonsense")).text == '{"data": [{}], "has_more": false}'
    assert (await edge("POST", "/api/v2/stats/?_fields=id", RISK)).body.keys() == {"id"}
    every = ",".join(made)
    assert (await edge("GET", one + every)).text == json.dumps(made)
