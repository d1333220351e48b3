"""The manners of the asapi API: its credential, its refusals, and the forms that it reads."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import grpc
from google.api import httpbody_pb2

from server.core import errors
from server.core.errors import Fault, FaultKind
from server.rest.exchange import (
    BodyBroken,
    EncodingUnknown,
    QueryBroken,
    body_of,
    headers_of,
    media_type,
    pairs_of,
)
from server.rpc.door import Context, CredentialType, Metadata, Presented
from server.rpc.refusals import MAX_BODY_BYTES, refuse, to_ascii_json
from server.store.engine import StoreUnavailable

ALL = "__all__"
"""What refusals name in place of a field, if they concern no single one."""
FORM = "application/x-www-form-urlencoded"
MAX_BODY = 1024 * 1024  # bytes, as sent and as inflated
MAX_FIELDS = 25_000  # 10,000 ids and as many again that stand there twice
INLINE_BODY = 64 * 1024  # bytes; reading more would hold up everybody else, and is done in a thread
IDS = "task_ids"
ID_LENGTH = 36  # characters
MAX_IDS = 10_000
MAX_PARTS = MAX_BODY // ID_LENGTH  # More of a form are no ids, and cutting them up would hold up everybody else.
TOO_MANY = f"Too many task ids submitted, limit is {MAX_IDS}"
MAX_TOLD = 20  # faults
MAX_ERROR_BYTES = 1000  # of the 4 KiB of a refusal
FIELD_BYTES = (2500, 1000, 500, 250, 125, 65)  # From what any text that is told has to what the longest slug has.
_TOKEN = re.compile(r"token +(\S+) *", re.IGNORECASE)
_Code = grpc.StatusCode

Form = Mapping[str, list[str]]


class Entry(NamedTuple):
    """An entry of `errors`."""

    field: str
    text: str  # as documented
    code: str


class Told(NamedTuple):
    """How a refusal is told."""

    status: int  # HTTP
    grpc: grpc.StatusCode  # native gRPC
    code: str
    text: str | None = None  # None: the refusal's own


UNAVAILABLE = "The service is not available at the moment. Try again."
DUPLICATE = "Account with this Service, Client and Username already exists"
STATUSES: Mapping[type[Exception], Told] = MappingProxyType(
    {
        errors.CredentialMissing: Told(
            401, _Code.UNAUTHENTICATED, "not_authenticated", "Authentication credentials were not provided."
        ),
        errors.CredentialUnknown: Told(401, _Code.UNAUTHENTICATED, "not_authenticated", "Invalid token."),
        errors.NotPermitted: Told(403, _Code.PERMISSION_DENIED, "refused", "This token may not do this."),
        errors.InvalidFields: Told(400, _Code.INVALID_ARGUMENT, "invalid"),
        errors.AccountExists: Told(400, _Code.ALREADY_EXISTS, "unique_together", DUPLICATE),
        errors.TaskLimitReached: Told(400, _Code.RESOURCE_EXHAUSTED, "limit_exceeded"),
        errors.UndecodableRequest: Told(400, _Code.INVALID_ARGUMENT, "invalid", "The request cannot be read."),
        errors.PathFieldOverridden: Told(400, _Code.INVALID_ARGUMENT, "invalid"),
        errors.TooLarge: Told(413, _Code.RESOURCE_EXHAUSTED, "too_large"),
        errors.NotServed: Told(404, _Code.UNIMPLEMENTED, "not_found", "Not found."),
        NotImplementedError: Told(404, _Code.UNIMPLEMENTED, "not_found", "Not found."),
        errors.ListenerReplaced: Told(409, _Code.ABORTED, "replaced"),
        errors.Stopping: Told(503, _Code.UNAVAILABLE, "unavailable", UNAVAILABLE),
        StoreUnavailable: Told(503, _Code.UNAVAILABLE, "unavailable", UNAVAILABLE),
    }
)
_FAULT = Told(500, _Code.INTERNAL, "internal", "Internal error.")
FAULTS: Mapping[FaultKind, tuple[str, str]] = MappingProxyType(
    {
        FaultKind.INVALID: ("Invalid value", "invalid"),
        FaultKind.MISSING: ("Parameter is missing", "missing-param"),
        FaultKind.NOT_PERMITTED: ("Value not permitted for parameter", "invalid_parameter_value"),
        FaultKind.UNKNOWN_SERVICE: ("Invalid service name", "invalid_service"),
        FaultKind.UNKNOWN_ACTION: ("Invalid action", "invalid_action"),
        FaultKind.UNKNOWN_ACCOUNT: ("No such account", "no_such_account"),
    }
)
"""The documented texts and codes."""


class AsapiDoor:
    """Only a token of asapi counts, as `Authorization: Token …`, whatever else a call carries."""

    stranger = None

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the token. Raises CredentialUnknown for another scheme."""
        authorization = metadata.get("authorization")
        if not authorization:
            return None
        token = _TOKEN.fullmatch(str(authorization))
        if not token:
            raise errors.CredentialUnknown
        return Presented(CredentialType.TOKEN, hashlib.sha256(token[1].encode()).digest(), "asapi")

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """Answer with the documented `errors`, and a flat text beside them."""
        del request_id
        status, code, _, _ = STATUSES.get(type(refusal), _FAULT)
        body = body_of_refusal(refusal)
        if status == 401:
            await refuse(context, code, status, body, www_authenticate="Token")
        await refuse(context, code, status, body)


