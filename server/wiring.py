"""Puts the parts together; the only file that sees every room."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.core.admission import Admission
from server.core.arrivals import MAX_RESULT_BYTES
from server.core.downloading import Downloads
from server.core.listening import Listening
from server.core.retention import Policy
from server.core.stats_searching import Searching
from server.identity.authority import Authority
from server.identity.callers import Callers
from server.rest.aircloak import AircloakDoor, AircloakServicer
from server.rest.aircloak_uploads import MAX_BODY
from server.rest.asapi import AsapiServicer
from server.rest.asapi_door import AsapiDoor
from server.rest.asapi_results import AsapiResultServicer
from server.rest.health import HealthServicer
from server.rest.monarc import MonarcServicer
from server.rest.monarc_door import MonarcDoor
from server.rest.rudder import RudderServicer
from server.rest.rudder_calls import Versions
from server.rest.rudder_door import RudderDoor
from server.rpc.door import Door
from server.rpc.interceptor import Interceptor
from server.services.accounts import AccountServicer
from server.services.catalogue import CatalogueServicer
from server.services.changes import ChangeRequestServicer
from server.services.credentials import CredentialServicer
from server.services.datasets import DatasetServicer
from server.services.door import TypedDoor
from server.services.events import EventServicer
from server.services.organizations import OrganizationServicer
from server.services.results import ResultServicer
from server.services.rules import RuleServicer
from server.services.stats import StatServicer
from server.services.sweeping import Sweeping
from server.services.tasks import TaskServicer
from server.services.work import WorkServicer
from server.store.engine import Store
from taskhouse.rest.v1 import (
    aircloak_pb2_grpc,
    asapi_pb2_grpc,
    asapi_results_pb2_grpc,
    monarc_pb2_grpc,
    rudder_pb2_grpc,
)
from taskhouse.rest.v1 import health_pb2_grpc as rest_health_pb2_grpc
from taskhouse.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    catalogue_pb2,
    catalogue_pb2_grpc,
    changes_pb2,
    changes_pb2_grpc,
    credentials_pb2,
    credentials_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
    results_pb2,
    results_pb2_grpc,
    rules_pb2,
    rules_pb2_grpc,
    stats_pb2,
    stats_pb2_grpc,
    tasks_pb2,
    tasks_pb2_grpc,
    work_pb2,
    work_pb2_grpc,
)

MAX_UPLOAD_BYTES = MAX_BODY + 1024 * 1024  # With what else is in the message; the edge lets a little less in.
UPLOADS = ("/taskhouse.rest.v1.AircloakService/BulkInsert", "/taskhouse.rest.v1.AircloakService/Insert")
STREAMED_UPLOADS = "/taskhouse.v1.DatasetService/Upload"
MAX_STREAMED_BYTES = 1024 * 1024  # a message
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_UPLOAD_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.max_ping_strikes", 0),  # The edge pings to see that its servers live; else gRPC would hang up on it.
    # The edge lets 16 KiB of headers in; gRPC's default is 8 KiB, and a random refusal on the way there.
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
]


@dataclass
class Server:
    """One server process: a gRPC server on its store."""

    address: str
    grpc: grpc.aio.Server
    store: Store
    health: health.aio.HealthServicer
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    sweeping: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.listening = Listening(self.store, self.stopping)
        self.downloads = Downloads(self.store)

    async def start(self, policy: Policy, *, sweep_seconds: float) -> None:
        """Take calls, and sweep what is older than the policy says."""
        await self.grpc.start()
        self.listening.start()
        self.sweeping = asyncio.create_task(Sweeping(self.store, policy, period_seconds=sweep_seconds).run())

    async def stop(self, grace: float) -> None:
        """Take no new calls, let those under way end for `grace` seconds, and commit what was begun."""
        await self.health.enter_graceful_shutdown()
        if self.sweeping:
            self.sweeping.cancel()
            await asyncio.gather(self.sweeping, return_exceptions=True)
        self.stopping.set()  # Work streams end by themselves: their workers come back elsewhere.
        await self.grpc.stop(grace)
        await self.listening.settled()
        await self.downloads.stop()
        await self.store.close()


def build_server(
    *,
    store: Store,
    authority: Authority,
    address: str,
    reflect: bool = True,
    api_key_authentication: bool = True,
    web_origins: Sequence[str] = (),
    strict_filters: bool = False,
    public_url: str = "",
    max_unfinished_tasks: int = 100_000,
    max_result_bytes: int = MAX_RESULT_BYTES,
    rudder_deprecated: Mapping[int, date] = MappingProxyType({}),
) -> Server:
    """Return a server for `address`, a unix socket ("unix:/path"). Start it with `server.grpc.start()`."""
    typed = TypedDoor()
    doors: dict[str, Door] = {
        "taskhouse.rest.v1.AircloakService": AircloakDoor(),
        "taskhouse.rest.v1.AsapiResultService": AsapiDoor(),
        "taskhouse.rest.v1.AsapiService": AsapiDoor(),
        "taskhouse.rest.v1.MonarcService": MonarcDoor(is_open=not api_key_authentication, web_origins=web_origins),
        "taskhouse.rest.v1.RudderService": RudderDoor(),
    }
    interceptor = Interceptor(
        doors=doors,
        default=typed,
        callers=Callers(store),
        max_bytes=dict.fromkeys(UPLOADS, MAX_UPLOAD_BYTES) | {STREAMED_UPLOADS: MAX_STREAMED_BYTES},
    )
    server = Server(
        address=address,
        grpc=grpc.aio.server(
            interceptors=[interceptor],
            options=OPTIONS,
        ),
        store=store,
        health=health.aio.HealthServicer(),
    )
    listening = server.listening
    add = server.grpc
    health_pb2_grpc.add_HealthServicer_to_server(server.health, add)
    rest_health_pb2_grpc.add_HealthServiceServicer_to_server(HealthServicer(store), add)
    aircloak_pb2_grpc.add_AircloakServiceServicer_to_server(AircloakServicer(store), add)
    admission = Admission(store, max_unfinished_tasks)
    asapi_pb2_grpc.add_AsapiServiceServicer_to_server(AsapiServicer(store, admission, public_url), add)
    asapi_results = AsapiResultServicer(store, listening, server.downloads)
    asapi_results_pb2_grpc.add_AsapiResultServiceServicer_to_server(asapi_results, add)
    searching = Searching(store)
    monarc = MonarcServicer(store, searching, strict_filters=strict_filters, is_open=not api_key_authentication)
    monarc_pb2_grpc.add_MonarcServiceServicer_to_server(monarc, add)
    rudder_pb2_grpc.add_RudderServiceServicer_to_server(RudderServicer(store, Versions(rudder_deprecated)), add)
    accounts_pb2_grpc.add_AccountServiceServicer_to_server(AccountServicer(store), add)
    catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server(CatalogueServicer(store), add)
    changes_pb2_grpc.add_ChangeRequestServiceServicer_to_server(ChangeRequestServicer(store), add)
    credentials_pb2_grpc.add_CredentialServiceServicer_to_server(CredentialServicer(store, authority), add)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(store, server.stopping), add)
    events_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(store, server.stopping), add)
    organizations_pb2_grpc.add_OrganizationServiceServicer_to_server(OrganizationServicer(store), add)
    results_pb2_grpc.add_ResultServiceServicer_to_server(ResultServicer(store, listening, server.downloads), add)
    rules_pb2_grpc.add_RuleServiceServicer_to_server(RuleServicer(store), add)
    stats_pb2_grpc.add_StatServiceServicer_to_server(StatServicer(store, searching), add)
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(TaskServicer(store, server.stopping, admission), add)
    work = WorkServicer(store, server.stopping, max_result_bytes=max_result_bytes)
    work_pb2_grpc.add_WorkServiceServicer_to_server(work, add)
    if reflect:
        reflection.enable_server_reflection(_services(), add)
    server.grpc.add_insecure_port(address)
    return server


def _services() -> tuple[str, ...]:
    """Return the full names of what reflection tells of: the typed services, as `rest` is not for stubs."""
    files = (
        accounts_pb2,
        catalogue_pb2,
        changes_pb2,
        credentials_pb2,
        datasets_pb2,
        events_pb2,
        organizations_pb2,
        results_pb2,
        rules_pb2,
        stats_pb2,
        tasks_pb2,
        work_pb2,
        health_pb2,
    )
    names = (service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values())
    return (*names, reflection.SERVICE_NAME)
