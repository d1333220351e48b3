"""`/stream/`: results are sent live, in frames."""

from collections.abc import Mapping
from typing import NoReturn

import grpc
import orjson

from server.core.caller import Role
from server.core.deliveries import CHUNK_BYTES, Parcel
from server.core.listening import Listening
from server.rest.asapi_door import Entry, body_of_entries, form_of
from server.rest.exchange import QueryBroken, headers_of, query_of
from server.rest.streams import whole_or_cut
from server.rpc.door import Context, current_caller
from server.rpc.refusals import refuse
from taskhouse.rest.v1 import asapi_results_pb2 as pb

HEARTBEAT_SECONDS = 30.0  # For proxies on the way, which take a silent stream for a dead one.
HEARTBEAT = b"\r\n"
CONTENT_TYPE = "application/octet-stream"
SYSTEM = {"type": "system"}
BEGUN = {"message": "Message streaming has begun.", "code": "stream-begun"}
FIELD = "stream"
INVALID = "Invalid value", "invalid"


class Streams:
    """Serves listeners."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    async def stream(self, request: pb.StreamResultsRequest, context: Context) -> None:
        """Send the caller's results until one side ends it."""
        caller = current_caller()
        named = await self._named(request, context)
        if named is None:
            await _refuse(context, "Parameter is missing", "missing-param")
        if named != caller.credential_id or caller.role is not Role.ASAPI_CHANNEL:
            await _refuse(context, *INVALID)
        # What was not sent is given back before the answer is cut, as that takes as long as the client likes.
        async with whole_or_cut(context) as answer, self._listening.listen(caller.credential_id) as listener:
            await answer.begin(CONTENT_TYPE, ("cache-control", "no-store, no-transform"))
            await answer.write(frame(SYSTEM, orjson.dumps(BEGUN)))
            while True:
                taken = await listener.next(HEARTBEAT_SECONDS)
                if taken is None:
                    await answer.write(HEARTBEAT)
                else:
                    async for number, data in self._listening.parts(taken):  # Of a large one: the last chunk last.
                        await answer.write(frame(header_of(taken.action, taken.parcel, number), data))
                    listener.is_sent(taken)

    async def _named(self, request: pb.StreamResultsRequest, context: Context) -> str | None:
        """Return the stream that the call names, in its query or in a form."""
        try:
            in_query = query_of(headers_of(context)).get(FIELD)
        except QueryBroken:
            await _refuse(context, *INVALID)
        if in_query is not None:
            return in_query
        return (await form_of(context, request.http_body)).get(FIELD, [None])[-1]


def header_of(action: str, parcel: Parcel, number: int) -> dict[str, object]:
    """Return the header of one part of a result."""
    header: dict[str, object] = {"type": action, "task_id": parcel.task_id}
    if parcel.what.filename:
        header["filename"] = parcel.what.filename
    if parcel.parts > 1:
        header |= {"chunk": number, "total_chunks": parcel.parts, "chunk_size": CHUNK_BYTES}
    return header


def frame(header: Mapping[str, object], payload: bytes) -> bytes:
    """Return one frame. Lengths count the line's end."""
    told = orjson.dumps(header)
    return b"%d\r\n%b\r\n%d\r\n%b\r\n" % (len(told) + 2, told, len(payload) + 2, payload)


async def _refuse(context: Context, text: str, code: str) -> NoReturn:
    body = body_of_entries([Entry(FIELD, text, code)], f"{FIELD}: {text}")
    await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, 400, body)
