"""Rules: what applies where. They change at once, or by change requests where the organization's workflow is on.

Verbs that change something take turns within the organization, and are for Store.write_guarded. By Store.write they
would collide with each other again and again (measured on PostgreSQL, 16 writers: 40 updates/s, and 300 in turns).
"""

from typing import NamedTuple

import uuid_utils

from server.core import changes, events
from server.core.caller import Caller
from server.core.change_content import Change, ChangeRequest, Remark, reason_faults, reason_kept, remark_faults
from server.core.errors import (
    Fault,
    FaultKind,
    InvalidFields,
    ListTooLong,
    RuleChangedMeanwhile,
    RuleExists,
    RuleNotFound,
)
from server.core.organizations import Review, review_of
from server.core.pages import Page, is_quick, read_page
from server.core.rule_content import MAX_BYTES, Given, Rule, changed, checked, fields_of, id_faults, rule_of
from server.store import rules as store
from server.store.engine import Tx

NO_REMARK = Remark()
_BLANK = Rule(
    id="",
    display_name="",
    short_description="",
    long_description="",
    directives=(),
    targets=(),
    tags=(),
    enabled=True,
    etag="",
    create_time=0,
    update_time=0,
)
"""What a rule has that nothing is said of."""


class Revision(NamedTuple):
    """What became of a request to change a rule."""

    rule: Rule
    """The rule now. One that was deleted, as it was; one whose change is under review, as it still is."""

    change_request: ChangeRequest | None
    """The request that was opened; None if the change was made, or if there was nothing to change."""

    @property
    def change_request_id(self) -> int:
        """The id of that request; 0 if there is none."""
        return self.change_request.id if self.change_request else 0

    @property
    def wanted(self) -> Rule:
        """The rule as it was asked for; one that is deleted, as it was."""
        return (self.change_request and self.change_request.change.after) or self.rule


# Reading


