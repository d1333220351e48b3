"""Stats in the monarc API: stored, told again, changed, deleted and purged."""

import json
import re
from threading import current_thread, main_thread

import pytest

from server.core.caller import Role
from server.rest import monarc
from tests.rest.monarc.edge import RISK, UUID, Edge, posted, token_of

KEYS = ["uuid", "organization", "anr", "type", "day", "week", "month", "data", "created_at", "updated_at", "id"]


async def test_a_stat_is_written_as_documented(edge):
    answer = await edge("POST", "/api/v2/stats/", RISK)
    assert answer.status == 200
    assert list(answer.body) == KEYS
    assert answer.text == json.dumps(answer.body)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?", answer.body["created_at"])
    assert answer.body == RISK | {
        "organization": "CASES",
        **{name: answer.body[name] for name in ("uuid", "created_at", "updated_at", "id")},
    }
    listed = await edge("GET", "/api/v2/stats/")
    assert listed.text == f'{{"data": [{answer.text}], "has_more": false}}'
    assert (await edge("GET", f"/api/v2/stats/{answer.body['id'].upper()}/")).text == answer.text


async def test_year_and_quarter_stand_where_they_are_given(edge):
    made = await posted(edge, year=2020, quarter=2)
    assert [*made][6:10] == ["month", "quarter", "year", "data"]


@pytest.mark.parametrize("anr", [2, UUID])
async def test_anr_comes_back_in_its_type(edge, anr):
    assert (await posted(edge, anr=anr))["anr"] == anr


async def test_data_keeps_digits_order_and_any_name(edge):
    data = '{"z": 12345678901234567890123, "a.b": 1.10, "$where": [], "_cls": {}, "\\u00e9": "2.82", "n": null}'
    body = json.dumps(RISK | {"data": 0}).replace('"data": 0', f'"data": {data}').encode()
    made = await edge("POST", "/api/v2/stats/", body)
    assert f'"data": {data}, ' in made.text
    assert f'"data": {data}, ' in (await edge("GET", "/api/v2/stats/")).text


async def test_numbers_and_times_are_coerced(edge):
    made = await posted(edge, day="1", week=1.7, month=True, created_at="2019-01-01", id="5" * 24, organization="OTHER")
    assert (made["day"], made["week"], made["month"]) == (1, 1, 1)
    assert made["created_at"] == "2019-01-01T00:00:00"
    assert made["organization"] == "CASES"
    assert made["id"] != "5" * 24


async def test_whole_numbers_have_64_bits(edge):
    least, most = -(2**63), 2**63 - 1
    made = await posted(edge, day=least, week=most)
    assert (made["day"], made["week"]) == (least, most)
    for query, found in ((f"day={least}", 1), (f"day__lte={least - 1}", 0), (f"day__gt={least - 1}", 1),
                         (f"week__in={most + 1},3", 0), (f"week__lt={most + 1}", 1), (f"week={most + 1}", 0),
                         (f"week__not__gte={most + 1}", 1), (f"year__lt={most + 1}", 0)):  # fmt: skip
        assert len((await edge("GET", f"/api/v2/stats/?{query}")).body["data"]) == found, query
    refused = await edge("POST", "/api/v2/stats/", RISK | {"day": least - 1, "week": most + 1})
    assert set(refused.body["field-errors"]) == {"day", "week"}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_large_bodies_are_understood_beside_the_event_loop(edge, monkeypatch, method):
    path = "/api/v2/stats/" if method == "POST" else f"/api/v2/stats/{(await posted(edge))['id']}/"
    threads = []
    for name in ("read_new", "read_changes"):
        read = getattr(monarc, name)
        monkeypatch.setattr(monarc, name, lambda given, read=read: threads.append(current_thread()) or read(given))
    for size in (10, 100_000):
        body = RISK | {"data": "x" * size}
        sent = [body, body] if method == "POST" else body
        assert (await edge(method, path, sent)).status == 200
    assert threads[0] is main_thread()
    assert threads[-1] is not main_thread()


async def test_a_uuid_is_told_again_or_refused_with_the_id_that_has_it(edge):
    made = await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID})
    assert (await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID})).text == made.text
    other = await edge("POST", "/api/v2/stats/", RISK | {"uuid": UUID, "day": 2})
    assert (other.status, other.body["id"]) == (409, made.body["id"])
    assert set(other.body) == {"error", "id"}


