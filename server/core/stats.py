"""Stats: an organization's own, and those of the organizations that share, found by filters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import orjson
import uuid_utils

from server.core import exactjson, organizations, pages, stats_events
from server.core.caller import Caller
from server.core.errors import StatExists, StatNotFound, invalid
from server.core.stats_content import Values, milliseconds
from server.core.stats_filters import ORGANIZATION, Condition, clauses_of, holds_for
from server.core.stats_ids import ids, moment_after
from server.core.stats_leaves import folded_type, leaves_of
from server.store import stats as store
from server.store.engine import Query, Tx
from server.store.stats import Stored
from server.store.stats_filters import Clause, Key, Order, Place, Search, bound, keys, led, removal
from server.store.stats_filters import rows as rows_of

MAX_LIMIT = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024  # of data; of a page that may end early, that of all lists
QUICK_LIMIT, QUICK_SKIP = 100, 1000  # A page of more may take over 5 ms.
FEW_ROWS = 20  # Stats that are read at once; of more, it is looked first how large they are.
NEAR, FAR = 50, 1000  # Stats that a quick search looks at: first in each organization, then in all of them.
FEW = 16  # Organizations whose stats are searched one by one; more, and all stats are gone through.
SLICE = 1000  # Stats that are deleted in one transaction.
ORDERS = {
    "id": "id", "created_at": "create_time", "type": "type", "day": "day", "week": "week", "month": "month",
}  # fmt: skip
"""The columns of the fields that stats can be ordered by."""
_FIRST = Order()
Record = TypeVar("Record", Key, Stored)
Wanted = Callable[..., tuple[Query[Record], dict[str, Any]]]
"""`keys` or `rows` of store/stats_filters.py."""


class Stat(NamedTuple):
    """A stat. Times are microseconds since 1970, in whole milliseconds; `data` is JSON text."""

    id: str
    organization: str
    uuid: str
    anr_number: int | None
    anr_uuid: str | None
    type: str
    day: int
    week: int
    month: int
    quarter: int | None
    year: int | None
    create_time: int
    update_time: int
    data: str


class Effort(Enum):
    """How far a search goes before it gives up."""

    QUICK = auto()  # It looks at a few hundred stats; for `store.read`.
    LED = auto()  # It goes where an index leads from stat to stat; for `store.scan`.
    ANY = auto()  # It goes to the end; for `store.search`.


class Asked(NamedTuple):
    """A search: the stats after the one with the id `after`, or after a place, without the first `skip`."""

    conditions: tuple[Condition, ...] = ()
    order: Order = _FIRST
    after: str | Place | None = None
    skip: int = 0
    limit: int = 100
    cut: bool = False  # whether a page that is too large ends early; else it is refused

    @property
    def is_short(self) -> bool:
        """Whether the page is so short that a quick search may find it."""
        return self.limit <= QUICK_LIMIT and self.skip <= QUICK_SKIP

    @property
    def is_led(self) -> bool:
        """Whether the order of an index may find the page, of few organizations, with little on the way."""
        return self.skip <= QUICK_SKIP and led(_clauses(self.conditions), self.order).is_led


class Page(NamedTuple):
    """Stats in their order, whether there are more after them, and the place of the last."""

    stats: list[Stat]
    has_more: bool
    last: Place | None


class _Added(NamedTuple):
    """What becomes of stats that are sent: what is stored or refused, and the rows that are new."""

    results: list[Stored | StatExists]
    rows: list[store.Row]


async def create(
    tx: Tx, *, caller: Caller, contents: Sequence[Values], organization: str = "", whole: bool = True
) -> list[Stat | StatExists]:
    """Store stats. Of one that is stored already under its UUID, with the same content, return what is stored.

    If one has another content, nothing is stored and StatExists is raised; unless `whole`, its refusal is its result.
    `organization` is the name of whose they are, if the caller is of none. Raises InvalidFields. An organization's ids
    grow in the order of the commits, so that whoever goes on after the last one that was seen misses none: run this by
    `write_guarded`, as writers take turns.
    """
    owner_id, owner = await _owner(tx, caller, organization)
    added = await _add(tx, owner_id, contents)
    refusals = [each for each in added.results if isinstance(each, StatExists)]
    if whole and refusals:
        raise refusals[0]
    await store.add(tx, added.rows)
    return [each if isinstance(each, StatExists) else _stat(each, owner) for each in added.results]


async def add(tx: Tx, *, caller: Caller, contents: Sequence[Values]) -> int:
    """Store stats as `create` does and is run, and return how many were not stored already. Raises StatExists."""
    added = await _add(tx, caller.tenant, contents)
    for each in added.results:
        if isinstance(each, StatExists):
            raise each
    await store.add(tx, added.rows)
    return len(added.rows)


async def get(tx: Tx, *, caller: Caller, stat_id: str) -> Stat:
    """Return a stat that the caller may read. Raises StatNotFound."""
    found = await store.by_id(tx, stat_id)
    if found is None:
        raise StatNotFound(stat_id)
    if found.organization_id == caller.organization_id:
        return _stat(found, caller.organization)
    names = await organizations.readable(tx, caller=caller)
    if found.organization_id not in names:
        raise StatNotFound(stat_id)
    return _stat(found, names[found.organization_id])


async def update(tx: Tx, *, caller: Caller, stat_id: str, values: Values) -> Stat:
    """Change one of the caller's own stats. Raises StatNotFound, StatExists."""
    found = await _own(tx, caller, stat_id)
    uuid = values.get("uuid", found.uuid)
    if uuid != found.uuid:
        other = await store.by_uuid(tx, organization_id=found.organization_id, uuid=str(uuid))
        if other:
            raise StatExists(other.uuid, other.id)
    changed: Any = {"update_time": milliseconds(tx.now), **_columns(values)}
    new = found._replace(**changed)
    await store.replace(tx, new, _changed_leaves(found, new, values))
    names = await organizations.readable(tx, caller=caller)
    return _stat(new, names[new.organization_id])


