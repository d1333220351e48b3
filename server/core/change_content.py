"""What a change request holds, what may be said with it, and where it may go."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from server.core.errors import Fault, FaultKind
from server.core.organizations import ReasonMode, Review
from server.core.rule_content import Rule, difference, fields_of, name_faults, rule_of, text_faults
from server.store import changes as store

MIN_REASON = 5  # characters, where a reason is mandatory


class ChangeState(StrEnum):
    """Where a change request stands. The values are the texts for people."""

    PENDING_VALIDATION = "pending validation"
    PENDING_DEPLOYMENT = "pending deployment"
    DEPLOYED = "deployed"
    CANCELLED = "cancelled"


LAW: Mapping[ChangeState, frozenset[ChangeState]] = MappingProxyType(
    {
        ChangeState.PENDING_VALIDATION: frozenset(ChangeState) - {ChangeState.PENDING_VALIDATION},
        ChangeState.PENDING_DEPLOYMENT: frozenset({ChangeState.DEPLOYED, ChangeState.CANCELLED}),
        ChangeState.DEPLOYED: frozenset(),
        ChangeState.CANCELLED: frozenset(),
    }
)
"""What each state may become."""
OPEN = frozenset(state for state in ChangeState if LAW[state])


class Change(NamedTuple):
    """A rule as it was, and as it shall be: None if it shall be deleted."""

    before: Rule
    after: Rule | None


class Remark(NamedTuple):
    """What a request to change a rule says of itself. The name and description are read only if the workflow is on."""

    reason: str | None = None
    change_request_name: str | None = None  # None: one that says what is done to which rule
    change_request_description: str = ""


class ChangeRequest(NamedTuple):
    """A change of a rule that was asked for. The rules in it have no times."""

    id: int  # from 1, growing within the organization
    name: str
    description: str
    state: ChangeState
    change: Change
    author_id: str  # the credential's id
    author_name: str  # what people called it then
    reason: str
    is_acceptable: bool  # it is pending, and the rule still is as it was
    version: int
    create_time: int  # microseconds since 1970
    update_time: int  # microseconds since 1970

    @property
    def etag(self) -> str:
        """Another one after each change."""
        return str(self.version)


def remark_faults(review: Review, remark: Remark) -> list[Fault]:
    """Return what is wrong with the reason, and with the name and description that a change request would have."""
    faults = reason_faults(review, remark.reason)
    if review.workflow:
        if remark.change_request_name is not None:
            faults += name_faults(remark.change_request_name, "change_request_name")
        faults += text_faults(remark.change_request_description, "change_request_description")
    return faults


def reason_faults(review: Review, reason: str | None) -> list[Fault]:
    """Return what is wrong with a reason, as the organization wants them."""
    match review.reason_mode:
        case ReasonMode.DISABLED:
            return []
        case ReasonMode.MANDATORY if not reason:
            rule = f"is mandatory, and must have at least {MIN_REASON} characters"
            return [Fault("reason", rule, FaultKind.MISSING)]
        case ReasonMode.MANDATORY if len(reason or "") < MIN_REASON:
            return [Fault("reason", f"must have at least {MIN_REASON} characters", FaultKind.TOO_SHORT)]
    return text_faults(reason or "", "reason")


def reason_kept(review: Review, reason: str | None) -> str:
    """Return what is kept of a reason."""
    return "" if review.reason_mode is ReasonMode.DISABLED else reason or ""


def name_of(change: Change, remark: Remark) -> str:
    """Return the name that a change request gets."""
    if remark.change_request_name is not None:
        return remark.change_request_name
    rule = change.after or change.before
    return f"{'Update' if change.after else 'Delete'} Rule {rule.display_name} from API"


def told_of(change: Change) -> tuple[dict[str, object], dict[str, object] | None]:
    """Return what events tell of a change: the fields that are other then, or all of a rule that is deleted."""
    before, after = change
    return difference(before, after) if after else (fields_of(before), None)


def stored_of(request: ChangeRequest) -> store.Stored:
    """Return the request's row."""
    before, after = request.change
    return store.Stored(
        number=request.id,
        name=request.name,
        description=request.description,
        state=request.state.value,
        rule_id=before.id,
        base_etag=before.etag,
        base=before.document(),
        wanted=after and after.document(),
        author_id=request.author_id,
        author_name=request.author_name,
        reason=request.reason,
        version=request.version,
        create_time=request.create_time,
        update_time=request.update_time,
    )


def _rule(document: str, etag: str) -> Rule:
    return rule_of(document, etag=etag, create_time=0, update_time=0)


def request_of(stored: store.Stored) -> ChangeRequest:
    """Return the request that a row holds."""
    state = ChangeState(stored.state)
    before = _rule(stored.base, stored.base_etag)
    after = _rule(stored.wanted, stored.base_etag) if stored.wanted else None
    return ChangeRequest(
        id=stored.number,
        name=stored.name,
        description=stored.description,
        state=state,
        change=Change(before, after),
        author_id=stored.author_id,
        author_name=stored.author_name,
        reason=stored.reason,
        is_acceptable=state in OPEN and stored.current_etag == stored.base_etag,
        version=stored.version,
        create_time=stored.create_time,
        update_time=stored.update_time,
    )
