"""ResultService."""

from google.rpc import code_pb2, status_pb2

from server.core import deliveries, results
from server.core.channels import Taken
from server.core.deliveries import Parcel
from server.core.downloading import Downloads
from server.core.errors import invalid
from server.core.listening import Listening
from server.core.results import Result
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import results_pb2 as pb
from taskhouse.v1 import results_pb2_grpc

IDLE_SECONDS = 60.0  # Between two looks at a listener to whom nothing is to be sent.
MAX_ACKNOWLEDGED = 10_000
FAILED = "Task did not complete successfully."


class ResultServicer(results_pb2_grpc.ResultServiceServicer):
    """Serves results to their organization."""

    def __init__(self, store: Store, listening: Listening, downloads: Downloads) -> None:
        self._store = store
        self._listening = listening
        self._downloads = downloads

    async def GetResult(self, request: pb.GetResultRequest, context: Context) -> pb.Result:  # noqa: ARG002, N802 - as generated.
        """Return one result."""
        result = await self._store.read(results.get, caller=current_caller(), result_id=request.result_id)
        return _result_to_proto(result)

    async def ListResults(self, request: pb.ListResultsRequest, context: Context) -> pb.ListResultsResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of a task's results."""
        page, total = await self._store.scan(
            results.page,
            caller=current_caller(),
            task_id=request.task_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListResultsResponse(
            results=map(_result_to_proto, page.items), next_page_token=page.next_page_token, total_size=total
        )

    async def Stream(self, request: pb.StreamRequest, context: Context) -> None:  # type: ignore[override]  # noqa: ARG002, N802 - as generated.
        """Send results as they are published."""
        await context.send_initial_metadata(())  # So that the client knows that it listens.
        async with self._listening.listen(current_caller().credential_id, acknowledges=True) as listener:
            while True:
                if taken := await listener.next(IDLE_SECONDS):
                    async for number, data in self._listening.parts(taken):
                        await context.write(_part(taken, number, data))
                    listener.is_sent(taken)

    async def Download(self, request: pb.DownloadRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - as generated.
        """Send a stored result, once."""
        async with self._downloads.claimed(caller=current_caller(), task_id=request.task_id) as download:
            message = _beginning(download.parcel)
            async for piece in download.pieces():
                if not download.parcel.failed:
                    message.data = piece
                await context.write(message)
                message = pb.DownloadResponse()
            await download.deliver()

    async def AcknowledgeResults(  # noqa: N802 - as generated.
        self,
        request: pb.AcknowledgeResultsRequest,
        context: Context,  # noqa: ARG002 - as generated.
    ) -> pb.AcknowledgeResultsResponse:
        """Note that the client has results."""
        if not 1 <= len(request.task_ids) <= MAX_ACKNOWLEDGED:
            raise invalid("task_ids", f"must be 1 to {MAX_ACKNOWLEDGED}")
        task_ids = list(request.task_ids)
        caller = current_caller()
        await self._store.write_guarded(deliveries.consume, caller=caller, task_ids=task_ids)
        self._listening.acknowledged(caller.credential_id, task_ids)
        return pb.AcknowledgeResultsResponse()


def _part(taken: Taken, number: int, data: bytes) -> pb.StreamResponse:
    parcel = taken.parcel
    part = pb.StreamResponse(
        task_id=parcel.task_id, service=taken.service, action=taken.action, part=number, part_count=parcel.parts
    )
    if parcel.failed:
        part.error.code, part.error.message = code_pb2.UNKNOWN, FAILED
    else:
        part.content_type, part.filename = parcel.what.content_type, parcel.what.filename or ""
        part.size, part.data = parcel.what.size, data
    return part


def _beginning(parcel: Parcel) -> pb.DownloadResponse:
    """Return the first message of a download, but for its bytes."""
    if parcel.failed:
        return pb.DownloadResponse(error=status_pb2.Status(code=code_pb2.UNKNOWN, message=FAILED))
    what = parcel.what
    return pb.DownloadResponse(content_type=what.content_type, filename=what.filename or "", size=what.size)


def _result_to_proto(result: Result) -> pb.Result:
    histogram = pb.Histogram(
        buckets=[pb.Bucket(label=label, value=value, count=count) for label, value, count in result.histogram.buckets],
        exceptions=[pb.ExceptionCount(error=error, count=count) for error, count in result.histogram.exceptions],
    )
    return pb.Result(
        id=result.id,
        task_id=result.task_id,
        publish_time=timestamp(result.publish_time),
        histogram=histogram,
    )