async def delete(tx: Tx, *, caller: Caller, stat_id: str) -> None:
    """Delete one of the caller's own stats. Raises StatNotFound."""
    found = await _own(tx, caller, stat_id)
    await store.remove(tx, found.id)
    await stats_events.deleted(tx, caller=caller, stat=found)


async def own(tx: Tx, *, caller: Caller, conditions: tuple[Condition, ...], after: str) -> list[str]:
    """Return the ids of up to SLICE of the caller's own stats that the conditions hold for, those after an id.

    To a caller of no organization all are its own.
    """
    searched = await _organizations(tx, caller, conditions, own=True)
    asked = Asked(conditions, after=Place(after, after) if after else None, limit=SLICE - 1)
    found = await _found(tx, list(searched), asked, keys, Effort.ANY)
    assert found is not None  # noqa: S101 - such a search gives no half answers.
    return [key.id for key in found]


async def purge(tx: Tx, *, caller: Caller, conditions: tuple[Condition, ...], ids: list[str]) -> int:
    """Delete the caller's own stats with these ids for which the conditions still hold, and return how many."""
    searched = await _organizations(tx, caller, conditions, own=True)
    owners = orjson.dumps([{"value": owner} for owner in searched]).decode()
    search = Search(_clauses(conditions), _FIRST)
    command, values = removal(search, organizations=owners, ids=orjson.dumps(ids).decode())
    if number := await tx.run(command, **values):
        await stats_events.purged(tx, caller=caller, conditions=conditions, number=number)
    return number


async def page(tx: Tx, *, caller: Caller, asked: Asked, effort: Effort) -> Page | None:
    """Return a page of the stats that the caller may read; None if it takes more effort. Raises InvalidFields."""
    names = await _organizations(tx, caller, asked.conditions, own=False)
    if isinstance(asked.after, str):
        asked = asked._replace(after=await _place(tx, names, asked))
    if asked.skip + asked.limit <= FEW_ROWS:
        rows = await _found(tx, list(names), asked, rows_of, effort)
        if rows is None:
            return None
        fitting = _fitting(asked, (len(row.data) for row in rows[: asked.limit]))
        return _page(rows, rows[:fitting], asked, names)
    found = await _found(tx, list(names), asked, keys, effort)
    if found is None:
        return None
    shown = found[: _fitting(asked, (key.bytes for key in found[: asked.limit]))]
    stored = {each.id: each for each in await store.by_ids(tx, orjson.dumps([key.id for key in shown]).decode())}
    return _page(found, [stored[key.id] for key in shown], asked, names)


