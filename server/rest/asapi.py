"""The asapi API: what may be asked, accounts, and the submission of tasks."""

from collections.abc import Awaitable, Callable

from google.api import httpbody_pb2
from google.protobuf import struct_pb2

from server.core import accounts, submissions
from server.core.admission import Admission
from server.core.caller import Role
from server.core.catalogue import Action, Service
from server.core.errors import Fault, InvalidFields
from server.core.tasks import Retrieval
from server.rest.asapi_door import Form, form_of, not_allowed
from server.rest.asapi_status import Statuses
from server.rest.exchange import answer_other, headers_of
from server.rest.origins import origin_of
from server.rpc.door import Context, current_caller
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.store.engine import Store
from taskhouse.rest.v1 import aircloak_pb2, asapi_pb2_grpc
from taskhouse.rest.v1 import asapi_pb2 as pb

RETRIEVALS = {Role.ASAPI_STORE: Retrieval.ASSTORE, Role.ASAPI_CHANNEL: Retrieval.ASCHANNEL}
ENDPOINTS = {Retrieval.ASSTORE: "/fetch/", Retrieval.ASCHANNEL: "/stream/"}
METHODS = {
    "/account": "GET, HEAD, OPTIONS",
    "/register-account": "POST, OPTIONS",
    "/deregister-account": "POST, OPTIONS",
    "/submit-task": "POST, OPTIONS",
    "/task-status": "POST, OPTIONS",
}
"""By paths without their slash."""


class AsapiServicer(asapi_pb2_grpc.AsapiServiceServicer):
    """Serves the documented paths. Addresses that are told begin with `public_url`, or, if that is "", as the call."""

    def __init__(self, store: Store, admission: Admission, public_url: str) -> None:
        self._store = store
        self._admission = admission
        self._public_url = public_url
        self._statuses = Statuses(store, public_url)

    async def DiscoverServices(  # noqa: N802 - as generated.
        self,
        request: pb.DiscoverServicesRequest,  # noqa: ARG002 - as generated.
        context: Context,
    ) -> pb.DiscoverServicesResponse:
        """Answer what may be asked, and where."""
        protocol, _, host = origin_of(headers_of(context), self._public_url).partition("://")
        services = await self._store.read(submissions.permitted, caller=current_caller())
        retrieval = RETRIEVALS[current_caller().role]
        submission, results = (
            pb.AsapiEndpoint(host=host, protocol=protocol, uri=uri) for uri in ("/submit-task/", ENDPOINTS[retrieval])
        )
        return pb.DiscoverServicesResponse(
            services=map(_service, services),
            task_submission_endpoint=submission,
            stream_endpoints=[results],
            retrieval_protocol=retrieval,
        )

    async def RegisterAccount(self, request: pb.RegisterAccountRequest, context: Context) -> pb.RegisterAccountResponse:  # noqa: N802 - as generated.
        """Register an account."""
        await self._write(accounts.register, await form_of(context, request.http_body))
        return pb.RegisterAccountResponse(success=True)

    async def DeregisterAccount(  # noqa: N802 - as generated.
        self, request: pb.DeregisterAccountRequest, context: Context
    ) -> pb.DeregisterAccountResponse:
        """Deregister an account."""
        await self._write(accounts.deregister_username, await form_of(context, request.http_body))
        return pb.DeregisterAccountResponse(success=True)

    async def SubmitTask(self, request: pb.SubmitTaskRequest, context: Context) -> pb.SubmitTaskResponse:  # noqa: N802 - as generated.
        """Store a task."""
        form = await form_of(context, request.http_body)
        caller = current_caller()
        retrieval = RETRIEVALS[caller.role]
        full = await self._admission.is_full(caller.tenant)
        task = await self._store.write(submissions.submit, caller=caller, retrieval=retrieval, form=form, full=full)
        stream = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        if retrieval is Retrieval.ASCHANNEL:
            stream = struct_pb2.Value(string_value=caller.credential_id)
        return pb.SubmitTaskResponse(task_id=task.id, retrieval_protocol=retrieval, stream=stream, success=True)

    async def GetTaskStatuses(self, request: pb.GetTaskStatusesRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Answer how far tasks are."""
        return await self._statuses.answer(request, context)

    async def _write(self, verb: Callable[..., Awaitable[object]], form: Form) -> None:
        """Do this to the account that the form names, and tell the form's own faults with the verb's."""
        faults: list[Fault] = []
        service, username = (submissions.only(form, name, faults) for name in ("service", "username"))
        try:
            await self._store.write(verb, caller=current_caller(), service=service, username=username)
        except InvalidFields as refused:
            named = {f"account.{fault.field}" for fault in faults}
            others = (fault for fault in refused.faults if fault.field not in named)
            raise InvalidFields((*faults, *others)) from None

    async def AnswerOther(self, request: aircloak_pb2.AnswerOtherRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer what no path answers: 405, or OPTIONS."""
        path = path_of(headers_of(context)[ORIGINAL_PATH])
        return await answer_other(context, METHODS.get(path.removesuffix("/"), ""), not_allowed())


def _service(service: Service) -> pb.AsapiServiceDescription:
    return pb.AsapiServiceDescription(name=service.name, slug=service.slug, actions=map(_action, service.actions))


def _action(action: Action) -> pb.AsapiAction:
    told = pb.AsapiAction(
        name=action.name,
        slug=action.slug,
        description=action.description,
        execution="Asynchronous",
        parameters=[
            pb.AsapiParameter(
                name=one.name,
                slug=one.slug,
                type=one.type,
                description=one.description,
                optional=one.optional,
            )
            for one in action.parameters
        ],
    )
    for slug, values in action.permissions:
        told.permissions[slug].extend(values)
    return told
