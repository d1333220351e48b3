"""The monarc API: organizations, and the stats that they pool."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, ParamSpec, TypeVar

import grpc
from google.api import httpbody_pb2

from server.core import credentials, errors, exactjson, organizations, stats
from server.core.caller import Caller, Role
from server.core.errors import Fault, InvalidFields, StatExists
from server.core.exactjson import MalformedJson
from server.core.stats import Stat
from server.core.stats_content import REQUIRED, Values, read_changes, read_new
from server.core.stats_filters import Operator
from server.core.stats_searching import Searching
from server.rest.exchange import (
    ORIGINAL_METHOD,
    BodyBroken,
    EncodingUnknown,
    QueryBroken,
    body_of,
    headers_of,
    query_of,
)
from server.rest.monarc_door import STRANGER, body_of_refusal, methods_of, redirect_without_slash
from server.rest.monarc_pages import list_text, name_text, stat_text
from server.rest.monarc_query import DEFAULT_LIMIT, BadQuery, asking, conditions, fields_of, paging_of
from server.rpc.door import Context, current_caller
from server.rpc.interceptor import ORIGINAL_PATH
from server.rpc.paths import path_of
from server.rpc.refusals import refuse, to_spaced_json
from server.store.engine import Store
from taskhouse.rest.v1 import aircloak_pb2, monarc_pb2_grpc
from taskhouse.rest.v1 import monarc_pb2 as pb

MAX_BODY = 1024 * 1024  # bytes, as sent and as inflated
INLINE_BODY = 64 * 1024  # bytes; reading more would hold up everybody else, and is done in a thread
INLINE_STATS = 200  # of a page; as INLINE_BODY
MAX_BATCH = 1000
CHUNKED = "x-taskhouse-chunked"  # as the edge tells it: HTTP/2 has no chunks
DEPRECATED = ("deprecation", "@1590364800")  # Since May 2020 the document calls these paths to be removed.
NO_OBJECT = "JSON data must be a dict."
ADD_INSTEAD_OF_PUT = {"error": "404 Not Found: Did you mean to use PUT?"}
_Code = grpc.StatusCode

P = ParamSpec("P")
T = TypeVar("T")


class _Unfit(Exception):
    """A body is JSON, but not what it must be; the text says why."""


class _Sent(NamedTuple):
    """New stats, or what is wrong with them, and the organizations that they name."""

    contents: list[Values | InvalidFields]
    organizations: list[Any]
    is_list: bool


class MonarcServicer(monarc_pb2_grpc.MonarcServiceServicer):
    """Serves the documented paths."""

    def __init__(self, store: Store, searching: Searching, *, strict_filters: bool, is_open: bool) -> None:
        self._store = store
        self._is_open = is_open
        self._searching = searching
        self._strict = strict_filters

    async def ListStats(self, request: pb.ListStatsRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer a page of stats."""
        parameters = await _parameters(context)
        try:
            asked, fields = asking(parameters, strict=self._strict)
        except BadQuery as bad:
            await _bad(context, str(bad))
        page = await self._searching.page(caller=self._reader(), asked=asked)
        beside = _at_once if len(page.stats) <= INLINE_STATS else asyncio.to_thread
        return await beside(_page, page, fields)

    async def CreateStat(self, request: pb.CreateStatRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Store a stat, or several."""
        parameters = await _parameters(context)
        sent = await _json(context, request.http_body, _sent)
        if sent.is_list:
            return await self._create_many(context, sent, whole=parameters.get("_atomic", "true").lower() != "false")
        [content] = sent.contents
        if isinstance(content, InvalidFields):
            raise content
        [stored] = await self._store.write_guarded(
            stats.create, caller=_writer(), contents=[content], organization=_organization(sent.organizations)
        )
        assert isinstance(stored, Stat)  # noqa: S101 - a refusal would have been raised.
        return _answer(stat_text(stored, fields_of(parameters)))

    async def _create_many(self, context: Context, sent: "_Sent", *, whole: bool) -> httpbody_pb2.HttpBody:
        read = sent.contents
        refused = [(number, each) for number, each in enumerate(read) if isinstance(each, InvalidFields)]
        if whole and refused:
            faults = (
                Fault(f"{number}.{fault.field}".rstrip("."), fault.description)
                for number, each in refused
                for fault in each.faults
            )
            raise InvalidFields(tuple(faults))
        contents = [each for each in read if not isinstance(each, InvalidFields)]
        organization = _organization(sent.organizations)
        results = iter(
            await self._store.write_guarded(
                stats.create, caller=_writer(), contents=contents, organization=organization, whole=whole
            )
            if contents
            else []
        )
        items = [each if isinstance(each, InvalidFields) else next(results) for each in read]
        if whole:
            return _answer("[" + ", ".join(stat_text(each) for each in items if isinstance(each, Stat)) + "]")
        await context.send_initial_metadata((("x-taskhouse-status", "207"),))
        return _answer("[" + ", ".join(map(_result_text, items)) + "]")

    async def PurgeStats(self, request: pb.PurgeStatsRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Delete old stats."""
        parameters = await _parameters(context)
        try:
            asked = conditions(parameters, strict=True)
        except BadQuery as bad:
            await _bad(context, str(bad))
        age = [
            one
            for one in asked
            if one.field == "created_at" and one.operator in (Operator.LT, Operator.LTE) and not one.negated
        ]
        if not age or age[0].values == (None,):
            await _bad(context, "Say what is old: created_at__lt must be a time.")
        count, has_more = await self._searching.purge(caller=_writer(), conditions=asked)
        return _answer(f'{{"count": {count}, "has_more": true}}' if has_more else f'{{"count": {count}}}')

    async def GetStat(self, request: pb.GetStatRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Answer one stat."""
        parameters = await _parameters(context)
        stat = await self._store.read(stats.get, caller=self._reader(), stat_id=request.stat_id.lower())
        return _answer(stat_text(stat, fields_of(parameters)))

    async def UpdateStat(self, request: pb.UpdateStatRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Change one stat."""
        parameters = await _parameters(context)
        values = await _json(context, request.http_body, lambda given: read_changes(_object(given)))
        stat = await self._store.write(stats.update, caller=_writer(), stat_id=request.stat_id.lower(), values=values)
        return _answer(stat_text(stat, fields_of(parameters)))

    async def DeleteStat(self, request: pb.DeleteStatRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Delete one stat."""
        await _parameters(context)
        await self._store.write(stats.delete, caller=_writer(), stat_id=request.stat_id.lower())
        return _answer("{}")

    async def ListOrganizations(self, request: pb.ListOrganizationsRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer a page of names."""
        parameters = await _parameters(context)
        try:
            skip, limit = paging_of(parameters, most=DEFAULT_LIMIT)
        except BadQuery as bad:
            await _bad(context, str(bad))
        names = await self._names(skip=skip, most=limit + 1)
        await context.send_initial_metadata((DEPRECATED,))
        return _answer(list_text(map(name_text, names[:limit]), has_more=len(names) > limit))

    async def GetOrganization(self, request: pb.GetOrganizationRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Answer one name."""
        await _parameters(context)
        caller = self._reader()
        every = caller.role in (Role.MONARC_ADMIN, Role.STRANGER)
        known = await self._store.read(organizations.is_readable, caller=caller, name=request.name, every=every)
        if not known:
            raise errors.OrganizationNotFound(request.name)
        await context.send_initial_metadata((DEPRECATED,))
        return _answer(name_text(request.name))

    async def CreateOrganization(  # noqa: N802 - as generated.
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Create an organization and its token."""
        await _parameters(context)
        given = await _json(context, request.http_body, _object)
        name, token = given.get("name"), given.get("token")
        faults = []
        if not isinstance(name, str):
            faults.append(Fault("name", REQUIRED if name is None else "StringField only accepts string values"))
        if token is not None and not isinstance(token, str):
            faults.append(Fault("token", "StringField only accepts string values"))
        credentials.refuse_if(faults)
        secret = credentials.make_token("monarc") if token is None else str(token)
        created = await self._store.write(
            credentials.found_organization,
            caller=current_caller(),
            name=str(name),
            digest=credentials.token_digest(secret),
        )
        await context.send_initial_metadata((DEPRECATED,))
        return _answer(to_spaced_json({"name": created.name} | ({"token": secret} if token is None else {})))

    async def AnswerOther(  # noqa: N802 - as generated.
        self,
        request: aircloak_pb2.AnswerOtherRequest,  # noqa: ARG002 - as generated.
        context: Context,
    ) -> httpbody_pb2.HttpBody:
        """Answer what no path answers: 404, 405, OPTIONS, or 308."""
        await redirect_without_slash(context)
        headers = headers_of(context)
        path, method = path_of(headers[ORIGINAL_PATH]), headers.get(ORIGINAL_METHOD, "")
        methods = methods_of(path)
        if not methods or (
            method in methods and method != "OPTIONS"
        ):  # Or it is spelled so that its rpc does not match.
            raise errors.NotServed
        allow = ", ".join(methods)
        if method == "POST":
            await refuse(context, _Code.NOT_FOUND, 404, ADD_INSTEAD_OF_PUT, spaced=True)
        if method != "OPTIONS":
            await refuse(context, _Code.UNIMPLEMENTED, 405, {"error": "Method not allowed."}, spaced=True, allow=allow)
        await context.send_initial_metadata((("allow", allow),))
        return httpbody_pb2.HttpBody()

    def _reader(self) -> Caller:
        """Return who reads: where no key is needed, everybody reads everything."""
        return STRANGER if self._is_open else current_caller()

    async def _names(self, *, skip: int, most: int) -> list[str]:
        caller = self._reader()
        every = caller.role in (Role.MONARC_ADMIN, Role.STRANGER)
        return await self._store.read(organizations.names, every=every, caller=caller, skip=skip, most=most)


_writer = current_caller


def _organization(named: list[Any]) -> str:
    """Return the organization that new stats name: looked at only for callers of none."""
    caller = current_caller()
    if caller.organization_id is not None:
        return ""
    if not all(name is None or isinstance(name, str) for name in named):
        raise errors.invalid("organization", "StringField only accepts string values")
    names = set(named)
    if len(names) > 1:
        raise errors.invalid("organization", "must be the same for all stats of one request")
    return (names.pop() if names else None) or ""


def _sent(given: Any) -> _Sent:
    """Read new stats. Raises _Unfit."""
    items = given if isinstance(given, list) else [_object(given)]
    if len(items) > MAX_BATCH:
        raise _Unfit(f"There are more than {MAX_BATCH} stats.")
    organizations = [item.get("organization") for item in items if isinstance(item, dict)]
    return _Sent([_read_item(item) for item in items], organizations, isinstance(given, list))


def _object(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _Unfit(NO_OBJECT)
    return given


def _read_item(item: Any) -> Values | InvalidFields:
    if not isinstance(item, dict):
        return errors.invalid("", NO_OBJECT)
    try:
        return read_new(item)
    except InvalidFields as refusal:
        return refusal


def _result_text(result: Stat | StatExists | InvalidFields) -> str:
    if isinstance(result, Stat):
        return f'{{"status": 200, "data": {stat_text(result)}}}'
    status = 409 if isinstance(result, StatExists) else 400
    return to_spaced_json({"status": status} | body_of_refusal(result))


def _page(page: stats.Page, fields: frozenset[str] | None) -> httpbody_pb2.HttpBody:
    return _answer(list_text([stat_text(stat, fields) for stat in page.stats], has_more=page.has_more))


def _answer(text: str) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=text.encode())


async def _parameters(context: Context) -> Mapping[str, str]:
    """Return the query of a path that ends in its slash."""
    headers = headers_of(context)
    if not headers[ORIGINAL_PATH].partition("?")[0].endswith("/"):
        await redirect_without_slash(context)
    try:
        return query_of(headers)
    except QueryBroken:
        await _bad(context, "The query is not UTF-8.")


async def _json(context: Context, sent: httpbody_pb2.HttpBody, reading: Callable[[Any], T]) -> T:
    """Return what `reading` makes of the body; a large one is read and understood beside the event loop."""
    headers = headers_of(context)
    if CHUNKED in headers:
        await _bad(context, "Chunked Transfer-Encoding is not supported.")
    if sent.content_type and "json" not in sent.content_type.lower():
        await _bad(context, "Please send valid JSON with a 'Content-Type: application/json' header.")
    beside = _at_once if len(sent.data) <= INLINE_BODY and "content-encoding" not in headers else asyncio.to_thread
    try:
        return await beside(_read, sent, headers, reading)
    except _Unfit as unfit:
        await _bad(context, str(unfit))
    except EncodingUnknown:
        await refuse(
            context, _Code.INVALID_ARGUMENT, 415, {"error": "The content encoding is not supported."}, spaced=True
        )
    except MalformedJson as malformed:
        await _bad(context, f"The request contains invalid JSON{f': {malformed}' if malformed.args else ''}.")
    except (BodyBroken, UnicodeDecodeError):
        await _bad(context, "The request contains invalid JSON.")


def _read(sent: httpbody_pb2.HttpBody, headers: Mapping[str, str], reading: Callable[[Any], T]) -> T:
    return reading(exactjson.read(body_of(sent, headers, max_bytes=MAX_BODY).decode()))


async def _bad(context: Context, error: str) -> NoReturn:
    await refuse(context, _Code.INVALID_ARGUMENT, 400, {"error": errors.cut(error, 1000)}, spaced=True)


async def _at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return work(*args, **kwargs)
