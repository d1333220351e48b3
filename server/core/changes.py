"""Change requests: changes of rules that wait for somebody to accept them, where an organization's workflow is on.

A request holds the rule as it was and as it shall be. It is applied only to the rule as it was: whatever changed the
rule meanwhile gave it another etag, and then the request can only be declined. Verbs that change something are for
Store.write_guarded, as those of rules.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import uuid_utils

from server.core import events
from server.core.caller import Caller
from server.core.change_content import (
    LAW,
    OPEN,
    Change,
    ChangeRequest,
    ChangeState,
    Remark,
    name_of,
    reason_faults,
    reason_kept,
    request_of,
    stored_of,
    told_of,
)
from server.core.errors import (
    ChangeRequestChangedMeanwhile,
    ChangeRequestDiverged,
    ChangeRequestNotFound,
    ChangeRequestStateForbids,
    ChangeRequestUnchanged,
    InvalidFields,
    ListTooLong,
    RuleNameTaken,
    WorkflowDisabled,
)
from server.core.organizations import Review, review_of
from server.core.pages import QUICK_ITEMS, Page, is_quick, number_of, read_page
from server.core.rule_content import Rule, comparable, name_faults, text_faults
from server.store import changes as store
from server.store import rules as stored_rules
from server.store.engine import Tx

MAX_LISTED = 10_000  # of what is listed at once
MAX_LISTED_BYTES = 64 * 1024 * 1024
MAX_ID = 2**63 - 1
QUICK = 1_000  # of what is listed at once by a quick read
QUICK_BYTES = 1024 * 1024


_STEPS = {
    ChangeState.PENDING_DEPLOYMENT: "change_request.validated",
    ChangeState.DEPLOYED: "change_request.deployed",
    ChangeState.CANCELLED: "change_request.declined",
}


# Reading


async def get(tx: Tx, *, caller: Caller, change_request_id: int) -> ChangeRequest:
    """Return one change request. Raises WorkflowDisabled, ChangeRequestNotFound."""
    await _check_workflow(tx, caller)
    return await _existing(tx, caller, change_request_id)


async def page(
    tx: Tx,
    *,
    caller: Caller,
    states: frozenset[ChangeState],
    rule_id: str,
    page_size: int,
    page_token: str,
    quickly: bool,
) -> Page[ChangeRequest] | None:
    """Return change requests in these states, of one rule or (if rule_id is empty) of any, in order of their ids.

    If quickly: None if they are so many that it would take long; then ask again by `store.scan`.
    Raises InvalidFields, WorkflowDisabled.
    """
    asked = read_page(page_size, page_token)
    after = number_of(asked.after) if asked.after else 0
    await _check_workflow(tx, caller)
    sizes = await _sizes(tx, caller, states, rule_id, after=after, most=asked.most)
    cut = asked.within(one.bytes for one in sizes)
    if quickly and not is_quick([one.bytes for one in sizes[: cut.size]]):
        return None
    found = await _of(tx, caller, [one.number for one in sizes[: cut.size]])
    return Page(found, cut.of(sizes, lambda one: str(one.number)).next_page_token)


async def every(tx: Tx, *, caller: Caller, states: frozenset[ChangeState], quickly: bool) -> list[ChangeRequest] | None:
    """Return all change requests in these states, in order of their ids.

    If quickly: None if there are so many that it would take long; then ask again by `store.scan`.
    Raises WorkflowDisabled, ListTooLong.
    """
    await _check_workflow(tx, caller)
    most = QUICK_ITEMS if quickly else MAX_LISTED
    sizes = await _sizes(tx, caller, states, "", after=0, most=most + 1)
    if quickly and not is_quick([one.bytes for one in sizes]):
        return None
    if len(sizes) > most or sum(one.bytes for one in sizes) > MAX_LISTED_BYTES:
        raise ListTooLong
    return await _of(tx, caller, [one.number for one in sizes])


# Opening


async def open(tx: Tx, *, caller: Caller, change: Change, remark: Remark, reason: str) -> ChangeRequest:  # noqa: A001 - the word for it.
    """Ask for a change, which is open then, and return the request. Raises RuleNameTaken."""
    await _check_name(tx, caller, change)
    number = await store.next_number(tx, caller.tenant)
    opened = ChangeRequest(
        id=number,
        name=name_of(change, remark),
        description=remark.change_request_description,
        state=ChangeState.PENDING_VALIDATION,
        change=Change(_timeless(change.before), _timeless(change.after) if change.after else None),
        author_id=caller.credential_id,
        author_name=caller.name,
        reason=reason,
        is_acceptable=True,
        version=1,
        create_time=tx.now,
        update_time=tx.now,
    )
    await store.add(tx, organization_id=caller.tenant, request=stored_of(opened))
    before, after = told_of(change)
    await events.record(
        tx,
        organization_id=caller.tenant,
        actor=caller,
        action="change_request.created",
        object=_object(number),
        before={"rule": before},
        after={"rule_id": change.before.id, "rule": after, "name": opened.name, "description": opened.description},
        reason=reason,
    )
    return opened


# Changing


async def update(
    tx: Tx,
    *,
    caller: Caller,
    change_request_id: int,
    name: str | None,
    description: str | None,
    etag: str = "",
    must_change: bool = False,
) -> ChangeRequest:
    """Give an open change request another name or description; None leaves it as it is.

    Raises InvalidFields, WorkflowDisabled, ChangeRequestNotFound, ChangeRequestChangedMeanwhile (unless the etag is
    empty), ChangeRequestStateForbids, ChangeRequestUnchanged (only if it must change).
    """
    await _check_workflow(tx, caller, in_turn=True)
    old = await _existing(tx, caller, change_request_id)
    faults = [] if name is None else name_faults(name, "change_request.name")
    faults += text_faults(description or "", "change_request.description")
    if faults:
        raise InvalidFields(tuple(faults))
    if etag not in ("", old.etag):
        raise ChangeRequestChangedMeanwhile(old.id, etag)
    if old.state not in OPEN:
        raise ChangeRequestStateForbids(old.id, old.state)
    new = old._replace(
        name=old.name if name is None else name,
        description=old.description if description is None else description,
    )
    names = [field for field in ("name", "description") if getattr(old, field) != getattr(new, field)]
    if not names:
        if must_change:
            raise ChangeRequestUnchanged(old.id)
        return old
    new = await _put(tx, caller, new)
    await events.record(
        tx,
        organization_id=caller.tenant,
        actor=caller,
        action="change_request.updated",
        object=_object(new.id),
        before={field: getattr(old, field) for field in names},
        after={field: getattr(new, field) for field in names},
    )
    return new


async def accept(
    tx: Tx, *, caller: Caller, change_request_id: int, state: ChangeState, reason: str | None = None
) -> ChangeRequest:
    """Move a change request on to PENDING_DEPLOYMENT or to DEPLOYED, which changes the rule.

    Raises WorkflowDisabled, InvalidFields (reason), ChangeRequestNotFound, ChangeRequestStateForbids,
    ChangeRequestDiverged, RuleNameTaken.
    """
    return await _step(tx, caller, change_request_id, state, reason)


async def decline(tx: Tx, *, caller: Caller, change_request_id: int, reason: str | None = None) -> ChangeRequest:
    """Cancel a change request.

    Raises WorkflowDisabled, InvalidFields (reason), ChangeRequestNotFound, ChangeRequestStateForbids.
    """
    return await _step(tx, caller, change_request_id, ChangeState.CANCELLED, reason)


async def apply(tx: Tx, *, actor: Caller, change: Change, reason: str) -> Rule:
    """Change a rule that is as `change.before` says, and return it as it is then, or as it was before it was deleted.

    Raises RuleNameTaken.
    """
    await _check_name(tx, actor, change)
    before, after = told_of(change)
    if change.after is None:
        action, done = "rule.deleted", change.before
        await stored_rules.remove(tx, organization_id=actor.tenant, rule_id=done.id)
    else:
        action, done = "rule.updated", change.after._replace(etag=new_etag(), update_time=tx.now)
        await stored_rules.put(tx, organization_id=actor.tenant, rule=stored_rule(done))
    await events.record(
        tx,
        organization_id=actor.tenant,
        actor=actor,
        action=action,
        object=events.Object("rule", done.id),
        before=before,
        after=after,
        reason=reason,
    )
    return done


def stored_rule(rule: Rule) -> stored_rules.Stored:
    """Return the rule's row."""
    return stored_rules.Stored(
        rule.id, comparable(rule.display_name), rule.document(), rule.etag, rule.create_time, rule.update_time
    )


