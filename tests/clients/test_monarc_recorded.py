"""A replay of what the real system was asked, through the real edge: its answers, or those that were decided on."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.bench.house import House, running
from tests.clients import monarc_recorded as recorded
from tests.clients.monarc_recorded import Line

MASKS = (
    (re.compile(r'"uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"'), '"uuid": "<uuid>"'),
    (re.compile(r'_at": "20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}000)?"'), '_at": "<time>"'),
    (re.compile(r'"id": "[0-9a-f]{24}"'), '"id": "<id>"'),
    (re.compile(r"The stat [0-9a-f]{24} "), "The stat <id> "),
)


class Client:
    """One organization on one connection, which every answer leaves in step."""

    def __init__(self, connection: http.client.HTTPConnection, token: str) -> None:
        self._connection = connection
        self._token = token
        self._last = ""

    def ask(self, line: Line) -> tuple[int, str]:
        """Return the answer's status and body."""
        sent = None if line.sent is None else line.sent.encode()
        headers = {} if any(name in ("X-API-KEY", "Accept") for name, _ in line.headers) else {"X-API-KEY": self._token}
        headers |= {} if sent is None else {"Content-Type": "application/json"}
        path = line.path.replace("<id>", self._last)
        self._connection.request(line.method, path, body=sent, headers=headers | dict(line.headers))
        answer = self._connection.getresponse()
        text = answer.read().decode()
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(text)
        if answer.status == 200 and (found := re.search(r'"id": "([0-9a-f]{24})"', text)):
            self._last = found[1]
        return answer.status, text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("recorded") / "data") as started:
        yield started


@pytest.fixture
def connection(house: House) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(*house.http, timeout=30)) as opened:
        yield opened


def masked(text: str, like: str) -> str:
    """Return the text without what is new in every run: where what it is compared with has a mask."""
    for pattern, mask in MASKS:
        if mask in like:
            text = pattern.sub(mask, text)
    return text


def test_every_recorded_line_is_answered_as_it_was_or_as_was_decided(
    house: House, connection: http.client.HTTPConnection
) -> None:
    client = Client(connection, str(house.run("orgs", "create", "CASES")[0]["token"]))
    lines = [
        *recorded.AUTHENTICATION, *recorded.CREATING, *recorded.REFUSALS, *recorded.CHANGING, *recorded.ORGANIZING,
        *recorded.PAGES,
    ]  # fmt: skip
    for line in lines:
        status, text = client.ask(line)
        wanted = (line.ours.status, line.ours.body) if line.ours else (line.status, line.body)
        assert (status, masked(text, wanted[1] or "")) == wanted, line
        assert line.ours is None or (line.status, line.body) != wanted, f"no difference: {line}"


def test_searches_find_what_they_found_or_what_was_decided(
    house: House, connection: http.client.HTTPConnection
) -> None:
    client = Client(connection, str(house.run("orgs", "create", "SEARCHED")[0]["token"]))
    for month in range(1, 10):
        posted = {
            "type": "risk" if month % 2 else "threat", "anr": 2, "data": {"n": month}, "day": 1, "week": 1,
            "month": month, "year": 2020, "created_at": f"2020-{month:02}-01T00:00:00.001",
        }  # fmt: skip
        client.ask(Line("POST", recorded.STATS, json.dumps(posted), 200, None))
    for search in recorded.SEARCHES:
        query = search.query.replace("CASES", "SEARCHED")
        status, text = client.ask(Line("GET", f"{recorded.STATS}?{query}", None, 200, None))
        body = json.loads(text)
        found = str(status) if status != 200 else "".join(str(stat["month"]) for stat in body["data"])
        assert found == (search.found if search.ours is None else search.ours), (search, text)
        assert search.found != search.ours, f"no difference: {search}"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("OPTIONS", 200), ("GET", 308)])
def test_what_has_no_body_is_told_as_recorded(
    house: House, connection: http.client.HTTPConnection, method: str, status: int
) -> None:
    path = "/api/v2/stats" if status == 308 else recorded.STATS
    [made] = house.run("orgs", "create", f"{method}-{status}")
    connection.request(method, path, headers={"X-API-KEY": str(made["token"]), "Accept": "application/xml"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == status
    assert (body == b"") == (status == 200)
    if method == "OPTIONS":
        assert {"GET", "HEAD", "OPTIONS", "POST"} <= set(answer.headers["allow"].split(", "))
    if status == 308:
        assert answer.headers["location"] == recorded.STATS


def test_a_failed_authentication_is_told_as_documented(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", recorded.STATS, headers={"X-API-KEY": "BAD-TOKEN"})
    answer = connection.getresponse()
    assert (answer.status, answer.reason) == (401, "Unauthorized")
    assert (answer.headers["vary"], answer.headers["content-length"]) == ("Accept", "25")