async def get(tx: Tx, *, caller: Caller, rule_id: str) -> Rule:
    """Return one rule. Raises RuleNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, rule_id=rule_id) if rule_id.isprintable() else None
    if found is None:
        raise RuleNotFound(rule_id)
    return _rule(found)


async def page(tx: Tx, *, caller: Caller, page_size: int, page_token: str, quickly: bool) -> Page[Rule] | None:
    """Return the organization's rules in order of their ids.

    If quickly: None if they are so many that it would take long; then ask again by `store.scan`. Raises InvalidFields.
    """
    asked = read_page(page_size, page_token)
    sizes = [
        one.bytes for one in await store.sizes(tx, organization_id=caller.tenant, after=asked.after, most=asked.most)
    ]
    asked = asked.within(sizes)
    if quickly and not is_quick(sizes[: asked.size]):
        return None
    found = await store.page(tx, organization_id=caller.tenant, after=asked.after, most=asked.most)
    return asked.of(list(map(_rule, found)), lambda rule: rule.id)


async def document(tx: Tx, *, caller: Caller, rule_id: str) -> str:
    """Return one rule as `Rule.document()` says it. Raises RuleNotFound."""
    found = await store.by_id(tx, organization_id=caller.tenant, rule_id=rule_id) if rule_id.isprintable() else None
    if found is None:
        raise RuleNotFound(rule_id)
    return found.document


async def documents(tx: Tx, *, caller: Caller, quickly: bool) -> str | None:
    """Return all rules as `Rule.document()` says them, in order of their ids, with commas between them.

    If quickly: None if there are so many that it would take long; then ask again by `store.scan`. Raises ListTooLong.
    """
    most, most_bytes = changes.QUICK, changes.QUICK_BYTES
    if not quickly:
        most, most_bytes = changes.MAX_LISTED, changes.MAX_LISTED_BYTES
    total = await store.total(tx, organization_id=caller.tenant)
    if total.rules > most or total.bytes > most_bytes:
        if quickly:
            return None
        raise ListTooLong
    return await store.documents(tx, organization_id=caller.tenant)


# Writing


async def create(
    tx: Tx,
    *,
    caller: Caller,
    given: Given,
    rule_id: str | None = None,
    source_id: str | None = None,
    reason: str | None = None,
) -> Rule:
    """Add a rule, at once even if the workflow is on; then it is enabled only if nothing but its name is given.

    Without an id it gets a UUID. With the id of a source it is disabled and has the source's fields, but for those that
    are given. Raises InvalidFields (rule.id, rule.display_name …, reason), RuleNotFound (the source), RuleExists,
    RuleNameTaken.
    """
    review = await review_of(tx, caller.tenant, in_turn=True)
    clean, faults = checked(given)
    if rule_id is not None:
        faults += id_faults(rule_id)
    if given.display_name is None:
        faults.append(Fault("rule.display_name", "is required", FaultKind.MISSING))
    bad_reason = reason_faults(review, reason)
    if faults:
        raise InvalidFields((*faults, *bad_reason))
    source = _BLANK if source_id is None else await get(tx, caller=caller, rule_id=source_id)
    if bad_reason:
        raise InvalidFields(tuple(bad_reason))
    rule = changed(source, clean)._replace(
        id=str(uuid_utils.uuid4()) if rule_id is None else rule_id,
        etag=changes.new_etag(),
        create_time=tx.now,
        update_time=tx.now,
    )
    if source_id is not None or (review.workflow and not given.is_only_named):
        rule = rule._replace(enabled=False)
    _check_size(rule)
    if await store.by_id(tx, organization_id=caller.tenant, rule_id=rule.id):
        raise RuleExists(rule.id)
    await changes.check_name_free(tx, caller, rule.display_name)
    await store.add(tx, organization_id=caller.tenant, rule=changes.stored_rule(rule))
    await events.record(
        tx,
        organization_id=caller.tenant,
        actor=caller,
        action="rule.created",
        object=events.Object("rule", rule.id),
        after=fields_of(rule),
        reason=reason_kept(review, reason),
    )
    return rule


async def update(
    tx: Tx, *, caller: Caller, rule_id: str, given: Given, etag: str = "", remark: Remark = NO_REMARK
) -> Revision:
    """Change the fields that are given, or open a change request for it; if nothing would change, do nothing.

    Raises RuleNotFound, InvalidFields (rule.display_name …, reason, change_request_name, change_request_description),
    RuleChangedMeanwhile (unless the etag is empty), RuleNameTaken.
    """
    review = await review_of(tx, caller.tenant, in_turn=True)
    before = await get(tx, caller=caller, rule_id=rule_id)
    if given.display_name == before.display_name:  # Whatever is fetched can be sent back, if laws have changed, too.
        given = given._replace(display_name=None)
    clean, faults = checked(given)
    after = before if faults else changed(before, clean)
    return await _revise(tx, caller, review, Change(before, after), faults, etag, remark)


async def delete(tx: Tx, *, caller: Caller, rule_id: str, etag: str = "", remark: Remark = NO_REMARK) -> Revision:
    """Delete a rule, or open a change request for it.

    Raises RuleNotFound, InvalidFields (reason, change_request_name, change_request_description), RuleChangedMeanwhile
    (unless the etag is empty).
    """
    review = await review_of(tx, caller.tenant, in_turn=True)
    before = await get(tx, caller=caller, rule_id=rule_id)
    return await _revise(tx, caller, review, Change(before, None), [], etag, remark)


async def _revise(
    tx: Tx, caller: Caller, review: Review, change: Change, faults: list[Fault], etag: str, remark: Remark
) -> Revision:
    faults += remark_faults(review, remark)
    if faults:
        raise InvalidFields(tuple(faults))
    before, after = change
    if etag not in ("", before.etag):
        raise RuleChangedMeanwhile(before.id, etag)
    if after == before:
        return Revision(before, None)
    if after:
        _check_size(after)
    reason = reason_kept(review, remark.reason)
    if review.workflow:
        return Revision(before, await changes.open(tx, caller=caller, change=change, remark=remark, reason=reason))
    return Revision(await changes.apply(tx, actor=caller, change=change, reason=reason), None)


def _check_size(rule: Rule) -> None:
    if len(rule.document().encode()) > MAX_BYTES:
        raise InvalidFields((Fault("rule", f"is larger than {MAX_BYTES} bytes as JSON"),))


def _rule(stored: store.Stored) -> Rule:
    return rule_of(stored.document, etag=stored.etag, create_time=stored.create_time, update_time=stored.update_time)
