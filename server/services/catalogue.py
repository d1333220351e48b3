"""CatalogueService."""

from collections.abc import Iterable

from server.core import catalogue
from server.core.catalogue import Action, Parameter, ParameterType, Permission, Service
from server.core.errors import Fault, InvalidFields
from server.rpc.door import Context, current_caller
from server.store.engine import Store
from taskhouse.v1 import catalogue_pb2 as pb
from taskhouse.v1 import catalogue_pb2_grpc

_TYPES = {
    pb.PARAMETER_TYPE_STRING: ParameterType.STRING,
    pb.PARAMETER_TYPE_DATE: ParameterType.DATE,
    pb.PARAMETER_TYPE_INTEGER: ParameterType.INTEGER,
    pb.PARAMETER_TYPE_BOOLEAN: ParameterType.BOOLEAN,
    pb.PARAMETER_TYPE_LIST: ParameterType.LIST,
}
_TYPES_TO_PROTO = {type_: number for number, type_ in _TYPES.items()}


class CatalogueServicer(catalogue_pb2_grpc.CatalogueServiceServicer):
    """Serves what can be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetCatalogue(self, request: pb.GetCatalogueRequest, context: Context) -> pb.Catalogue:  # noqa: ARG002, N802 - as generated.
        """Return all services."""
        return catalogue_to_proto(await self._store.read(catalogue.get))

    async def ApplyCatalogue(self, request: pb.ApplyCatalogueRequest, context: Context) -> pb.Catalogue:  # noqa: ARG002, N802 - as generated.
        """Replace all services."""
        services = _services(request.catalogue)
        try:
            applied = await self._store.write(catalogue.apply, caller=current_caller(), services=services)
        except InvalidFields as refusal:
            faults = (Fault(f"catalogue.{fault.field}", fault.description) for fault in refusal.faults)
            raise InvalidFields(tuple(faults)) from refusal
        return catalogue_to_proto(applied)


def _services(given: pb.Catalogue) -> tuple[Service, ...]:
    """Read the services. Raises InvalidFields for a type that is none."""
    faults = [
        Fault(f"catalogue.services[{one}].actions[{two}].parameters[{three}].type", "must be one of ParameterType")
        for one, service in enumerate(given.services)
        for two, action in enumerate(service.actions)
        for three, parameter in enumerate(action.parameters)
        if parameter.type not in _TYPES
    ]
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(Service(one.slug, one.name, tuple(map(_action, one.actions))) for one in given.services)


def _action(given: pb.Action) -> Action:
    return Action(
        given.slug,
        given.name,
        given.description,
        tuple(
            Parameter(one.slug, one.name, _TYPES[one.type], one.optional, one.description) for one in given.parameters
        ),
        tuple(Permission(one.slug, tuple(one.values)) for one in given.permissions),
    )


def catalogue_to_proto(services: Iterable[Service]) -> pb.Catalogue:
    """Render the services."""
    return pb.Catalogue(
        services=[
            pb.Service(slug=one.slug, name=one.name, actions=map(_action_to_proto, one.actions)) for one in services
        ]
    )


def _action_to_proto(action: Action) -> pb.Action:
    return pb.Action(
        slug=action.slug,
        name=action.name,
        description=action.description,
        parameters=[pb.Parameter(**{**one._asdict(), "type": _TYPES_TO_PROTO[one.type]}) for one in action.parameters],
        permissions=[pb.Permission(slug=slug, values=values) for slug, values in action.permissions],
    )
