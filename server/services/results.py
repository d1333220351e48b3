"""ResultService."""

from server.core import results
from server.core.results import Result
from server.rpc.door import Context, current_caller
from server.services.times import timestamp
from server.store.engine import Store
from taskhouse.v1 import results_pb2 as pb
from taskhouse.v1 import results_pb2_grpc


class ResultServicer(results_pb2_grpc.ResultServiceServicer):
    """Serves results to their organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
