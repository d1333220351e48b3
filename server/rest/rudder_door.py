"""The manners of the rudder API: its credential, its envelope, and what it says of refusals."""

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import orjson

from server.core import errors
from server.core.change_content import MIN_REASON
from server.core.errors import Fault, FaultKind, InvalidFields, Refusal
from server.core.rule_content import MIN_NAME
from server.rest.exchange import ORIGINAL_METHOD, QueryBroken, headers_of
from server.rest.monarc_door import MonarcDoor
from server.rest.rudder_calls import UNKNOWN, Address, address_of
from server.rpc.door import Context, CredentialType, Metadata, Presented, current_caller
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.rpc.refusals import MAX_BODY_BYTES, refuse, to_ascii_json
from server.store.engine import StoreUnavailable

API_TOKEN = "x-api-token"  # noqa: S105 - the header that holds one.
CONTENT_TYPE = "application/json; charset=utf-8"
NOT_UTF8 = "The path or a parameter is not UTF-8."
MAX_ID = 255  # characters of an id, in a refusal
_MONARC = re.compile("/api/v[0-9]+(/.*)?")
_SPARE_BYTES = 8  # for the mark where a text was cut
_Code = grpc.StatusCode


@dataclass(eq=False)
class Complaint(Refusal):
    """What is asked for cannot be understood."""

    details: str

    def __str__(self) -> str:
        return self.details


@dataclass(eq=False)
class BadValue(Refusal):
    """A parameter has a value that it cannot have."""

    cause: str

    def __str__(self) -> str:
        return self.cause


@dataclass(eq=False)
class BadRemark(Refusal):
    """A parameter about the change itself, such as its reason, has a value that it cannot have."""

    cause: str

    def __str__(self) -> str:
        return self.cause


@dataclass(slots=True)
class Call:
    """What is known of a call, for what is said of it if it is refused."""

    headers: Mapping[str, str]  # of the request
    method: str
    path: str
    address: Address
    action: str = UNKNOWN
    id: str = ""  # of the rule or the change request
    is_pretty: bool = False
    said: dict[str, str] = field(default_factory=dict)  # what was given, by field paths such as "rule.display_name"
    source: str | None = None
    answers: Mapping[str, str] = field(default_factory=dict)  # the headers of the answer


_call: ContextVar[Call] = ContextVar("call")


def begin(context: Context) -> Call:
    """Read what is asked for. Raises NotServed to native gRPC, Complaint."""
    try:
        call = _read(headers_of(context))
    except QueryBroken as error:
        raise Complaint(NOT_UTF8) from error
    _call.set(call)
    return call


def envelope(call: Call, data: str) -> bytes:
    """Return the answer to a call that did what it should; `data` is JSON."""
    identity = f'"id":{orjson.dumps(call.id).decode()},' if call.id else ""
    text = f'{{"action":"{call.action}",{identity}"result":"success","data":{data}}}'
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2) if call.is_pretty else text.encode()


class RudderDoor:
    """Only the token in X-API-Token counts, whatever else a call carries."""

    stranger = None

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the token."""
        token = metadata.get(API_TOKEN)
        if not token:
            return None
        return Presented(CredentialType.TOKEN, hashlib.sha256(str(token).encode()).digest(), "rudder")

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """Answer the envelope with `errorDetails`."""
        call = _call.get(None) or _known(context)
        if _MONARC.fullmatch(call.path):  # A version of that API which is none, and which no template of it has.
            await MonarcDoor().refuse(context, errors.NotServed(), request_id=request_id)
        status, code = _status(refusal)
        details, has_id = details_of(call, refusal)
        body = _body(call, details, has_id=has_id)
        extra: dict[str, Any] = {"x_taskhouse_type": CONTENT_TYPE, **call.answers}
        methods = methods_of(call.address)
        if status == 404 and methods and call.method not in methods:
            extra["allow"] = ", ".join(methods)
        await refuse(context, code, status, body, indented=call.is_pretty, **extra)


def methods_of(address: Address) -> list[str]:
    """Return the methods that a path has; none, if there is no such path."""
    functions = list(address.functions)
    return [*functions, *["HEAD"] * ("GET" in functions), "OPTIONS"] if functions else []


def details_of(call: Call, refusal: Exception) -> tuple[str, bool]:
    """Return what is said of a refusal, and whether the call's id stands beside it."""
    match refusal:
        case errors.CredentialMissing() | errors.CredentialUnknown():
            return "Unauthorized: this call needs a good API token in the header X-API-Token.", False
        case errors.NotPermitted():
            who = current_caller().name
            return f"Authorization error: User '{who}' is not allowed to access {call.method} {call.path}", False
        case errors.NotServed() | NotImplementedError():
            return f"There is no {call.method} {call.path}.", False
        case StoreUnavailable():
            return "The service is not available at the moment. Try again.", False
        case errors.WorkflowDisabled():
            return "Workflows are disabled, and without them the change requests API is not available.", False
        case Complaint() | errors.TooLarge() | errors.UndecodableRequest() | errors.PathFieldOverridden():
            return str(refusal), False
        case Refusal():
            return _failed(call, refusal), True
    return "Internal error.", False


