"""Calls of asapi as they come through the edge, and what they ask for."""

import json
from urllib.parse import urlencode

import grpc.aio
from google.api import httpbody_pb2
from google.protobuf.json_format import MessageToDict

from server.core import organizations
from server.core.caller import Caller, Role
from server.core.catalogue import Action, Parameter, ParameterType, Permission, Service
from server.rest.asapi_door import FORM
from taskhouse.rest.v1 import aircloak_pb2, asapi_pb2, asapi_pb2_grpc
from tests.core.scenes import HOUSE

PARAMETERS = (
    Parameter("device", "Device", ParameterType.STRING, optional=False, description=""),
    Parameter("since", "Since", ParameterType.DATE, optional=True, description=""),
    Parameter("most", "Most", ParameterType.INTEGER, optional=True, description=""),
    Parameter("deep", "Deep", ParameterType.BOOLEAN, optional=True, description=""),
    Parameter("names", "Names", ParameterType.LIST, optional=True, description=""),
)
FETCH = Action("fetch-data", "Fetch Data", "", PARAMETERS, (Permission("data", ("sms", "photos")),))
SERVICES = (Service("icloud", "iCloud", (FETCH, Action("log-in", "Log In", "Signs in.", (), ()))),)
ASKED = {"service": "icloud", "action": "fetch-data", "account": "john@example.com", "device": "d1", "data": "sms"}
PATHS = {
    "DiscoverServices": "/account/",
    "RegisterAccount": "/register-account/",
    "DeregisterAccount": "/deregister-account/",
    "SubmitTask": "/submit-task/",
    "GetTaskStatuses": "/task-status/",
}


class Edge:
    """Calls as they come through the edge, with a token."""

    def __init__(self, channel, token: str) -> None:
        self._stub = asapi_pb2_grpc.AsapiServiceStub(channel)
        self._headers = [("authorization", f"Token {token}")] if token else []

    async def __call__(self, method: str, form=None, *more: tuple[str, str], body: bytes | None = None, kind=FORM):
        """Return status and JSON of a call with this form."""
        data = urlencode(form or {}, doseq=True).encode() if body is None else body
        path = (("x-envoy-original-path", PATHS[method]), ("x-taskhouse-authority", "house.example:81"))
        request = getattr(asapi_pb2, f"{method}Request")(http_body=httpbody_pb2.HttpBody(content_type=kind, data=data))
        call = getattr(self._stub, method)(request, metadata=(*self._headers, *path, *more))
        headers = dict(await call.initial_metadata())
        try:
            answer = await call
        except grpc.aio.AioRpcError:
            return int(headers["x-taskhouse-status"]), json.loads(headers["x-taskhouse-body"])
        status = int(headers.get("x-taskhouse-status", 200))
        if isinstance(answer, httpbody_pb2.HttpBody):
            return status, json.loads(answer.data)
        told = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        return status, told

    async def other(self, method: str, path: str):
        metadata = (("x-envoy-original-path", path), ("x-envoy-original-method", method))
        call = self._stub.AnswerOther(aircloak_pb2.AnswerOtherRequest(), metadata=metadata)
        headers = dict(await call.initial_metadata())
        return int(headers["x-taskhouse-status"]), headers.get("allow"), headers.get("x-taskhouse-body")


def refused(**errors: str) -> dict[str, list[list[str]]]:
    """Return the documented map, from fields to their codes."""
    texts = {
        "invalid_service": "Invalid service name",
        "invalid_parameter_value": "Value not permitted for parameter",
        "no_such_account": "No such account",
        "invalid": "Invalid value",
        "invalid_action": "Invalid action",
        "missing-param": "Parameter is missing",
    }
    return {field: [[f"[u'{texts[code]}']", code]] for field, code in errors.items()}


async def acme_caller(store) -> Caller:
    found = await store.read(organizations.get, caller=HOUSE, name="acme")
    return Caller("c", Role.TASK_RUNNER, found.id, "acme", "")