def not_allowed() -> dict[str, Any]:
    """Return what is told of a method that a path does not have."""
    text = "Method not allowed."
    return body_of_entries([Entry(ALL, text, "method_not_allowed")], text)


def body_of_refusal(refusal: Exception) -> dict[str, Any]:
    """Return what is told of a refusal."""
    if isinstance(refusal, errors.InvalidFields):
        faults = [_named(fault) for fault in refusal.told()[:MAX_TOLD]]
        whole = "; ".join(one.description if one.field == ALL else f"{one.field}: {one.description}" for one in faults)
        return body_of_entries((Entry(fault.field, *FAULTS[fault.kind]) for fault in faults), whole)
    told = STATUSES.get(type(refusal), _FAULT)
    error = told.text or str(refusal)
    text = "Too many task IDs submitted" if isinstance(refusal, errors.TaskLimitReached) else error
    return body_of_entries([Entry(ALL, text, told.code)], error)


def body_of_entries(entries: Iterable[Entry], error: str) -> dict[str, Any]:
    """Return a refusal's body, with all the entries, of which there are at most MAX_TOLD.

    It must fit into a header. So long names of fields, which no parameter has, are cut shorter the more there are.
    """
    entries = tuple(entries)
    error = _within(error, MAX_ERROR_BYTES)
    for most in FIELD_BYTES:
        told: dict[str, list[tuple[str, str]]] = {}
        for field, text, code in entries:
            told.setdefault(_within(field, most), []).append((python2_text(text), code))
        body = {"errors": told, "success": False, "error": error}
        if len(to_ascii_json(body)) <= MAX_BODY_BYTES:
            break
    return body


def _within(text: str, most: int) -> str:
    """Return the text, or so much of its beginning that it has at most so many bytes in a header."""
    while len(to_ascii_json(text)) > most:
        text = errors.cut(text, len(text) * 3 // 4)
    return text


def python2_text(text: str) -> str:
    """Return the text as the documented API writes texts of errors: a list of one unicode literal of Python 2."""
    return f"[u{text!a}]"


async def form_of(context: Context, sent: httpbody_pb2.HttpBody) -> Form:
    """Return the fields of the form that was sent, each with its values in their order; refuse what is none."""
    headers = headers_of(context)
    if sent.content_type and media_type(sent.content_type).name != FORM:
        await _refuse(context, 415, "unsupported", f"The content type must be {FORM}.")
    try:
        if len(sent.data) <= INLINE_BODY and "content-encoding" not in headers:
            return _read(sent, headers)
        return await asyncio.to_thread(_read, sent, headers)
    except EncodingUnknown:
        await _refuse(context, 415, "unsupported", "The content encoding is not supported.")
    except (BodyBroken, QueryBroken, UnicodeDecodeError):
        await _refuse(context, 400, "invalid", "The form is malformed.")


def _read(sent: httpbody_pb2.HttpBody, headers: Mapping[str, str]) -> Form:
    body = body_of(sent, headers, max_bytes=MAX_BODY)
    if body.count(b"&") >= MAX_FIELDS:
        raise errors.invalid(ALL, f"The form has more than {MAX_FIELDS} fields.")
    form: dict[str, list[str]] = {}
    for name, value in pairs_of(body.decode()):
        form.setdefault(name, []).append(value)
    return form


async def ids_of(context: Context, form: Form) -> list[str]:
    """Return the ids of tasks that the form has, in their order, each once; refuse too many."""
    values = form.get(IDS, ())
    ids: list[str] = []
    parts = sum(value.count(",") + 1 for value in values)
    if parts <= MAX_PARTS:
        ids = [part for part in dict.fromkeys(part.strip() for value in values for part in value.split(",")) if part]
    if parts > MAX_PARTS or len(ids) > MAX_IDS:
        await _refuse(context, 400, "limit_exceeded", TOO_MANY, field=IDS)
    return ids


async def _refuse(context: Context, status: int, code: str, text: str, *, field: str = ALL) -> NoReturn:
    await refuse(context, _Code.INVALID_ARGUMENT, status, body_of_entries([Entry(field, text, code)], text))


def _named(fault: Fault) -> Fault:
    """Return the fault with its field as the form has it."""
    return Fault(fault.field.removeprefix("account."), fault.description, fault.kind)
