"""The asapi API: how results come back."""

from google.api import httpbody_pb2

from server.core import deliveries
from server.core.downloading import Downloads
from server.core.listening import Listening
from server.rest.asapi_door import form_of, ids_of, not_allowed
from server.rest.asapi_fetch import Fetches
from server.rest.asapi_stream import Streams
from server.rest.exchange import answer_other, headers_of
from server.rpc.door import Context, current_caller
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.store.engine import Store
from taskhouse.rest.v1 import aircloak_pb2, asapi_results_pb2_grpc
from taskhouse.rest.v1 import asapi_results_pb2 as pb

METHODS = {"fetch": "GET, HEAD, OPTIONS", "stream": "GET, OPTIONS", "results-consumed": "POST, OPTIONS"}
"""By the first part of the path."""


class AsapiResultServicer(asapi_results_pb2_grpc.AsapiResultServiceServicer):
    """Serves the documented paths."""

    def __init__(self, store: Store, listening: Listening, downloads: Downloads) -> None:
        self._store = store
        self._fetches = Fetches(store, downloads)
        self._streams = Streams(listening)

    async def FetchResult(self, request: pb.FetchResultRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Send a stored result, once."""
        await self._fetches.fetch(request, context)

    async def StreamResults(self, request: pb.StreamResultsRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Send results live."""
        await self._streams.stream(request, context)

    async def ConsumeResults(self, request: pb.ConsumeResultsRequest, context: Context) -> pb.ConsumeResultsResponse:  # noqa: N802 - as generated.
        """Note that the client has results."""
        ids = await ids_of(context, await form_of(context, request.http_body))
        task_ids = [task_id.lower() for task_id in ids]
        await self._store.write_guarded(deliveries.consume, caller=current_caller(), task_ids=task_ids)
        return pb.ConsumeResultsResponse(success=True)

    async def AnswerOther(self, request: aircloak_pb2.AnswerOtherRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer what no path answers: 404, 405, or OPTIONS."""
        kind, _, rest = path_of(headers_of(context)[ORIGINAL_PATH]).strip("/").partition("/")
        allow = METHODS[kind] if bool(rest) == (kind == "fetch") and "/" not in rest else ""
        return await answer_other(context, allow, not_allowed())
