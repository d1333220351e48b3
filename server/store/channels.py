"""Channels: where the results of one credential's tasks are sent live. A channel has one listener, the newest."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
    update,
)
from sqlmodel import Field, Index, SQLModel

from server.store.claims import Claimed
from server.store.columns import micros, table_of
from server.store.deliveries import CLAIMED, DELIVERIES, KEPT, ON_CHANNELS, Kept
from server.store.engine import Command, Query, Tx
from server.store.lists import records
from server.store.tasks import TASKS


class ChannelRow(SQLModel, table=True):
    """A channel that has, or had, a listener."""

    __tablename__ = "channels"
    __table_args__ = (Index("channels_by_attach_time", "attach_time"),)

    credential_id: str = Field(primary_key=True)
    generation: int  # grows with each listener: what an earlier one does is void
    attach_time: int = micros()  # when the last listener came
    listening_until: int = micros()  # moved on while it listens


CHANNELS = table_of(ChannelRow)
_H, _D, _T = CHANNELS.c, DELIVERIES.c, TASKS.c


class Seen(NamedTuple):
    """What there is: a channel with results that wait, a listener that came lately, or claims."""

    kind: str  # waiting, attached or claimed
    credential_id: str
    number: int | None  # since when the first result waits; the listener's generation; when the first claim ends
    listening_until: int | None  # of a channel with results; None: nobody ever listened


class Channel(NamedTuple):
    """A channel on which results wait."""

    credential_id: str
    since: int  # when the first of them came
    listening_until: int | None  # None: nobody ever listened


class Listening(NamedTuple):
    """A channel's listener."""

    credential_id: str
    generation: int


class Claim(NamedTuple):
    """A result that somebody is getting."""

    task_id: str
    claim: int


class Ready(NamedTuple):
    """A result that may be sent."""

    task_id: str
    credential_id: str
    service: str
    action: str
    size: int  # bytes


class _Generation(NamedTuple):
    value: int


_UNTIL = bindparam("until", type_=BigInteger)
_NOW = bindparam("now", type_=BigInteger)
_MOST = bindparam("most", type_=Integer)
_OF_CREDENTIAL = _H.credential_id == bindparam("of_credential")
_LISTENERS = records("listeners", credential_id=String, generation=Integer)
_THEIRS = and_(_H.credential_id == _LISTENERS.c.credential_id, _H.generation == _LISTENERS.c.generation)

_ATTACH = Query(
    update(CHANNELS)
    .where(_OF_CREDENTIAL)
    .values(generation=_H.generation + 1, attach_time=_NOW, listening_until=_UNTIL)
    .returning(_H.generation),
    _Generation,
)
_OPEN = Command(
    insert(CHANNELS).values(
        credential_id=bindparam("credential_id"), generation=1, attach_time=_NOW, listening_until=_UNTIL
    )
)
_DETACH = Command(
    update(CHANNELS).where(_OF_CREDENTIAL, _H.generation == bindparam("of_generation")).values(listening_until=_NOW)
)
_RENEW = Query(
    update(CHANNELS).where(_THEIRS).values(listening_until=_UNTIL).returning(_H.credential_id, _H.generation),
    Listening,
)
# Goes by the index from one channel with results to the next: however many wait on one, that is one step.
_FIRST = (
    select(func.min(_D.credential_id).label("credential_id")).where(text(ON_CHANNELS)).cte("waiting", recursive=True)
)
_NEXT = select(func.min(_D.credential_id)).where(text(ON_CHANNELS), _D.credential_id > _FIRST.c.credential_id)
_WAITING = _FIRST.union_all(
    select(_NEXT.correlate(_FIRST).scalar_subquery()).where(_FIRST.c.credential_id.is_not(None))
)
_W = _WAITING.c
_SINCE = (
    select(func.min(_D.available_time))
    .where(text(ON_CHANNELS), _D.credential_id == _W.credential_id)
    .correlate(_WAITING)
    .scalar_subquery()
)
_LAST_HEARD = (
    select(_H.listening_until).where(_H.credential_id == _W.credential_id).correlate(_WAITING).scalar_subquery()
)
_NO_NUMBER: ColumnElement[int] = literal_column("0")
_LOOK = Query(
    union_all(
        select(literal_column("'waiting'"), _W.credential_id, _SINCE, _LAST_HEARD).where(_W.credential_id.is_not(None)),
        select(literal_column("'attached'"), _H.credential_id, _H.generation, _NO_NUMBER).where(
            _H.attach_time >= bindparam("since", type_=BigInteger)
        ),
        select(literal_column("'claimed'"), literal_column("''"), func.min(_D.claim_until), _NO_NUMBER).where(
            text(CLAIMED)
        ),
    ),
    Seen,
)
_READY = Query(
    select(_D.task_id, _D.credential_id, _T.service, _T.action, _D.size)
    .select_from(DELIVERIES.join(TASKS, _T.id == _D.task_id))
    .where(
        _D.credential_id == bindparam("of_credential"),
        text("deliveries.state = 'AVAILABLE' AND deliveries.retrieval = 'aschannel'"),
    )
    .order_by(_D.available_time, _D.task_id)
    .limit(_MOST)
    .with_for_update(skip_locked=True, of=DELIVERIES),
    Ready,
)
_KEEP = Query(
    select(_H.credential_id, _H.generation)
    .join(_LISTENERS, _THEIRS)
    .order_by(_H.credential_id)
    .with_for_update(read=True, of=CHANNELS),
    Listening,
)
_IDS = records("tasks", task_id=String)
_TAKE = Query(
    update(DELIVERIES)
    .where(_D.task_id == _IDS.c.task_id, _D.state == "AVAILABLE")
    .values(state="CLAIMED", claim=_D.claim + 1, claim_until=_UNTIL)
    .returning(*(_D[name] for name in Claimed._fields)),
    Claimed,
)
_CLAIMS = records("claims", task_id=String, claim=Integer)
_IN_CLAIMS = (_D.task_id == _CLAIMS.c.task_id, _D.claim == _CLAIMS.c.claim, _D.state == "CLAIMED")
_RENEW_CLAIMS = Query(
    update(DELIVERIES).where(*_IN_CLAIMS).values(claim_until=_UNTIL).returning(_D.task_id, _D.claim), Claim
)
_RETURN_CLAIMS = Command(
    update(DELIVERIES).where(*_IN_CLAIMS).values(state="AVAILABLE", retrieved=0, available_time=_NOW)
)
_OVERDUE = Query(
    select(_D.task_id, _D.claim)
    .where(text(CLAIMED), _D.claim_until <= _NOW)
    .order_by(_D.claim_until, _D.task_id)
    .limit(_MOST)
    .with_for_update(skip_locked=True),
    Claim,
)
_CHANNELS = Query(select(_W.credential_id, _SINCE, _LAST_HEARD).where(_W.credential_id.is_not(None)), Channel)
_OLD = Query(
    KEPT.where(
        text(ON_CHANNELS),
        _D.credential_id == bindparam("of_credential"),
        _D.available_time <= bindparam("until", type_=BigInteger),
    )
    .order_by(_D.available_time, _D.task_id)
    .limit(_MOST)
    .with_for_update(skip_locked=True),
    Kept,
)


