"""Events: who did what to which object, when and why, written in the transaction of the change they tell of."""

from typing import Any, NamedTuple, Protocol

import orjson

from server.core import chain
from server.core.pages import fitting
from server.store import events as store
from server.store.engine import Head, Tx
from server.store.events import HOUSE


class Actor(Protocol):
    """Who does something; a Caller is one."""

    @property
    def credential_id(self) -> str:
        """The id of its credential."""

    @property
    def name(self) -> str:
        """What people call it now."""


class Object(NamedTuple):
    """What an event is about."""

    kind: str  # a noun, for example "dataset"
    id: str


class Event(NamedTuple):
    """An event, with its number in its log, from 1 and without gaps."""

    sequence: int
    event_time: int  # microseconds since 1970
    actor_id: str  # the credential's id
    actor_name: str  # what people called it then
    action: str
    object: Object
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    host: str  # which of the house's hosts has recorded it
    digest: bytes  # SHA-256, see core/chain.py


async def record(
    tx: Tx,
    *,
    organization_id: int | None,
    actor: Actor,
    action: str,
    object: Object,  # noqa: A002 - the word that events have for it.
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> int:
    """Append an event to the organization's log (None: the house's) and return its number.

    `action` is the object's kind and a participle, such as "dataset.user_erased". `before` and `after` hold the fields
    that changed, and nothing secret or personal: events are never deleted. Others who add to the same log wait until
    the commit, so a verb does this last.
    """
    log_id = log_id_of(organization_id)
    sequence, previous = await store.next_place(tx, log_id, genesis=chain.GENESIS)
    content = store.Content(
        log_id=log_id,
        sequence=sequence,
        event_time=tx.now,
        host=tx.host,
        actor_id=actor.credential_id,
        actor_name=actor.name,
        action=action,
        object_kind=object.kind,
        object_id=object.id,
        before=_text(before),
        after=_text(after),
        reason=reason,
    )
    digest = chain.digest_of(previous, content)
    await store.add(tx, store.Stored(*content, digest, tx.seal(digest)))
    first = tx.heads[log_id].first if log_id in tx.heads else sequence
    tx.heads[log_id] = Head(log_id, first, sequence, digest)
    return sequence


async def page(tx: Tx, *, organization_id: int | None, after: int, most: int) -> list[Event]:
    """Return events of the organization's log (None: the house's) after the number `after`, in order.

    They are up to `most`, and as many as fit into a page's bytes, but at least one if there is one.
    """
    log_id = log_id_of(organization_id)
    most = fitting(await store.page_sizes(tx, log_id, after=after, most=most), most)
    return [event_of(one) for one in await store.page(tx, log_id, after=after, most=most)]


def log_id_of(organization_id: int | None) -> int:
    """Return the id of the organization's log (None: the house's)."""
    return HOUSE if organization_id is None else organization_id


def event_of(one: store.Stored) -> Event:
    """Return an event as it is told."""
    return Event(
        one.sequence,
        one.event_time,
        one.actor_id,
        one.actor_name,
        one.action,
        Object(one.object_kind, one.object_id),
        _value(one.before),
        _value(one.after),
        one.reason,
        one.host,
        one.digest,
    )


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _value(text: str | None) -> dict[str, Any] | None:
    return None if text is None else orjson.loads(text)