async def test_a_list_is_stored_whole_or_each_for_itself(edge):
    good, bad = RISK | {"uuid": UUID}, RISK | {"day": "x"}
    whole = await edge("POST", "/api/v2/stats/", [good, RISK])
    assert (whole.status, [stat["uuid"] == UUID for stat in whole.body]) == (200, [True, False])
    refused = await edge("POST", "/api/v2/stats/", [RISK, bad, 5])
    assert refused.body == {
        "field-errors": {"1.day": "x could not be converted to int", "2": "JSON data must be a dict."}
    }
    clash = await edge("POST", "/api/v2/stats/", [RISK, good | {"day": 9}])
    assert (clash.status, clash.body["id"]) == (409, whole.body[0]["id"])
    assert len((await edge("GET", "/api/v2/stats/")).body["data"]) == 2
    each = await edge("POST", "/api/v2/stats/?_atomic=false", [RISK, bad, good | {"day": 9}, good])
    assert (each.status, [item["status"] for item in each.body]) == (207, [200, 400, 409, 200])
    assert each.body[1]["field-errors"] == {"day": "x could not be converted to int"}
    [told] = (await edge("POST", "/api/v2/stats/?_atomic=false", [5])).body
    assert told == {"status": 400, "error": "JSON data must be a dict."}
    assert each.body[2]["id"] == each.body[3]["data"]["id"] == whole.body[0]["id"]
    assert each.text == json.dumps(each.body)
    assert (await edge("POST", "/api/v2/stats/", [])).text == "[]"
    assert (await edge("POST", "/api/v2/stats/", [RISK] * 1001)).status == 400
    many = await edge("POST", "/api/v2/stats/", [{}] * 500)
    assert many.status == 400
    assert len(many.headers["x-taskhouse-body"]) <= 4096


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_one_s_own_stats_are_changed_and_deleted(edge, channel, house, method):
    made = await posted(edge)
    changed = await edge(method, f"/api/v2/stats/{made['id']}/", {"day": 9, "unknown": 1})
    assert changed.body == made | {"day": 9, "updated_at": changed.body["updated_at"]}
    assert (await edge(method, f"/api/v2/stats/{made['id']}/", {"day": "x"})).body == {
        "field-errors": {"day": "x could not be converted to int"}
    }
    assert (await edge(method, f"/api/v2/stats/{made['id']}/", [])).status == 400
    stranger = Edge(channel, await token_of(house, "OTHER", Role.MONARC_ADMIN))
    for answer in (
        await stranger(method, f"/api/v2/stats/{made['id']}/", {"day": 1}),
        await stranger("DELETE", f"/api/v2/stats/{made['id']}/"),
        await stranger("GET", f"/api/v2/stats/{made['id']}/"),
        await edge("GET", "/api/v2/stats/xyz/"),
        await edge("DELETE", f"/api/v2/stats/{'0' * 24}/"),
    ):
        assert (answer.status, answer.body) == (404, {"error": "Empty query: Stats matching query does not exist."})
    assert (await edge("DELETE", f"/api/v2/stats/{made['id']}/")).text == "{}"
    assert (await edge("GET", "/api/v2/stats/")).body == {"data": [], "has_more": False}


async def test_old_stats_are_purged_by_an_admin_who_says_what_is_old(edge, admin):
    for year in (2019, 2020, 2021):
        await posted(edge, created_at=f"{year}-06-01", type="risk" if year != 2020 else "threat")
    assert (await edge("DELETE", "/api/v2/stats/?created_at__lt=2020-01-01")).status == 403
    for query in ("", "?type=risk", "?created_at__gt=2020-01-01", "?created_at__lt=", "?created_at__not__lt=2020-01-01",
                  "?created_at__lt=2022-01-01&typo=1"):  # fmt: skip
        assert (await admin("DELETE", f"/api/v2/stats/{query}")).status == 400, query
    purged = await admin("DELETE", "/api/v2/stats/?created_at__lt=2022-01-01&type=risk")
    assert purged.text == '{"count": 2}'
    assert [stat["type"] for stat in (await edge("GET", "/api/v2/stats/")).body["data"]] == ["threat"]
