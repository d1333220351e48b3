"""OrganizationService."""

from server.core import organizations
from server.core.errors import invalid
from server.core.organizations import Organization
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import organizations_pb2 as pb
from taskhouse.v1 import organizations_pb2_grpc


class OrganizationServicer(organizations_pb2_grpc.OrganizationServiceServicer):
    """Serves the tenants: all of them to operators, its own to an admin."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateOrganization(self, request: pb.CreateOrganizationRequest, context: Context) -> pb.Organization:  # noqa: ARG002, N802 - as generated.
        """Add an organization."""
        organization = await self._store.write(organizations.create, name=request.organization.name)
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
        if list(request.update_mask.paths) != ["sharing"]:
            raise invalid("update_mask", "must name sharing, which is all that can be changed")
        organization = await self._store.write(
            organizations.share,
            caller=current_caller(),
            name=request.organization.name,
            sharing=request.organization.sharing,
        )
        return organization_to_proto(organization)


def organization_to_proto(organization: Organization) -> pb.Organization:
    """Render an organization."""
    return pb.Organization(
        name=organization.name, create_time=timestamp(organization.create_time), sharing=organization.sharing
    )
