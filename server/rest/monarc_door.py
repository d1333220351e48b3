"""The manners of the monarc API: its credential, its refusals, and its paths, which all end in a slash."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import grpc

from server.core import errors
from server.core.caller import Caller, Role
from server.rest.exchange import ORIGINAL_METHOD
from server.rest.origins import AUTHORITY
from server.rpc.door import Context, CredentialType, Metadata, Presented
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.rpc.refusals import MAX_BODY_BYTES, refuse, to_spaced_json
from server.store.engine import StoreUnavailable

API_KEY = "x-api-key"
PATHS = (
    (re.compile("/api/v2/stats"), "GET, HEAD, OPTIONS, POST, DELETE"),
    (re.compile("/api/v2/stats/[^/]+"), "GET, HEAD, OPTIONS, PUT, PATCH, DELETE"),
    (re.compile("/api/v2/organizations"), "GET, HEAD, OPTIONS, POST"),
    (re.compile("/api/v2/organizations/[^/]+"), "GET, HEAD, OPTIONS"),
)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
UNAUTHORIZED = {"error": "Unauthorized"}
STRANGER = Caller("stranger", Role.STRANGER, None, "", "")
_Code = grpc.StatusCode


class Told(NamedTuple):
    """How a refusal is told."""

    status: int  # HTTP
    code: grpc.StatusCode  # native gRPC
    error: str | None  # None: the refusal's own text


STATUSES: Mapping[type[Exception], Told] = {
    errors.CredentialMissing: Told(401, _Code.UNAUTHENTICATED, "Unauthorized"),
    errors.CredentialUnknown: Told(401, _Code.UNAUTHENTICATED, "Unauthorized"),
    errors.NotPermitted: Told(403, _Code.PERMISSION_DENIED, "This token may not do this."),
    errors.StatNotFound: Told(404, _Code.NOT_FOUND, "Empty query: Stats matching query does not exist."),
    errors.OrganizationNotFound: Told(404, _Code.NOT_FOUND, "Empty query: Organization matching query does not exist."),
    errors.StatExists: Told(409, _Code.ALREADY_EXISTS, None),
    errors.OrganizationExists: Told(409, _Code.ALREADY_EXISTS, None),
    errors.CredentialTaken: Told(409, _Code.ALREADY_EXISTS, None),
    errors.InvalidFields: Told(400, _Code.INVALID_ARGUMENT, None),
    errors.PathFieldOverridden: Told(400, _Code.INVALID_ARGUMENT, None),
    errors.UndecodableRequest: Told(400, _Code.INVALID_ARGUMENT, "The request cannot be read."),
    errors.TooLarge: Told(413, _Code.RESOURCE_EXHAUSTED, None),
    errors.SearchTooLong: Told(400, _Code.INVALID_ARGUMENT, None),
    errors.NotServed: Told(404, _Code.UNIMPLEMENTED, "Not found."),
    NotImplementedError: Told(404, _Code.UNIMPLEMENTED, "Not found."),
    StoreUnavailable: Told(503, _Code.UNAVAILABLE, "The service is not available at the moment. Try again."),
}
_FAULT = Told(500, _Code.INTERNAL, "Internal error.")


class MonarcDoor:
    """Only the token in X-API-KEY counts, whatever else a call carries; `is_open`: nobody needs one."""

    def __init__(self, *, is_open: bool = False, web_origins: Sequence[str] = ()) -> None:
        self.stranger = STRANGER if is_open else None
        self._web_origins = web_origins

    def presented(self, metadata: Metadata) -> Presented | None:
        """Return the token.

        Where no key is needed, a web page that its user looks at could call, too: by an address that is not this
        machine's own, or from an origin that may not. Raises NotPermitted.
        """
        if self.stranger:
            origin, host = metadata.get("origin"), _host(str(metadata.get(AUTHORITY, "")))
            if host not in LOOPBACK or (origin is not None and origin not in self._web_origins):
                raise errors.NotPermitted(API_KEY)
        token = metadata.get(API_KEY)
        if not token:
            return None
        return Presented(CredentialType.TOKEN, hashlib.sha256(str(token).encode()).digest(), "monarc")

    async def refuse(self, context: Context, refusal: Exception, *, request_id: str) -> NoReturn:
        """Answer `{"error": …}` or `{"field-errors": …}`; a path without its slash learns of that first."""
        del request_id
        status, code, _ = STATUSES.get(type(refusal), _FAULT)
        if status == 401:
            await redirect_without_slash(context)
        await refuse(context, code, status, body_of_refusal(refusal), spaced=True, vary="Accept")


def _host(authority: str) -> str:
    return authority.lower() if authority.endswith("]") else authority.lower().rsplit(":", 1)[0]


def body_of_refusal(refusal: Exception) -> dict[str, Any]:
    """Return what is told of a refusal; no more than fits into a header."""
    error = STATUSES.get(type(refusal), _FAULT).error
    if isinstance(refusal, errors.StatExists):
        return {"error": str(refusal), "id": refusal.stat_id}
    if not isinstance(refusal, errors.InvalidFields):
        return {"error": error or str(refusal)}
    told = refusal.told()
    if not told[0].field:  # What is no stat has no fields.
        return {"error": told[0].description}
    if told[0].field.startswith("_"):  # A parameter of the query, not a field of a stat.
        return {"error": f"{told[0].field}: {told[0].description}"}
    body: dict[str, Any] = {"field-errors": {}}
    for fault in told:
        field = fault.field.removeprefix("organization.")
        body["field-errors"][field] = fault.description
        if len(to_spaced_json(body)) > MAX_BODY_BYTES:
            del body["field-errors"][field]
            break
    return body


async def redirect_without_slash(context: Context) -> None:
    """Answer 308 to a path of this API that lacks its slash, if its method is one of the path's."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    original = metadata.get(ORIGINAL_PATH, "/")
    path = path_of(original)
    if path.endswith("/") or metadata.get(ORIGINAL_METHOD, "GET") not in methods_of(path):
        return
    query = original.partition("?")[2]
    location = f"{path}/?{query}" if query else f"{path}/"
    body = {"error": "This path ends in a slash."}
    await refuse(context, _Code.UNIMPLEMENTED, 308, body, spaced=True, location=location)


def methods_of(path: str) -> list[str]:
    """Return the methods that a path has, with its slash or without; none, if there is no such path."""
    found = next((allowed for pattern, allowed in PATHS if pattern.fullmatch(path.removesuffix("/"))), "")
    return found.split(", ") if found else []
