"""HTTP as the documented APIs have it: what they are sent, in a google.api.HttpBody and the headers beside it."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import grpc
from google.api import httpbody_pb2

from server.core.errors import NotServed, TooLarge
from server.rpc.door import Context
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.refusals import refuse

ORIGINAL_METHOD = "x-envoy-original-method"
_GZIP = 16 + zlib.MAX_WBITS


class EncodingUnknown(Exception):
    """The body's content-encoding is neither identity nor gzip."""


class QueryBroken(Exception):
    """What was escaped in a query, a form or a path is not UTF-8."""


class BodyBroken(Exception):
    """The body is not what its content-encoding says: it is damaged, cut off, or goes on after its end."""


class MediaType(NamedTuple):
    """A content type: `type/subtype` in lower case, "" if none was sent, and its parameters by lower-case names."""

    name: str
    parameters: Mapping[str, str]


def headers_of(context: Context) -> dict[str, str]:
    """Return the request's headers by lower-case names; of a repeated one the last. Raises NotServed to native gRPC."""
    headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
    if ORIGINAL_PATH not in headers:
        raise NotServed
    return headers


def query_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of the path that the caller sent, in their order; of a repeated one the first counts.

    Raises QueryBroken.
    """
    parameters: dict[str, str] = {}
    for name, value in pairs_of(query_text(headers)):
        parameters.setdefault(name, value)
    return parameters


def query_text(headers: Mapping[str, str]) -> str:
    """Return the query of the path that the caller sent, as it is."""
    return headers[ORIGINAL_PATH].partition("?")[2].partition("#")[0]


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return the parameters of a query or a form, in their order. Raises QueryBroken."""
    parts = (part.partition("=") for part in text.split("&") if part)
    return [(unescaped(name), unescaped(value)) for name, _, value in parts]


def media_type(content_type: str) -> MediaType:
    """Read a content type."""
    name, *parameters = content_type.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return MediaType(name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs})


async def answer_other(context: Context, allow: str, not_allowed: Mapping[str, Any]) -> httpbody_pb2.HttpBody:
    """Answer OPTIONS, or refuse a method that a path does not have; `allow` are those that it has, "" if it is none.

    Raises NotServed.
    """
    method = headers_of(context).get(ORIGINAL_METHOD, "")
    if allow and method not in allow.split(", "):
        await refuse(context, grpc.StatusCode.UNIMPLEMENTED, 405, not_allowed, allow=allow)
    if not allow or method != "OPTIONS":  # Or the path is spelled so that its own rpc does not match.
        raise NotServed
    await context.send_initial_metadata((("x-taskhouse-status", "204"), ("allow", allow)))
    return httpbody_pb2.HttpBody()


def body_of(sent: httpbody_pb2.HttpBody, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
    """Return the body without its content-encoding. Raises EncodingUnknown, BodyBroken, TooLarge (sent or inflated)."""
    encoding = headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise EncodingUnknown
    if len(sent.data) > max_bytes:
        raise TooLarge(max_bytes)
    return sent.data if encoding == "identity" else inflate(sent.data, max_bytes=max_bytes)


def unescaped(text: str) -> str:
    """Return a name or a value of a query without its escapes. Raises QueryBroken."""
    return unescaped_segment(text.replace("+", " "))


def unescaped_segment(text: str) -> str:
    """Return a path's segment without its escapes. Raises QueryBroken."""
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise QueryBroken from error


def inflate(data: bytes, *, max_bytes: int) -> bytes:
    """Return what the one gzip member `data` holds, if at most `max_bytes`. Raises BodyBroken, TooLarge."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise BodyBroken from error
    if len(inflated) > max_bytes:
        raise TooLarge(max_bytes)
    if not inflater.eof or inflater.unused_data:
        raise BodyBroken
    return inflated
