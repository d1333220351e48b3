"""Change requests: changes of rules that were asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import BigInteger, Integer, and_, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update  # SQLite's dialect renders it as well.
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, table_of
from server.store.engine import Command, Query, Tx
from server.store.lists import records
from server.store.rules import RULES


class ChangeRequestLogRow(SQLModel, table=True):
    """How many change requests an organization ever had. Whoever opens one holds this row until the commit."""

    __tablename__ = "change_request_logs"

    organization_id: int = reference("organizations.id", primary_key=True)
    last_number: int = Field(sa_type=BigInteger)


class ChangeRequestRow(SQLModel, table=True):
    """A change request."""

    __tablename__ = "change_requests"
    __table_args__ = (
        Index("change_requests_by_state", "organization_id", "state", "number"),
        Index("change_requests_of_rule", "organization_id", "rule_id", "state", "number"),
    )

    organization_id: int = reference("organizations.id", primary_key=True)
    number: int = Field(sa_type=BigInteger, primary_key=True)  # from 1, without gaps
    name: str
    description: str
    state: str
    rule_id: str  # No reference: a request outlives its rule.
    base_etag: str  # of the rule when the change was asked for
    base: str  # the rule's JSON document then
    wanted: str | None  # the document that it shall have; null: the rule shall be deleted
    bytes: int  # of both
    author_id: str  # the credential's
    author_name: str
    reason: str
    version: int
    create_time: int = micros()
    update_time: int = micros()


LOGS, REQUESTS = table_of(ChangeRequestLogRow), table_of(ChangeRequestRow)
_L, _C = LOGS.c, REQUESTS.c


class Stored(NamedTuple):
    """A change request."""

    number: int
    name: str
    description: str
    state: str
    rule_id: str
    base_etag: str
    base: str
    wanted: str | None
    author_id: str
    author_name: str
    reason: str
    version: int
    create_time: int
    update_time: int
    current_etag: str | None = None  # of the rule now; None: there is no such rule


class Size(NamedTuple):
    """How large a change request is."""

    number: int
    bytes: int


class _Number(NamedTuple):
    value: int


_FIELDS = Stored._fields[:-1]
_MINE = _C.organization_id == bindparam("organization_id")
_STATE = (_MINE, _C.state == bindparam("state"), _C.number > bindparam("after", type_=BigInteger))
_SIZE = select(_C.number, _C.bytes).order_by(_C.number).limit(bindparam("most", type_=Integer))
_NUMBERS = records("numbers", number=BigInteger)
_RULE = and_(RULES.c.organization_id == _C.organization_id, RULES.c.id == _C.rule_id)

_NEXT = Query(
    insert_or_update(LOGS)
    .values(organization_id=bindparam("organization_id"), last_number=1)
    .on_conflict_do_update(index_elements=[_L.organization_id], set_={"last_number": _L.last_number + 1})
    .returning(_L.last_number),
    _Number,
)
_SIZES = Query(_SIZE.where(*_STATE), Size)
_SIZES_OF_RULE = Query(_SIZE.where(*_STATE, _C.rule_id == bindparam("rule_id")), Size)
_BY_NUMBERS = Query(
    select(*(_C[name] for name in _FIELDS), RULES.c.etag)
    .select_from(REQUESTS.outerjoin(RULES, _RULE))
    .where(_MINE, _C.number.in_(select(_NUMBERS.c.number)))
    .order_by(_C.number),
    Stored,
)
_ADD = Command(insert(REQUESTS).values({name: bindparam(name) for name in ("organization_id", "bytes", *_FIELDS)}))
_PUT = Command(
    update(REQUESTS)
    .where(_MINE, _C.number == bindparam("of_number"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "description", "state", "version", "update_time")})
)


async def next_number(tx: Tx, organization_id: int) -> int:
    """Return the number of the organization's next change request, and let nobody else have one until the commit."""
    number = await tx.one(_NEXT, organization_id=organization_id)
    assert number is not None  # noqa: S101 - an INSERT … RETURNING that did not raise has returned its row.
    return number.value


async def sizes(tx: Tx, *, organization_id: int, state: str, after: int, most: int) -> list[Size]:
    """Return up to `most` change requests in this state with numbers beyond `after`, in their order."""
    return await tx.all(_SIZES, organization_id=organization_id, state=state, after=after, most=most)


async def sizes_of_rule(tx: Tx, *, organization_id: int, rule_id: str, state: str, after: int, most: int) -> list[Size]:
    """As sizes, of one rule."""
    return await tx.all(
        _SIZES_OF_RULE, organization_id=organization_id, rule_id=rule_id, state=state, after=after, most=most
    )


async def by_numbers(tx: Tx, *, organization_id: int, numbers: Sequence[int]) -> list[Stored]:
    """Return the change requests with these numbers, in their order."""
    listed = orjson.dumps([{"number": number} for number in numbers]).decode()
    return await tx.all(_BY_NUMBERS, organization_id=organization_id, numbers=listed)


async def add(tx: Tx, *, organization_id: int, request: Stored) -> None:
    """Add a change request."""
    size = len(request.base.encode()) + len((request.wanted or "").encode())
    await tx.run(_ADD, organization_id=organization_id, bytes=size, **request._asdict())


async def put(tx: Tx, *, organization_id: int, request: Stored) -> None:
    """Keep what can change of a change request: name, description, state, version and update_time."""
    await tx.run(
        _PUT,
        organization_id=organization_id,
        of_number=request.number,
        new_name=request.name,
        new_description=request.description,
        new_state=request.state,
        new_version=request.version,
        new_update_time=request.update_time,
    )