def _fitting(asked: Asked, sizes: Iterable[int]) -> int:
    """Return how many stats, of these sizes, the page has. Raises InvalidFields if they are too large together."""
    most = pages.MAX_PAGE_BYTES if asked.cut else MAX_PAGE_BYTES
    totals = list(accumulate(sizes))
    fitting = sum(1 for total in totals if total <= most)
    if fitting < len(totals) and not asked.cut:
        raise invalid("_limit", f"this page has more than {most} bytes of data: ask for fewer stats")
    return max(fitting, 1) if totals else 0


async def _organizations(tx: Tx, caller: Caller, conditions: Sequence[Condition], *, own: bool) -> dict[int, str]:
    """Return the names of the organizations in which is searched, by their ids."""
    names = await organizations.readable(tx, caller=caller)
    if own and caller.organization_id is not None:
        names = {caller.organization_id: names[caller.organization_id]}
    asked = [condition for condition in conditions if condition.field == ORGANIZATION]
    return {each: name for each, name in names.items() if all(holds_for(one, name) for one in asked)}


async def _found(
    tx: Tx, owners: list[int], asked: Asked, wanted: Wanted[Record], effort: Effort
) -> list[Record] | None:
    """Return up to `limit` stats, or their keys, and one more; None if it takes more effort."""
    search = led(_clauses(asked.conditions), asked.order)
    far = len(owners) > FEW or not search.is_led
    if far and effort is Effort.LED:
        return None
    bounded = far and effort is Effort.QUICK
    searches = len(owners) if 1 < len(owners) <= FEW else 1
    for window in (NEAR, FAR // searches) if bounded else (None,):
        found = await _within(tx, owners, asked, search, wanted, window)
        if found is not None:
            return found
    return None


def _clauses(conditions: Sequence[Condition]) -> tuple[Clause, ...]:
    asked = (condition for condition in conditions if condition.field != ORGANIZATION)
    return tuple(clause for condition in asked for clause in clauses_of(condition))


async def _within(
    tx: Tx, owners: list[int], asked: Asked, search: Search, wanted: Wanted[Record], window: int | None
) -> list[Record] | None:
    """Return what `_found` returns, having looked at so many stats of each organization at most."""
    after = asked.after if isinstance(asked.after, Place) else None
    parts: Sequence[int | str] = owners
    if len(owners) > FEW or (len(owners) > 1 and asked.skip > QUICK_SKIP):  # Else all that is skipped would come here.
        parts = [orjson.dumps([{"value": owner} for owner in owners]).decode()]
    one = len(parts) == 1
    most, skip = (asked.limit + 1, asked.skip) if one else (asked.skip + asked.limit + 1, 0)
    found: list[Record] = []
    ends: list[Place] = []
    by_id = asked.order.column == "id"
    for part in parts:
        up_to = window if window is None or by_id else await _end(tx, search, part, after, window)
        asking, values = wanted(search, organizations=part, after=after, up_to=up_to, most=most, skip=skip)
        part_found = await tx.all(asking, **values)
        found += part_found
        if len(part_found) < most and window is not None:
            end = await _end(tx, search, part, after, window) if by_id else up_to
            if isinstance(end, Place):
                ends.append(end)
    if not one:
        found.sort(key=lambda each: _place_of(each, asked.order), reverse=asked.order.descending)
        found = found[asked.skip : asked.skip + asked.limit + 1]
    if not ends:
        return found
    # Beyond the place at which the look at an organization ended, its stats are not known.
    last = _place_of(found[-1], asked.order) if len(found) > asked.limit else None
    known = last and all(last >= end if asked.order.descending else last <= end for end in ends)
    return found if known else None


async def _end(tx: Tx, search: Search, part: int | str, after: Place | None, window: int) -> Place | None:
    """Return the place at which a look ends that goes through so many stats; None if there are not so many."""
    query, values = bound(search, organizations=part, after=after, skip=window)
    key = await tx.one(query, **values)
    return Place(key.value, key.id) if key else None


def _place_of(each: Key | Stored, order: Order) -> Place:
    return Place(each.value if isinstance(each, Key) else getattr(each, order.column), each.id)


def _page(found: Sequence[Key | Stored], shown: list[Stored], asked: Asked, names: dict[int, str]) -> Page:
    stats = [_stat(stored, names[stored.organization_id]) for stored in shown]
    last = _place_of(shown[-1], asked.order) if shown else None
    return Page(stats, len(found) > len(shown), last)


async def _place(tx: Tx, names: dict[int, str], asked: Asked) -> Place:
    stat_id = str(asked.after)
    if asked.order.column == "id":  # Whether it is there any more does not matter.
        return Place(stat_id, stat_id)
    found = await store.by_id(tx, stat_id)
    if found is None or found.organization_id not in names:
        told = "must be the id of the last stat of the page before; if that is gone, only the order of id can go on"
        raise invalid("_after", told)
    return Place(getattr(found, asked.order.column), stat_id)


async def _owner(tx: Tx, caller: Caller, organization: str) -> tuple[int, str]:
    """Return whose new stats are: the caller's, else those of the organization that is named, else of the only one."""
    if caller.organization_id is not None:
        return caller.organization_id, caller.organization
    names = await organizations.readable(tx, caller=caller)
    found = [each for each, name in names.items() if organization in ("", name)]
    if len(found) != 1:
        raise invalid("organization", "must be the name of an organization")
    return found[0], names[found[0]]


async def _own(tx: Tx, caller: Caller, stat_id: str) -> Stored:
    found = await store.by_id(tx, stat_id)
    if found is None or caller.organization_id not in (None, found.organization_id):
        raise StatNotFound(stat_id)
    return found


async def _add(tx: Tx, owner: int, contents: Sequence[Values]) -> _Added:
    last = await store.last_in_turn(tx, organization_id=owner)
    first = max(tx.now, moment_after(last)) if last else tx.now
    known = await _stored_before(tx, owner, contents)
    added = _Added([], [])
    for values in contents:
        found = known.get(str(values["uuid"])) if "uuid" in values else None
        if found is None:
            new = _new(ids.next(first), tx.now, owner, values)
            if "uuid" in values:
                known[new.uuid] = new
            added.rows.append((*new[:-1], values["leaves"], new.data))
            added.results.append(new)
        else:
            added.results.append(found if _says(found, values) else StatExists(found.uuid, found.id))
    return added


async def _stored_before(tx: Tx, owner: int, contents: Sequence[Values]) -> dict[str, Stored]:
    uuids = [values["uuid"] for values in contents if "uuid" in values]
    if not uuids:
        return {}
    found = await store.by_uuids(tx, organization_id=owner, uuids=orjson.dumps(uuids).decode())
    return {each.uuid: each for each in found}


def _new(stat_id: str, now: int, owner: int, values: Mapping[str, Any]) -> Stored:
    at = milliseconds(now)
    return Stored(
        id=stat_id,
        organization_id=owner,
        uuid=values.get("uuid") or str(uuid_utils.uuid4()),
        anr_number=values["anr_number"],
        anr_uuid=values["anr_uuid"],
        type=values["type"],
        day=values["day"],
        week=values["week"],
        month=values["month"],
        quarter=values.get("quarter"),
        year=values.get("year"),
        create_time=values.get("create_time", at),
        update_time=values.get("update_time", at),
        data=values["data"],
    )


def _changed_leaves(old: Stored, new: Stored, values: Values) -> str | None:
    """Return the new leaves, None if they stay. Those of changed data are there, made before the transaction began."""
    told = str(values.get("type", "")) if "data" in values else old.type  # What the leaves know of the type so far.
    if folded_type(told) != folded_type(new.type):
        return leaves_of(exactjson.read(new.data), new.type)
    return str(values["leaves"]) if "data" in values else None


def _says(stored: Stored, values: Values) -> bool:
    """Whether a stat that is sent again says nothing else than before."""
    said = {"quarter": None, "year": None, **_columns(values)}
    data = str(said.pop("data"))
    return all(getattr(stored, name) == value for name, value in said.items()) and exactjson.same(stored.data, data)


def _columns(values: Values) -> Values:
    """Return the values that a stored stat tells again."""
    return {name: value for name, value in values.items() if name != "leaves"}


def _stat(stored: Stored, organization: str) -> Stat:
    return Stat(stored.id, organization, *stored[2:])
