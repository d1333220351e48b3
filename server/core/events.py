"""Events: who did what to which object, when and why, written in the transaction of the change they tell of."""

from typing import Any, NamedTuple

import orjson

from server.core.caller import Caller
from server.store import events as store
from server.store.engine import Tx


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


async def record(
    tx: Tx,
    *,
    organization_id: int | None,
    actor: Caller,
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
    log_id = _log(organization_id)
    sequence = await store.next_sequence(tx, log_id)
    event = store.Stored(
        sequence=sequence,
        event_time=tx.now,
        actor_id=actor.credential_id,
        actor_name=actor.name,
        action=action,
        object_kind=object.kind,
        object_id=object.id,
        before=_text(before),
        after=_text(after),
        reason=reason,
    )
    await store.add(tx, log_id, event)
    return sequence


async def page(tx: Tx, *, organization_id: int | None, after: int, most: int) -> list[Event]:
    """Return up to `most` events of the organization's log (None: the house's) after the number `after`, in order."""
    return [_event(one) for one in await store.page(tx, _log(organization_id), after=after, most=most)]


def _log(organization_id: int | None) -> int:
    return store.HOUSE if organization_id is None else organization_id


def _event(one: store.Stored) -> Event:
    before, after = _value(one.before), _value(one.after)
    who = (one.actor_id, one.actor_name)
    return Event(
        one.sequence,
        one.event_time,
        *who,
        one.action,
        Object(one.object_kind, one.object_id),
        before,
        after,
        one.reason,
    )


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _value(text: str | None) -> dict[str, Any] | None:
    return None if text is None else orjson.loads(text)