def new_etag() -> str:
    """Return an etag that nothing ever had."""
    return str(uuid_utils.uuid7())


async def _step(
    tx: Tx, caller: Caller, change_request_id: int, state: ChangeState, reason: str | None
) -> ChangeRequest:
    review = await _check_workflow(tx, caller, in_turn=True)
    old = await _existing(tx, caller, change_request_id)
    faults = reason_faults(review, reason)
    if faults:
        raise InvalidFields(tuple(faults))
    if state not in LAW[old.state]:
        raise ChangeRequestStateForbids(old.id, old.state)
    if state is not ChangeState.CANCELLED and not old.is_acceptable:
        raise ChangeRequestDiverged(old.id, old.change.before.id)
    new = await _put(tx, caller, old._replace(state=state, is_acceptable=old.is_acceptable and state in OPEN))
    if state is ChangeState.DEPLOYED:
        author = replace(caller, credential_id=old.author_id, name=old.author_name)
        await apply(tx, actor=author, change=old.change, reason=old.reason)
    await events.record(
        tx,
        organization_id=caller.tenant,
        actor=caller,
        action=_STEPS[state],
        object=_object(new.id),
        before={"state": old.state},
        after={"state": new.state},
        reason=reason_kept(review, reason),
    )
    return new


async def _check_workflow(tx: Tx, caller: Caller, *, in_turn: bool = False) -> Review:
    review = await review_of(tx, caller.tenant, in_turn=in_turn)
    if not review.workflow:
        raise WorkflowDisabled
    return review


