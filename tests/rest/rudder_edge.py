"""Calls of the rudder API as they come through the edge, for tests of its servicer."""

import json
import re
from typing import Any, NamedTuple

import grpc
import grpc.aio
import httpx
from google.api import httpbody_pb2

from server.core import credentials, organizations
from server.core.caller import Caller, Role
from taskhouse.rest.v1 import aircloak_pb2, rudder_pb2_grpc
from taskhouse.rest.v1 import rudder_pb2 as pb
from tests.core.scenes import HOUSE

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
RULES = "/api/latest/rules"
RULE = f"{RULES}/r1"
FULL = {
    "id": "r1",
    "displayName": "one",
    "shortDescription": "short",
    "longDescription": "long\nlines",
    "directives": ["d1", "d2"],
    "targets": ["group:g1", "special:all"],
    "enabled": True,
    "system": False,
    "tags": [{"env": "prod"}, {"team": "a:b"}],
}
COMPOSITE = {"include": {"or": ["group:a"]}, "exclude": {"and": ["group:b", {"or": ["special:all"]}]}}
_BASE = "(?:/rudder)?/api(?:/[^/]+)?"
_CALLS = [
    ("GET", "/info", "GetInfo", pb.GetInfoRequest),
    ("GET", "/rules", "ListRules", pb.ListRulesRequest),
    ("PUT", "/rules", "CreateRule", pb.CreateRuleRequest),
    ("GET", "/rules/[^/]+", "GetRule", pb.GetRuleRequest),
    ("POST", "/rules/[^/]+", "UpdateRule", pb.UpdateRuleRequest),
    ("DELETE", "/rules/[^/]+", "DeleteRule", pb.DeleteRuleRequest),
    ("GET", "/changeRequests", "ListChangeRequests", pb.ListChangeRequestsRequest),
    ("GET", "/changeRequests/[^/]+", "GetChangeRequest", pb.GetChangeRequestRequest),
    ("POST", "/changeRequests/[^/]+", "UpdateChangeRequest", pb.UpdateChangeRequestRequest),
    ("DELETE", "/changeRequests/[^/]+", "DeclineChangeRequest", pb.DeclineChangeRequestRequest),
    ("POST", "/changeRequests/[^/]+/accept", "AcceptChangeRequest", pb.AcceptChangeRequestRequest),
]
"""What the edge's transcoder makes of a path."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """What a refusal says; it fails on a success."""
        assert self.body["result"] == "error"
        assert "data" not in self.body
        return self.body["errorDetails"]

    @property
    def rule(self) -> dict[str, Any]:
        """The one rule of a success."""
        assert (self.status, self.body["result"]) == (200, "success"), self.text
        [rule] = self.body["data"]["rules"]
        return rule

    @property
    def request(self) -> dict[str, Any]:
        """The one change request of a success."""
        assert (self.status, self.body["result"]) == (200, "success"), self.text
        [request] = self.body["data"]["changeRequests"]
        return request


class Edge:
    """Makes calls with one token."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._stub = rudder_pb2_grpc.RudderServiceStub(channel)
        self._token = token

    async def __call__(
        self, method: str, path: str, body: Any = None, *headers: tuple[str, str], kind: str | None = None
    ) -> Answer:
        """Call a path; without a version in it, `headers` should say one. A dict is sent as JSON, a text as a form."""
        if kind is None:
            kind = "" if body is None else FORM if isinstance(body, str) else JSON
        sent = body if isinstance(body, bytes) else (body or "").encode() if isinstance(body, str) else b""
        if isinstance(body, dict | list):
            sent = json.dumps(body).encode()
        http_body = httpbody_pb2.HttpBody(content_type=kind, data=sent)
        metadata = [("x-envoy-original-path", path), ("x-envoy-original-method", method), *headers]
        if self._token:
            metadata.append(("x-api-token", self._token))
        plain = re.sub("/+", "/", path.partition("?")[0]).rstrip("/")
        name, request = "AnswerOther", aircloak_pb2.AnswerOtherRequest(http_body=http_body)
        for its_method, template, its_name, its_request in _CALLS:
            if method == its_method and re.fullmatch(_BASE + template, plain):
                has_body = "http_body" in its_request.DESCRIPTOR.fields_by_name
                name, request = its_name, its_request(http_body=http_body) if has_body else its_request()
        answering = getattr(self._stub, name)(request, metadata=metadata)
        found = {key: str(value) for key, value in await answering.initial_metadata()}
        try:
            text = (await answering).data.decode()
        except grpc.aio.AioRpcError:
            text = found["x-taskhouse-body"].replace("~1", "\n").replace("~0", "~")
        return Answer(int(found.get("x-taskhouse-status", 200)), text, found)


def in_parts(fields: dict[str, str | list[str]]) -> tuple[str, bytes]:
    """Return the content type and the bytes of a form as multipart/form-data, as httpx writes it."""
    listed = [
        (key, value) for key, values in fields.items() for value in ([values] if isinstance(values, str) else values)
    ]
    parts = [(key, (None, value)) for key, value in listed]
    sent = httpx.Request(
        "POST", "http://house", files=parts, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    return sent.headers["content-type"], sent.read()


async def token_of(store: Any, organization: str, kind: Role = Role.RUDDER_WRITE, name: str = "Robot") -> str:
    """Create a token."""
    token = credentials.make_token("rudder")
    wanted = credentials.NewToken(organization=organization, kind=kind, api="rudder", display_name=name)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token))
    return token


async def settle(store: Any, name: str = "acme", **settings: Any) -> Caller:
    """Create an organization, if there is none yet, with these settings; return a caller of it."""
    try:
        found = await store.write(organizations.create, name=name)
    except organizations.OrganizationExists:
        found = await store.read(organizations.get, caller=HOUSE, name=name)
    await store.write(organizations.update, caller=HOUSE, name=name, settings=organizations.Settings(**settings))
    return Caller("c", Role.RUDDER_WRITE, found.id, name, "")
