"""OrganizationService."""

from collections.abc import Iterable

from server.core import organizations
from server.core.errors import invalid
from server.core.organizations import Organization, ReasonMode, Settings
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import organizations_pb2 as pb
from taskhouse.v1 import organizations_pb2_grpc

_REASON_MODES = {
    pb.REASON_MODE_DISABLED: ReasonMode.DISABLED,
    pb.REASON_MODE_OPTIONAL: ReasonMode.OPTIONAL,
    pb.REASON_MODE_MANDATORY: ReasonMode.MANDATORY,
}
_REASON_MODES_TO_PROTO = {mode: number for number, mode in _REASON_MODES.items()}


class OrganizationServicer(organizations_pb2_grpc.OrganizationServiceServicer):
    """Serves the tenants: all of them to operators, its own to an admin."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateOrganization(self, request: pb.CreateOrganizationRequest, context: Context) -> pb.Organization:  # noqa: ARG002, N802 - as generated.
        """Add an organization."""
        organization = await self._store.write(
            organizations.establish, caller=current_caller(), name=request.organization.name
        )
        return organization_to_proto(organization)

    async def GetOrganization(self, request: pb.GetOrganizationRequest, context: Context) -> pb.Organization:  # noqa: ARG002, N802 - as generated.
        """Return one organization."""
        organization = await self._store.read(organizations.get, caller=current_caller(), name=request.organization)
        return organization_to_proto(organization)

    async def ListOrganizations(  # noqa: N802 - as generated.
        self,
        request: pb.ListOrganizationsRequest,
        context: Context,  # noqa: ARG002 - as generated.
    ) -> pb.ListOrganizationsResponse:
        """Return a page of organizations."""
        page = await self._store.read(
            organizations.page, caller=current_caller(), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListOrganizationsResponse(
            organizations=map(organization_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def UpdateOrganization(self, request: pb.UpdateOrganizationRequest, context: Context) -> pb.Organization:  # noqa: ARG002, N802 - as generated.
        """Change what the mask names."""
        wanted = _settings(request.organization, request.update_mask.paths)
        organization = await self._store.write(
            organizations.update, caller=current_caller(), name=request.organization.name, settings=wanted
        )
        return organization_to_proto(organization)


def _settings(given: pb.Organization, paths: Iterable[str]) -> Settings:
    """Read the settings that a mask names. Raises InvalidFields."""
    names = set(paths)
    if not names or names - set(Settings._fields):
        raise invalid("update_mask", f"must name some of {', '.join(Settings._fields)}")
    if "reason_mode" in names and given.reason_mode not in _REASON_MODES:
        raise invalid("organization.reason_mode", "must be one of ReasonMode")
    values = {name: getattr(given, name) for name in names}
    if "reason_mode" in names:
        values["reason_mode"] = _REASON_MODES[given.reason_mode]
    return Settings(**values)


def organization_to_proto(organization: Organization) -> pb.Organization:
    """Render an organization."""
    return pb.Organization(
        name=organization.name,
        create_time=timestamp(organization.create_time),
        sharing=organization.sharing,
        workflow=organization.workflow,
        reason_mode=_REASON_MODES_TO_PROTO[organization.reason_mode],
    )
