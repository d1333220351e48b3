"""Results: published outcomes of tasks."""

import re
from typing import NamedTuple

import orjson

from server.core.caller import Caller
from server.core.errors import ResultNotFound, TaskNotFound, invalid
from server.core.pages import Page, read_page, unknown_token
from server.store import results as store
from server.store import tasks
from server.store.engine import Tx
from server.store.results import Item as Item
from server.store.tasks import Tally as Tally

MAX_LABEL = 200
MAX_TEXT = 2000
MAX_CONTENT_BYTES = 400 * 1024  # of one result, as it is kept
MAX_NUMBERED_BYTES = 4 * 1024 * 1024  # of a page's results, as they are kept: at least ten
_KEY = re.compile(r"([0-9]{1,18})\.([0-9a-f-]{36})")

Bucket = tuple[str, str | None, int]
"""Label, value (None if the label says it all), and how many users, anonymised."""
ExceptionCount = tuple[str, int]
"""An error's text, and how many users met it, anonymised."""


class Histogram(NamedTuple):
    """Anonymised counts of users."""

    buckets: list[Bucket]
    exceptions: list[ExceptionCount]

    def fault(self) -> str | None:
        """Return what is wrong with it, if anything is."""
        if any(not 0 < len(label) <= MAX_LABEL for label, _, _ in self.buckets):
            return f"a bucket's label must have 1 to {MAX_LABEL} characters"
        if any(len(value or "") > MAX_TEXT for _, value, _ in self.buckets):
            return f"a bucket's value must have at most {MAX_TEXT} characters"
        if any(not 0 < len(error) <= MAX_TEXT for error, _ in self.exceptions):
            return f"an exception's error must have 1 to {MAX_TEXT} characters"
        if any(count < 0 for _, _, count in self.buckets) or any(count < 0 for _, count in self.exceptions):
            return "a count must not be negative"
        return None

    def to_json(self) -> str:
        """Return the form in which it is kept."""
        return orjson.dumps({"buckets": self.buckets, "exceptions": self.exceptions}).decode()


class Result(NamedTuple):
    """One published outcome of a task."""

    id: str
    task_id: str
    publish_time: int  # microseconds since 1970 in UTC
    histogram: Histogram


class ResultPage(NamedTuple):
    """Some of a task's results, newest first, and how many it has in all."""

    page: Page[Result]
    total: int


class NumberedPage(NamedTuple):
    """A page that was asked for by its number."""

    tally: Tally  # over all pages
    items: list[Item]  # newest first; their content is Histogram's JSON


async def get(tx: Tx, *, caller: Caller, result_id: str) -> Result:
    """Return one of the caller's results. Raises ResultNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, result_id=result_id)
    if found is None:
        raise ResultNotFound(result_id)
    return _result(found)


async def page(tx: Tx, *, caller: Caller, task_id: str, page_size: int, page_token: str) -> ResultPage:
    """Return the results of the caller's task, newest first. Raises TaskNotFound, InvalidFields."""
    asked = read_page(page_size, page_token)
    before = _before(asked.after) if asked.after else None
    total = (await tally(tx, caller=caller, task_id=task_id)).kept
    asked = asked.within(await store.sizes(tx, task_id=task_id, before=before, most=asked.size))
    found = await store.page(tx, task_id=task_id, before=before, most=asked.most)
    return ResultPage(asked.of([_result(one) for one in found], lambda one: f"{one.publish_time}.{one.id}"), total)


async def tally(tx: Tx, *, caller: Caller, task_id: str) -> Tally:
    """Return how many results the caller's task has. Raises TaskNotFound."""
    found = await tasks.tally(tx, organization_id=caller.tenant, task_id=task_id)
    if found is None:
        raise TaskNotFound(task_id)
    return found


async def numbered_page(tx: Tx, *, caller: Caller, task_id: str, number: int, size: int) -> NumberedPage:
    """Return the page with this number, from 1; one past the end is empty. Raises TaskNotFound, InvalidFields.

    Results come and go, but never change, and both numbers of the tally only grow: a page with the same tally is the
    same.
    """
    total = await tally(tx, caller=caller, task_id=task_id)
    skipped = (number - 1) * size
    if skipped >= total.kept:
        return NumberedPage(total, [])
    if size * MAX_CONTENT_BYTES > MAX_NUMBERED_BYTES:  # It could be too large: look.
        sizes = await store.sizes_of_page(tx, task_id=task_id, skipped=skipped, most=size)
        if sum(sizes) > MAX_NUMBERED_BYTES:
            raise invalid("per_page", f"the page would have more than {MAX_NUMBERED_BYTES} bytes; ask for fewer")
    return NumberedPage(total, await store.numbered_page(tx, task_id=task_id, skipped=skipped, most=size))


def _result(found: store.Stored) -> Result:
    content = orjson.loads(found.content)
    return Result(found.id, found.task_id, found.publish_time, Histogram(content["buckets"], content["exceptions"]))


def _before(key: str) -> tuple[int, str]:
    found = _KEY.fullmatch(key)
    if not found:
        raise unknown_token()
    return int(found[1]), found[2]