async def attach(tx: Tx, *, credential_id: str, until: int) -> int:
    """Give the channel to a new listener and return its generation."""
    found = await tx.one(_ATTACH, of_credential=credential_id, now=tx.now, until=until)
    if found:
        return found.value
    await tx.run(_OPEN, credential_id=credential_id, now=tx.now, until=until)
    return 1


async def detach(tx: Tx, *, credential_id: str, generation: int) -> None:
    """Note that the listener is gone, if there is no newer one."""
    await tx.run(_DETACH, of_credential=credential_id, of_generation=generation, now=tx.now)


async def renew(tx: Tx, listeners: Sequence[Listening], *, until: int) -> list[Listening]:
    """Note that these listen, and return those of which there is no newer one."""
    return await tx.all(_RENEW, listeners=_listed(listeners), until=until)


async def look(tx: Tx, *, since: int) -> list[Seen]:
    """Return what waits, what is claimed, and which listeners came since then and are the newest of their channels."""
    return await tx.all(_LOOK, since=since)


async def keep(tx: Tx, listeners: Sequence[Listening]) -> list[Listening]:
    """Return those of these that are the newest of their channels. They stay so until this transaction ends."""
    return await tx.all(_KEEP, listeners=_listed(listeners))


async def ready(tx: Tx, *, credential_id: str, most: int) -> list[Ready]:
    """Return results that may be sent on a channel, those first that wait longest. They are locked."""
    return await tx.all(_READY, of_credential=credential_id, most=most)


async def take(tx: Tx, task_ids: Sequence[str], *, until: int) -> list[Claimed]:
    """Claim results that are available, and return them in no order."""
    return await tx.all(_TAKE, tasks=_json([{"task_id": task_id} for task_id in task_ids]), until=until)


async def renew_claims(tx: Tx, claims: Sequence[Claim], *, until: int) -> list[Claim]:
    """Keep those of these claims that are held, and return them."""
    return await tx.all(_RENEW_CLAIMS, claims=_claims(claims), until=until)


async def return_claims(tx: Tx, claims: Sequence[Claim]) -> None:
    """Make those of these that are held available again."""
    await tx.run(_RETURN_CLAIMS, claims=_claims(claims), now=tx.now)


async def overdue(tx: Tx, *, most: int) -> list[Claim]:
    """Return claims, also of downloads, that nobody renewed in time, the oldest first. They are locked."""
    return await tx.all(_OVERDUE, now=tx.now, most=most)


async def waiting(tx: Tx) -> list[Channel]:
    """Return the channels on which results wait."""
    return await tx.all(_CHANNELS)


async def old(tx: Tx, *, credential_id: str, until: int, most: int) -> list[Kept]:
    """Return results that wait on a channel since this time or longer, the oldest first. They are locked."""
    return await tx.all(_OLD, of_credential=credential_id, until=until, most=most)


def _listed(listeners: Sequence[Listening]) -> str:
    return _json([one._asdict() for one in listeners])


def _claims(claims: Sequence[Claim]) -> str:
    return _json([one._asdict() for one in claims])


def _json(values: Sequence[object]) -> str:
    return orjson.dumps(values).decode()
