"""`/fetch/`: a stored result is downloaded once."""

from urllib.parse import quote

import grpc
from google.api import httpbody_pb2

from server.core import deliveries
from server.core.deliveries import Description
from server.core.downloading import Downloads
from server.core.errors import ResultClaimed, ResultNotFound
from server.rest.asapi_door import ALL, Entry, body_of_entries
from server.rest.exchange import ORIGINAL_METHOD, headers_of
from server.rest.streams import whole_or_cut
from server.rpc.door import Context, current_caller
from server.rpc.refusals import refuse
from server.store.engine import Store
from taskhouse.rest.v1 import asapi_results_pb2 as pb

RETRY_SECONDS = 1
NOT_FOUND = {
    "message": "No results were found for this task id.",
    "success": False,
    "error": "task-result-not-found",
}
_Code = grpc.StatusCode


class Fetches:
    """Serves downloads."""

    def __init__(self, store: Store, downloads: Downloads) -> None:
        self._store = store
        self._downloads = downloads

    async def fetch(self, request: pb.FetchResultRequest, context: Context) -> None:
        """Send the result, or tell of it if the call is a HEAD."""
        headers = headers_of(context)
        try:
            if headers.get(ORIGINAL_METHOD) == "HEAD":
                await self._tell(request.task_id, context)
            elif "range" in headers:
                text = "A result is sent once and as a whole: there are no ranges."
                body = body_of_entries([Entry(ALL, text, "invalid")], text)
                await refuse(context, _Code.OUT_OF_RANGE, 416, body, accept_ranges="none")
            else:
                await self._send(request.task_id, context)
        except ResultNotFound:
            await refuse(context, _Code.NOT_FOUND, 404, NOT_FOUND)
        except ResultClaimed as busy:
            body = body_of_entries([Entry(ALL, str(busy), "unavailable")], str(busy))
            await refuse(context, _Code.UNAVAILABLE, 503, body, retry_after=str(RETRY_SECONDS))

    async def _tell(self, task_id: str, context: Context) -> None:
        what = await self._store.read(deliveries.describe, caller=current_caller(), task_id=task_id)
        await context.send_initial_metadata(_headers(what))
        await context.write(httpbody_pb2.HttpBody(content_type=what.content_type))

    async def _send(self, task_id: str, context: Context) -> None:
        """Send all. Whoever has the last byte is to find the result retrieved, so it is held back till then."""
        last = b""
        async with (
            whole_or_cut(context) as answer,
            self._downloads.claimed(caller=current_caller(), task_id=task_id) as download,
        ):
            what = download.parcel.what
            await answer.begin(what.content_type, *_headers(what))
            async for piece in download.pieces():
                data, last = last + piece[:-1], piece[-1:]
                if data:
                    await answer.write(data)
            await download.deliver(lambda: answer.write(last))


def _headers(what: Description) -> list[tuple[str, str]]:
    headers = [("x-taskhouse-length", str(what.size)), ("accept-ranges", "none"), ("cache-control", "no-store")]
    if what.filename:
        headers.append(("content-disposition", f"attachment; filename*=UTF-8''{quote(what.filename, safe='')}"))
    return headers
