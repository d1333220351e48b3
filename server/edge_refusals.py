"""What the edge says by itself, in the words of the API whose path it is.

Texts are fixed, as Envoy's own tell socket paths and the insides of parsers. A new API is one more entry of APIS.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refusal:
    """One thing that Envoy refuses by itself."""

    status: int  # of HTTP, as Envoy has it
    code: int  # of gRPC
    word: str  # for programs
    text: str  # for people


MISSING_CREDENTIAL = Refusal(401, 16, "not_authenticated", "This call needs a credential.")
WRONG_METHOD = Refusal(405, 12, "method_not_allowed", "Method not allowed.")
OTHER = Refusal(0, 2, "refused", "Refused.")

REFUSALS = (
    Refusal(400, 3, "invalid", "The request is malformed: its path, a parameter or its body cannot be read."),
    MISSING_CREDENTIAL,
    Refusal(403, 7, "refused", "Refused."),
    Refusal(404, 5, "not_found", "Not found."),
    WRONG_METHOD,
    Refusal(408, 4, "timeout", "The request did not arrive in time."),
    Refusal(413, 8, "too_large", "The request body is too large."),
    Refusal(415, 3, "unsupported", "The content type is not supported."),
    Refusal(426, 3, "upgrade_required", "HTTP/1.1 or HTTP/2 is required."),
    Refusal(429, 8, "too_many_requests", "Too many requests."),
    Refusal(431, 8, "too_large", "The request headers are too large."),
    Refusal(500, 13, "internal", "Internal error."),
    Refusal(501, 12, "unimplemented", "Not implemented."),
    Refusal(502, 14, "unavailable", "The service is not available at the moment. Try again."),
    Refusal(503, 14, "unavailable", "The service is not available at the moment. Try again."),
    Refusal(504, 4, "timeout", "The service did not answer in time."),
)


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API as the edge knows it. Of two whose paths match, the first counts."""

    name: str
    paths: str | None  # a regular expression (RE2) for whole paths without their query; None: all, and what has none
    body: Callable[[Refusal], str]
    content_type: str = "application/json"
    statuses: Mapping[int, int] = field(default_factory=dict)  # what it says in place of Envoy's own
    credentials: tuple[str, ...] = ()  # the headers one comes in; who sends none has next to nothing read


_REASONS = {3: "UNDECODABLE_REQUEST", 16: "NOT_AUTHENTICATED"}  # by the code of gRPC


def _typed(refusal: Refusal) -> str:
    details = [_info(_REASONS[refusal.code])] if refusal.code in _REASONS else []
    return _compact({"code": refusal.code, "message": refusal.text, "details": details})


def _info(reason: str) -> dict[str, object]:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "taskhouse", "metadata": {}}


def _aircloak(refusal: Refusal) -> str:
    text = "Missing authentication key." if refusal is MISSING_CREDENTIAL else refusal.text
    return _compact({"success": False, "error": text})


def _asapi(refusal: Refusal) -> str:
    errors = {"__all__": [[f"[u{refusal.text!a}]", refusal.word]]}
    return _compact({"success": False, "error": refusal.text, "errors": errors})


def _rudder(refusal: Refusal) -> str:
    return _compact({"action": "unknown", "result": "error", "errorDetails": refusal.text})


def _monarc(refusal: Refusal) -> str:
    return json.dumps({"error": "Unauthorized" if refusal is MISSING_CREDENTIAL else refusal.text})


def _compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


UNREADABLE_PAGE = Refusal(
    422, 3, "invalid", "page and per_page must be whole numbers: page from 1, per_page from 1 to 10000."
)

UNREADABLE_FIELD = _compact(
    {
        "code": 3,
        "message": "<field>: there is no such field, or its value cannot be read",
        "details": [
            _info("INVALID_FIELD"),
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "field_violations": [
                    {"field": "<field>", "description": "there is no such field, or its value cannot be read"}
                ],
            },
        ],
    }
)
"""What the typed services say of one field; edge.lua puts its name in."""

CERTIFICATE = "x-forwarded-client-cert"  # Envoy's own: there with a verified certificate, and only then

APIS = (
    Api(
        name="typed",
        paths="/v1(/.*)?",
        body=_typed,
        credentials=(CERTIFICATE, "authorization"),
    ),
    Api(
        name="aircloak",
        paths="/(api/task_results|insert|bulk_insert|keys)(/.*)?",
        body=_aircloak,
        credentials=(CERTIFICATE,),
    ),
    Api(name="monarc", paths="/api/v[0-9]+(/.*)?", body=_monarc),  # A setting can do without keys there.
    Api(
        name="rudder",
        paths="/(rudder/)?api(/.*)?",
        body=_rudder,
        content_type="application/json; charset=utf-8",
        statuses={
            refusal.status: 500 for refusal in REFUSALS if refusal.status < 500 and refusal.status not in (401, 404)
        },
        credentials=("x-api-token",),
    ),
    Api(name="asapi", paths=None, body=_asapi, credentials=("authorization",)),
)
