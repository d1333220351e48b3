"""`GET /health`."""

from server.rpc.door import Context
from server.store.engine import Store, Tx
from taskhouse.rest.v1 import health_pb2, health_pb2_grpc


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Tells whether the store can be read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetHealth(self, request: health_pb2.GetHealthRequest, context: Context) -> health_pb2.GetHealthResponse:  # noqa: ARG002, N802 - as generated.
        """Answer once the store can be read."""
        await self._store.read(_nothing)
        return health_pb2.GetHealthResponse(status="SERVING")


async def _nothing(tx: Tx) -> None:
    """Begin and end a transaction."""
    del tx