def _failed(call: Call, refusal: Refusal) -> str:
    """Return what is said of a call that could be understood."""
    cause, rule_id, name = _cause(call, refusal), call.id, call.said.get("rule.display_name", "")
    is_value = isinstance(refusal, BadValue) or (isinstance(refusal, InvalidFields) and bool(_of_rule(refusal)))
    match call.action:
        case "ruleDetails":
            return f"Could not get Rule {rule_id} details cause is: {cause}."
        case "createRule" if isinstance(refusal, errors.RuleNotFound):
            return f"Could not create Rule {name} (id:{rule_id}) based on Rule {call.source} : cause is: {cause}."
        case "createRule" if is_value:
            return f"Could not create Rule {rule_id} cause is: {cause}."
        case "createRule":
            return f"Could not create Rule {name} (id:{rule_id}) cause is: {cause}."
        case "updateRule" | "deleteRule" if is_value or isinstance(refusal, errors.RuleNotFound):
            verb = "modify" if call.action == "updateRule" else "delete"
            return f"Could not {verb} Rule {rule_id} cause is: {cause}."
        case "updateRule" | "deleteRule":
            return f"{'Update' if call.action == 'updateRule' else 'Delete'} failed, cause is: {cause}."
    if call.action in _VERBS:
        return f"Could not {_VERBS[call.action]} ChangeRequest {call.id} details cause is: {cause}."
    return f"Could not answer {call.action} cause is: {cause}."


_VERBS = {
    "changeRequestDetails": "find",
    "acceptChangeRequest": "accept",
    "declineChangeRequest": "decline",
    "updateChangeRequest": "update",
}
_LEAST = {
    "rule.display_name": MIN_NAME,
    "change_request_name": MIN_NAME,
    "change_request.name": MIN_NAME,
    "reason": MIN_REASON,
}
"""What has a least number of characters."""
_WHOLE = "is not a valid RuleTarget"  # the end of a sentence that names what it is about
_KEYS = {
    "rule.display_name": "displayName",
    "rule.short_description": "shortDescription",
    "rule.long_description": "longDescription",
    "change_request_name": "changeRequestName",
    "change_request_description": "changeRequestDescription",
}


def _cause(call: Call, refusal: Refusal) -> str:
    match refusal:
        case errors.RuleNotFound():
            return f"Could not find Rule {errors.cut(refusal.rule_id, MAX_ID)}"
        case errors.ChangeRequestNotFound():
            return f"Could not find ChangeRequest {refusal.change_request_id}"
        case InvalidFields():
            told = _of_rule(refusal) or refusal.told()
            return "; ".join(_told(call, fault) for fault in told)
    return str(refusal).rstrip(".")


def _of_rule(refusal: InvalidFields) -> list[Fault]:
    """Return what is wrong with the rule itself, of which a caller learns first."""
    return [fault for fault in refusal.told() if fault.field.partition(".")[0] == "rule"]


def _told(call: Call, fault: Fault) -> str:
    if fault.kind is FaultKind.TOO_SHORT and fault.field in _LEAST:
        value = errors.cut(call.said.get(fault.field, ""), errors.MAX_VALUE)
        return f"{value} must be at least have a {_LEAST[fault.field]} character size"
    if fault.field == "rule.display_name" and fault.kind is FaultKind.MISSING:
        return "there is no value for displayName"
    if fault.description.endswith(_WHOLE):
        return fault.description
    name, sep, rest = fault.field.partition("[")
    key = _KEYS.get(name, name.rpartition(".")[2])
    return f"{key}{sep}{rest} {fault.description}"


def _body(call: Call, details: str, *, has_id: bool) -> dict[str, Any]:
    """Return the envelope, cut so that it fits where it must."""
    body: dict[str, Any] = {"action": call.action}
    if has_id and call.id:
        body["id"] = _clean(errors.cut(call.id, MAX_ID))
    body |= {"result": "error", "errorDetails": ""}
    left = MAX_BODY_BYTES - len(to_ascii_json(body, indented=call.is_pretty)) - _SPARE_BYTES
    details = _clean(details)
    whole = len(details)
    while len(to_ascii_json(details)) > left:
        details = details[: len(details) * 3 // 4]
    body["errorDetails"] = details if len(details) == whole else f"{details}…"
    return body


def _clean(text: str) -> str:
    """Return what JSON can carry: halves of surrogate pairs come from escapes."""
    return text.encode("utf-8", "replace").decode()


def _status(refusal: Exception) -> tuple[int, grpc.StatusCode]:
    match refusal:
        case errors.CredentialMissing() | errors.CredentialUnknown():
            return 401, _Code.UNAUTHENTICATED
        case errors.NotPermitted():
            return 500, _Code.PERMISSION_DENIED
        case errors.NotServed() | NotImplementedError():
            return 404, _Code.UNIMPLEMENTED
        case StoreUnavailable():
            return 503, _Code.UNAVAILABLE
        case Refusal():
            return 500, _Code.FAILED_PRECONDITION
    return 500, _Code.INTERNAL


def _known(context: Context) -> Call:
    """Return what is known of a call that was refused before it was looked at."""
    headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
    try:
        return _read({ORIGINAL_PATH: ""} | headers)
    except QueryBroken:
        method, path = headers.get(ORIGINAL_METHOD, ""), path_of(headers[ORIGINAL_PATH])
        return Call(headers, method, path, Address(None, ()))


def _read(headers: Mapping[str, str]) -> Call:
    path = path_of(headers[ORIGINAL_PATH])
    method = headers.get(ORIGINAL_METHOD, "")
    address = address_of(path)
    action = address.functions.get("GET" if method == "HEAD" else method, UNKNOWN)
    return Call(headers, method, path, address, action, address.id)