async def _check_name(tx: Tx, caller: Caller, change: Change) -> None:
    """Raise RuleNameTaken if another rule has the name that this one shall have."""
    if change.after and comparable(change.after.display_name) != comparable(change.before.display_name):
        await check_name_free(tx, caller, change.after.display_name)


async def check_name_free(tx: Tx, caller: Caller, name: str) -> None:
    """Raise RuleNameTaken if a rule has this name, or one that people take for the same."""
    taken = await stored_rules.by_name(tx, organization_id=caller.tenant, display_name=comparable(name))
    if taken:
        raise RuleNameTaken(name, taken.id)


def _timeless(rule: Rule) -> Rule:
    return rule._replace(create_time=0, update_time=0)


async def _put(tx: Tx, caller: Caller, request: ChangeRequest) -> ChangeRequest:
    new = request._replace(version=request.version + 1, update_time=tx.now)
    await store.put(tx, organization_id=caller.tenant, request=stored_of(new))
    return new


async def _sizes(
    tx: Tx, caller: Caller, states: frozenset[ChangeState], rule_id: str, *, after: int, most: int
) -> list[store.Size]:
    """Return the first change requests after a number. Each state is asked for by itself, as the index has them so."""
    found: list[store.Size] = []
    for state in states:
        asked = partial(
            partial(store.sizes_of_rule, rule_id=rule_id) if rule_id else store.sizes,
            organization_id=caller.tenant,
            state=state.value,
        )
        found += await asked(tx, after=after, most=most)
    return sorted(found)[:most]


async def _of(tx: Tx, caller: Caller, numbers: Sequence[int]) -> list[ChangeRequest]:
    return list(map(request_of, await store.by_numbers(tx, organization_id=caller.tenant, numbers=numbers)))


async def _existing(tx: Tx, caller: Caller, number: int) -> ChangeRequest:
    found = await _of(tx, caller, [number]) if 0 < number <= MAX_ID else []
    if not found:
        raise ChangeRequestNotFound(number)
    return found[0]


def _object(number: int) -> events.Object:
    return events.Object("change_request", str(number))
