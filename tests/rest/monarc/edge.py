"""Calls of the monarc API as they come through the edge, for tests of its servicer."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.api import httpbody_pb2

from server.core import credentials
from server.core.caller import Role
from server.rest.origins import AUTHORITY
from taskhouse.rest.v1 import aircloak_pb2, monarc_pb2_grpc
from taskhouse.rest.v1 import monarc_pb2 as pb
from tests.core.scenes import HOUSE

RISK = {"type": "risk", "anr": 2, "data": {"what": "you want", "super": "cool"}, "day": 1, "week": 1, "month": 1}
UUID = "76a3999f-ab22-4008-a540-f68082f44cb2"


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Edge:
    """Calls as they come through the edge."""

    def __init__(self, channel, token: str) -> None:
        self._stub = monarc_pb2_grpc.MonarcServiceStub(channel)
        self._token = token

    async def __call__(self, method: str, path: str, body: Any = None, *more: tuple[str, str], kind: str | None = None):
        plain = re.sub("/+", "/", path.partition("?")[0]).rstrip("/").split("/")
        item = plain[-1]
        rest = plain[4:] if plain[:3] == ["", "api", "v2"] else None
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        http_body = httpbody_pb2.HttpBody(content_type="application/json" if kind is None else kind, data=sent)
        metadata = [("x-envoy-original-path", path), ("x-envoy-original-method", method)]
        metadata += [*([] if AUTHORITY in dict(more) else [(AUTHORITY, "localhost:8443")]), *more]
        if self._token:
            metadata.append(("x-api-key", self._token))
        calls: dict[tuple[str, str, int], tuple[Callable[..., Any], Any]] = {
            ("stats", "GET", 0): (self._stub.ListStats, pb.ListStatsRequest()),
            ("stats", "POST", 0): (self._stub.CreateStat, pb.CreateStatRequest(http_body=http_body)),
            ("stats", "DELETE", 0): (self._stub.PurgeStats, pb.PurgeStatsRequest()),
            ("stats", "GET", 1): (self._stub.GetStat, pb.GetStatRequest(stat_id=item)),
            ("stats", "PUT", 1): (self._stub.UpdateStat, pb.UpdateStatRequest(stat_id=item, http_body=http_body)),
            ("stats", "PATCH", 1): (self._stub.UpdateStat, pb.UpdateStatRequest(stat_id=item, http_body=http_body)),
            ("stats", "DELETE", 1): (self._stub.DeleteStat, pb.DeleteStatRequest(stat_id=item)),
            ("organizations", "GET", 0): (self._stub.ListOrganizations, pb.ListOrganizationsRequest()),
            ("organizations", "POST", 0): (
                self._stub.CreateOrganization, pb.CreateOrganizationRequest(http_body=http_body),
            ),
            ("organizations", "GET", 1): (self._stub.GetOrganization, pb.GetOrganizationRequest(name=item)),
        }  # fmt: skip
        other = (self._stub.AnswerOther, aircloak_pb2.AnswerOtherRequest(rest="/".join(plain[3:])))
        name = (plain[3] if rest is not None and len(plain) > 3 else "", method, len(rest or ()))
        call, request = calls.get(name, other)
        answering = call(request, metadata=metadata)
        headers = {key: str(value) for key, value in await answering.initial_metadata()}
        try:
            text = (await answering).data.decode()
        except grpc.aio.AioRpcError:
            text = headers["x-taskhouse-body"]
        return Answer(int(headers.get("x-taskhouse-status", 200)), text, headers)


async def token_of(store, organization: str, kind: Role) -> str:
    token = credentials.make_token("monarc")
    wanted = credentials.NewToken(organization=organization, kind=kind)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(token))
    return token


async def posted(edge, **changes):
    answer = await edge("POST", "/api/v2/stats/", RISK | changes)
    assert answer.status == 200, answer.text
    return answer.body
