"""What can be refused, as facts with fields. Each door has one table that says how it tells its callers."""

from dataclasses import dataclass, fields
from enum import StrEnum

MAX_VALUE = 200  # characters of what a caller sent, in what it is told
MAX_FAULTS = 50
MAX_DESCRIPTION = 300  # characters


@dataclass(eq=False)
class Refusal(Exception):
    """A call is refused. The docstring of each kind, filled with its fields, is its text for people."""

    def __str__(self) -> str:
        return (type(self).__doc__ or "").format(**self.metadata())

    def metadata(self) -> dict[str, str]:
        """Return the fields as text, as google.rpc.ErrorInfo carries them."""
        return {field.name: cut(str(getattr(self, field.name)), MAX_VALUE) for field in fields(self)}


class FaultKind(StrEnum):
    """What is wrong with a field, for programs."""

    INVALID = "INVALID"
    MISSING = "MISSING"
    NOT_PERMITTED = "NOT_PERMITTED"  # It holds a value that the catalogue or the credential does not allow.
    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    TOO_SHORT = "TOO_SHORT"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request."""

    field: str  # path in the request message, for example "task.parameters.bin_width"
    description: str
    kind: FaultKind = FaultKind.INVALID


@dataclass(eq=False)
class InvalidFields(Refusal):
    """Fields of the request are missing or malformed."""

    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        many = f"{len(self.faults)} faults, such as " if len(self.faults) > MAX_FAULTS else ""
        return many + "; ".join(f"{fault.field}: {fault.description}" for fault in self.told())

    def told(self) -> tuple[Fault, ...]:
        """Return as many of the faults as a caller is told, each no longer than it may be."""
        return tuple(
            Fault(cut(fault.field, MAX_VALUE), cut(fault.description, MAX_DESCRIPTION), fault.kind)
            for fault in self.faults[:MAX_FAULTS]
        )

    def metadata(self) -> dict[str, str]:
        """Return nothing: the faults travel as a google.rpc.BadRequest."""
        return {}


def cut(text: str, most: int) -> str:
    """Return the text, or its beginning if it is longer than `most` characters: a refusal must fit into headers."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def invalid(field: str, description: str) -> InvalidFields:
    """Return the refusal for a single bad field."""
    return InvalidFields((Fault(field, description),))


@dataclass(eq=False)
class UndecodableRequest(Refusal):
    """The request is not the message that this method takes."""


@dataclass(eq=False)
class PathFieldOverridden(Refusal):
    """The field {field} of the path is given again, with another value."""

    field: str


@dataclass(eq=False)
class TooLarge(Refusal):
    """The request is larger than the {max_bytes} bytes that this method takes."""

    max_bytes: int


@dataclass(eq=False)
class ResultTooLarge(Refusal):
    """The result is larger than the {max_bytes} bytes that it may have."""

    max_bytes: int


@dataclass(eq=False)
class CredentialMissing(Refusal):
    """This call needs a credential."""


@dataclass(eq=False)
class CredentialUnknown(Refusal):
    """The credential is unknown, revoked or expired."""


@dataclass(eq=False)
class TwoCredentials(Refusal):
    """Send a token or a client certificate, not both."""


@dataclass(eq=False)
class NotPermitted(Refusal):
    """This credential may not call {method}."""

    method: str


@dataclass(eq=False)
class TaskNotFound(Refusal):
    """There is no task {task_id}."""

    task_id: str


@dataclass(eq=False)
class TaskLimitReached(Refusal):
    """Too many of the organization's tasks are not finished yet; wait until some are."""


@dataclass(eq=False)
class TasksNotFound(Refusal):
    """There are no tasks {task_ids}."""

    task_ids: str  # with commas between


@dataclass(eq=False)
class ResultNotFound(Refusal):
    """There is no result {result_id}."""

    result_id: str


@dataclass(eq=False)
class ResultClaimed(Refusal):
    """Somebody is getting the result of task {task_id}; try again later."""

    task_id: str


@dataclass(eq=False)
class ListenerReplaced(Refusal):
    """A newer listener has taken over this stream."""


@dataclass(eq=False)
class DatasetNotFound(Refusal):
    """There is no dataset {dataset}."""

    dataset: str


@dataclass(eq=False)
class DatasetExists(Refusal):
    """There is a dataset {dataset} with other columns or settings."""

    dataset: str


