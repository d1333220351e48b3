"""ChangeRequestService."""

from collections.abc import Iterable

from server.core import changes
from server.core.change_content import ChangeRequest, ChangeState
from server.core.errors import Fault, InvalidFields, invalid
from server.core.pages import Page
from server.rpc.door import Context, current_caller
from server.rpc.reading import read_and_render
from server.services.rule_messages import rule_to_proto
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import changes_pb2 as pb
from taskhouse.v1 import changes_pb2_grpc

_STATES = {
    pb.CHANGE_REQUEST_STATE_PENDING_VALIDATION: ChangeState.PENDING_VALIDATION,
    pb.CHANGE_REQUEST_STATE_PENDING_DEPLOYMENT: ChangeState.PENDING_DEPLOYMENT,
    pb.CHANGE_REQUEST_STATE_DEPLOYED: ChangeState.DEPLOYED,
    pb.CHANGE_REQUEST_STATE_CANCELLED: ChangeState.CANCELLED,
}
_STATES_TO_PROTO = {state: number for number, state in _STATES.items()}
_ACCEPTED = (ChangeState.PENDING_DEPLOYMENT, ChangeState.DEPLOYED)
_CHANGEABLE = ("name", "description")


class ChangeRequestServicer(changes_pb2_grpc.ChangeRequestServiceServicer):
    """Serves change requests to their organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetChangeRequest(self, request: pb.GetChangeRequestRequest, context: Context) -> pb.ChangeRequest:  # noqa: ARG002, N802 - as generated.
        """Return one change request."""
        found = await self._store.read(
            changes.get, caller=current_caller(), change_request_id=request.change_request_id
        )
        return change_request_to_proto(found)

    async def ListChangeRequests(  # noqa: N802 - as generated.
        self,
        request: pb.ListChangeRequestsRequest,
        context: Context,  # noqa: ARG002 - as generated.
    ) -> pb.ListChangeRequestsResponse:
        """Return a page of change requests."""
        return await read_and_render(
            self._store,
            _listed,
            changes.page,
            caller=current_caller(),
            states=_states(request.states),
            rule_id=request.rule_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )

    async def UpdateChangeRequest(self, request: pb.UpdateChangeRequestRequest, context: Context) -> pb.ChangeRequest:  # noqa: ARG002, N802 - as generated.
        """Change what the mask names."""
        given, names = request.change_request, set(request.update_mask.paths)
        if not names or names - set(_CHANGEABLE):
            raise invalid("update_mask", f"must name some of {', '.join(_CHANGEABLE)}")
        changed = await self._store.write_guarded(
            changes.update,
            caller=current_caller(),
            change_request_id=given.id,
            name=given.name if "name" in names else None,
            description=given.description if "description" in names else None,
            etag=given.etag,
        )
        return change_request_to_proto(changed)

    async def AcceptChangeRequest(self, request: pb.AcceptChangeRequestRequest, context: Context) -> pb.ChangeRequest:  # noqa: ARG002, N802 - as generated.
        """Move a change request on."""
        state = _STATES.get(request.state)
        if state not in _ACCEPTED:
            raise invalid("state", "must be PENDING_DEPLOYMENT or DEPLOYED")
        accepted = await self._store.write_guarded(
            changes.accept,
            caller=current_caller(),
            change_request_id=request.change_request_id,
            state=state,
            reason=request.reason,
        )
        return change_request_to_proto(accepted)

    async def DeclineChangeRequest(self, request: pb.DeclineChangeRequestRequest, context: Context) -> pb.ChangeRequest:  # noqa: ARG002, N802 - as generated.
        """Cancel a change request."""
        declined = await self._store.write_guarded(
            changes.decline,
            caller=current_caller(),
            change_request_id=request.change_request_id,
            reason=request.reason,
        )
        return change_request_to_proto(declined)


def change_request_to_proto(request: ChangeRequest) -> pb.ChangeRequest:
    """Render a change request."""
    before, after = request.change
    return pb.ChangeRequest(
        id=request.id,
        name=request.name,
        description=request.description,
        state=_STATES_TO_PROTO[request.state],
        rule_id=before.id,
        before=rule_to_proto(before),
        after=rule_to_proto(after) if after else None,
        author_id=request.author_id,
        author_name=request.author_name,
        reason=request.reason,
        is_acceptable=request.is_acceptable,
        etag=request.etag,
        create_time=timestamp(request.create_time),
        update_time=timestamp(request.update_time),
    )


def _listed(page: Page[ChangeRequest]) -> pb.ListChangeRequestsResponse:
    listed = map(change_request_to_proto, page.items)
    return pb.ListChangeRequestsResponse(change_requests=listed, next_page_token=page.next_page_token)


def _states(given: Iterable[pb.ChangeRequestState]) -> frozenset[ChangeState]:
    """Return the states that are asked for: if none is, all of them. Raises InvalidFields."""
    numbers = list(given)
    faults = [
        Fault(f"states[{place}]", "must be one of ChangeRequestState")
        for place, number in enumerate(numbers)
        if number not in _STATES
    ]
    if faults:
        raise InvalidFields(tuple(faults))
    return frozenset(_STATES[number] for number in numbers) or frozenset(ChangeState)