@dataclass(eq=False)
class UploadNotFound(Refusal):
    """There is no upload {upload_id}."""

    upload_id: str


@dataclass(eq=False)
class UploadTakenOver(Refusal):
    """Another stream has taken over the upload {upload_id}."""

    upload_id: str


@dataclass(eq=False)
class BudgetExhausted(Refusal):
    """The privacy budget of dataset {dataset} does not suffice: this question costs {cost}, and {remaining} is left."""

    dataset: str
    cost: str  # epsilon
    remaining: str  # epsilon


@dataclass(eq=False)
class TooManyQuestions(Refusal):
    """Too many questions of the organization wait for their answers; ask again when some have theirs."""


@dataclass(eq=False)
class OrganizationNotFound(Refusal):
    """There is no organization {organization}."""

    organization: str


@dataclass(eq=False)
class OrganizationExists(Refusal):
    """There is an organization {organization} already."""

    organization: str


@dataclass(eq=False)
class StatNotFound(Refusal):
    """There is no stat {stat_id}."""

    stat_id: str


@dataclass(eq=False)
class StatExists(Refusal):
    """The stat {stat_id} has the uuid {uuid} and other content."""

    uuid: str
    stat_id: str


@dataclass(eq=False)
class AccountNotFound(Refusal):
    """There is no account {account_id}."""

    account_id: str


@dataclass(eq=False)
class AccountExists(Refusal):
    """There is an account {username} of {service} already."""

    service: str
    username: str


@dataclass(eq=False)
class RuleNotFound(Refusal):
    """There is no rule {rule_id}."""

    rule_id: str


@dataclass(eq=False)
class RuleExists(Refusal):
    """There is a rule {rule_id} already."""

    rule_id: str


@dataclass(eq=False)
class RuleNameTaken(Refusal):
    """The rule {rule_id} has the name {display_name} already."""

    display_name: str
    rule_id: str


@dataclass(eq=False)
class RuleChangedMeanwhile(Refusal):
    """The rule {rule_id} has changed since it had the etag {etag}."""

    rule_id: str
    etag: str


@dataclass(eq=False)
class ListTooLong(Refusal):
    """There is too much to list at once; ask for it page by page."""


@dataclass(eq=False)
class WorkflowDisabled(Refusal):
    """The workflow of this organization is off, and without it there are no change requests."""


@dataclass(eq=False)
class ChangeRequestNotFound(Refusal):
    """There is no change request {change_request_id}."""

    change_request_id: int


@dataclass(eq=False)
class ChangeRequestStateForbids(Refusal):
    """The change request {change_request_id} is already {state}."""

    change_request_id: int
    state: str  # in words, such as "pending deployment"


@dataclass(eq=False)
class ChangeRequestDiverged(Refusal):
    """The rule {rule_id} has changed since change request {change_request_id} was opened: it cannot be accepted."""

    change_request_id: int
    rule_id: str


@dataclass(eq=False)
class ChangeRequestUnchanged(Refusal):
    """There is nothing to change in change request {change_request_id}."""

    change_request_id: int


@dataclass(eq=False)
class ChangeRequestChangedMeanwhile(Refusal):
    """The change request {change_request_id} has changed since it had the etag {etag}."""

    change_request_id: int
    etag: str


@dataclass(eq=False)
class CredentialNotFound(Refusal):
    """There is no credential {credential_id}."""

    credential_id: str


@dataclass(eq=False)
class CredentialTaken(Refusal):
    """This token is in use already."""


@dataclass(eq=False)
class RequestIdReused(Refusal):
    """The request id {request_id} was used before, for another request."""

    request_id: str


@dataclass(eq=False)
class LeaseEnded(Refusal):
    """Attempt {attempt} of task {task_id} is over."""

    task_id: str
    attempt: int


@dataclass(eq=False)
class ProtocolBroken(Refusal):
    """{what}"""

    what: str


@dataclass(eq=False)
class StreamIdle(Refusal):
    """Nothing came for {seconds} seconds."""

    seconds: int


@dataclass(eq=False)
class SearchTooLong(Refusal):
    """The search was given up after {seconds} seconds: narrow it by fields that have an index, or ask for less."""

    seconds: int


@dataclass(eq=False)
class Stopping(Refusal):
    """The server is stopping; try again."""


@dataclass(eq=False)
class NotServed(Refusal):
    """This method is not served in this way."""
