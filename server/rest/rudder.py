"""The rudder API: rules and change requests."""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from google.api import httpbody_pb2

from server.core import changes, errors, organizations, rules
from server.core.change_content import ChangeState, Remark
from server.core.organizations import ReasonMode
from server.core.rule_content import Given, checked
from server.rest.rudder_calls import NAMED, Versions
from server.rest.rudder_door import CONTENT_TYPE, BadRemark, BadValue, Call, Complaint, begin, envelope, methods_of
from server.rest.rudder_pages import STATUSES, requests_text, revision_text, rules_text
from server.rest.rudder_parameters import Parameters, read, repeated
from server.rpc.door import Context, current_caller
from server.rpc.reading import read_and_render
from server.store.engine import Store
from taskhouse.rest.v1 import aircloak_pb2, rudder_pb2_grpc
from taskhouse.rest.v1 import rudder_pb2 as pb

API_VERSION = "x-api-version"
INLINE_BODY = 64 * 1024  # bytes; reading more would hold up everybody else, and is done in a thread
INLINE_ANSWER = 256 * 1024  # bytes; as INLINE_BODY
MAX_ANSWER = 16 * 1024 * 1024 - 1024  # bytes: the edge refuses more than 16 MiB
_NUMBER = re.compile("[+-]?[0-9]+")
_MOST_DIGITS = 18
_NO_BODY = httpbody_pb2.HttpBody()
_NOTHING = Given()
_ACCEPTED = {state.value: state for state in (ChangeState.PENDING_DEPLOYMENT, ChangeState.DEPLOYED)}

Act = Callable[[Call, Parameters], Awaitable[str]]
"""Does what a call asks for and returns the answer's data as JSON."""


class RudderServicer(rudder_pb2_grpc.RudderServiceServicer):
    """Serves the documented paths."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        self._readers: dict[str, Act] = {
            "listRules": self._list_rules,
            "ruleDetails": self._rule,
            "listChangeRequests": self._list_requests,
            "changeRequestDetails": self._request,
            "ApiGeneralInformations": self._info,
        }

    async def ListRules(self, request: pb.ListRulesRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer all rules."""
        return await self._serve(context, _NO_BODY, self._list_rules)

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer one rule."""
        return await self._serve(context, _NO_BODY, self._rule)

    async def CreateRule(self, request: pb.CreateRuleRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Create a rule."""
        return await self._serve(context, request.http_body, self._create_rule)

    async def UpdateRule(self, request: pb.UpdateRuleRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Change a rule, or ask for that."""
        return await self._serve(context, request.http_body, self._update_rule)

    async def DeleteRule(self, request: pb.DeleteRuleRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: N802 - as generated.
        """Delete a rule, or ask for that."""
        return await self._serve(context, _form_of(request.http_body), self._delete_rule)

    async def ListChangeRequests(  # noqa: N802 - as generated.
        self,
        request: pb.ListChangeRequestsRequest,  # noqa: ARG002 - as generated.
        context: Context,
    ) -> httpbody_pb2.HttpBody:
        """Answer the change requests in some states."""
        return await self._serve(context, _NO_BODY, self._list_requests)

    async def GetChangeRequest(self, request: pb.GetChangeRequestRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer one change request."""
        return await self._serve(context, _NO_BODY, self._request)

    async def UpdateChangeRequest(  # noqa: N802 - as generated.
        self, request: pb.UpdateChangeRequestRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Give a change request another name or description."""
        return await self._serve(context, request.http_body, self._update_request)

    async def AcceptChangeRequest(  # noqa: N802 - as generated.
        self, request: pb.AcceptChangeRequestRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Move a change request on."""
        return await self._serve(context, request.http_body, self._accept_request)

    async def DeclineChangeRequest(  # noqa: N802 - as generated.
        self, request: pb.DeclineChangeRequestRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Cancel a change request."""
        return await self._serve(context, _form_of(request.http_body), self._decline_request)

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> httpbody_pb2.HttpBody:  # noqa: ARG002, N802 - as generated.
        """Answer what versions there are."""
        return await self._serve(context, _NO_BODY, self._info)

    async def AnswerOther(  # noqa: N802 - as generated.
        self,
        request: aircloak_pb2.AnswerOtherRequest,  # noqa: ARG002 - as generated.
        context: Context,
    ) -> httpbody_pb2.HttpBody:
        """Answer what no path answers: HEAD, OPTIONS, or 404."""
        call = begin(context)
        if call.method == "HEAD" and call.action in self._readers:
            return await self._serve(context, _NO_BODY, self._readers[call.action])
        self._check_version(call)
        methods = methods_of(call.address)
        if call.method != "OPTIONS" or not methods:
            raise errors.NotServed
        await context.send_initial_metadata((("allow", ", ".join(methods)), *call.answers.items()))
        return _NO_BODY

    async def _serve(self, context: Context, sent: httpbody_pb2.HttpBody, act: Act) -> httpbody_pb2.HttpBody:
        call = begin(context)
        self._check_version(call)
        if len(sent.data) > INLINE_BODY or "content-encoding" in call.headers:
            given = await asyncio.to_thread(read, sent, call.headers)
        else:
            given = read(sent, call.headers)
        call.is_pretty = given.general("prettify") == ["true"]
        try:
            data = await act(call, given)
        except (BadRemark, BadValue, Complaint, errors.InvalidFields):
            await self._look_before(call)
            raise
        if call.answers:
            await context.send_initial_metadata(tuple(call.answers.items()))
        is_short = len(data) <= INLINE_ANSWER
        body = envelope(call, data) if is_short else await asyncio.to_thread(envelope, call, data)
        if len(body) > MAX_ANSWER:
            raise errors.ListTooLong
        return httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=body)

    async def _look_before(self, call: Call) -> None:
        """Raise what a caller learns of before anything about values: that there is no such rule, or no workflow."""
        caller = current_caller()
        if call.action == "updateRule":
            await self._store.read(rules.document, caller=caller, rule_id=call.id)
        elif call.address.resource == "changeRequests":
            review = await self._store.read(organizations.review_of, organization_id=caller.tenant)
            if not review.workflow:
                raise errors.WorkflowDisabled

    def _check_version(self, call: Call) -> None:
        """Find the version. Raises NotServed for one in the path that there is not, Complaint for one in the header."""
        named, resource = call.address.version, call.address.resource
        if not resource:
            raise errors.NotServed
        found = NAMED[resource]
        if named is not None:
            if named not in found:
                raise errors.NotServed
        elif resource == "info":
            return
        else:
            named = call.headers.get(API_VERSION, "").strip()
            if named not in found:
                call.action = resource
                raise Complaint(
                    f"Version used does not exists, please use one of the following: [ {', '.join(found)} ] "
                )
        call.answers = self._versions.headers(found[named])

    async def _info(self, call: Call, given: Parameters) -> str:
        del call, given
        return orjson.dumps(self._versions.info()).decode()

    # Rules

    async def _list_rules(self, call: Call, given: Parameters) -> str:
        del call, given
        caller = current_caller()
        found = await self._store.read(rules.documents, caller=caller, quickly=True)
        if found is None:
            found = await self._store.scan(rules.documents, caller=caller, quickly=False)
        return rules_text(found or "")

    async def _rule(self, call: Call, given: Parameters) -> str:
        del given
        return rules_text(await self._store.read(rules.document, caller=current_caller(), rule_id=call.id))

    async def _create_rule(self, call: Call, given: Parameters) -> str:
        call.id = str(uuid.uuid4())
        rule_id = given.text("id", also_in_query=True)
        call.id = call.id if rule_id is None else rule_id
        call.source = given.text("source", also_in_query=True)
        wanted = given.rule()
        call.said["rule.display_name"] = wanted.display_name or ""
        remark = await self._remark(call, given, wanted)
        rule = await self._store.write_guarded(
            rules.create,
            caller=current_caller(),
            given=wanted,
            rule_id=call.id,
            source_id=call.source,
            reason=remark.reason,
        )
        return rules_text(rule.document())

    async def _update_rule(self, call: Call, given: Parameters) -> str:
        wanted = given.rule()
        call.said["rule.display_name"] = wanted.display_name or ""
        remark = await self._remark(call, given, wanted)
        revision = await self._store.write_guarded(
            rules.update, caller=current_caller(), rule_id=call.id, given=wanted, remark=remark
        )
        return revision_text(revision)

    async def _delete_rule(self, call: Call, given: Parameters) -> str:
        remark = await self._remark(call, given)
        revision = await self._store.write_guarded(
            rules.delete, caller=current_caller(), rule_id=call.id, remark=remark
        )
        return revision_text(revision)

    async def _remark(self, call: Call, given: Parameters, wanted: Given = _NOTHING) -> Remark:
        """Read the general parameters about a change. What the organization does not read may be said several times.

        Raises BadRemark; InvalidFields, if anything is wrong with the wanted rule, which is told before.
        """
        reasons, names = given.general("reason"), given.general("changeRequestName")
        descriptions = given.general("changeRequestDescription")
        if len(reasons) > 1 or len(names) > 1:
            review = await self._store.read(organizations.review_of, organization_id=current_caller().tenant)
            twice = ["reason"] if len(reasons) > 1 and review.reason_mode is not ReasonMode.DISABLED else []
            twice += ["changeRequestName"] if len(names) > 1 and review.workflow else []
            if twice:
                if faults := checked(wanted)[1]:
                    raise errors.InvalidFields(tuple(faults))
                raise BadRemark(repeated(twice[0]))
        call.said |= {"reason": "".join(reasons[:1]), "change_request_name": "".join(names[:1])}
        return Remark(
            reason=reasons[0] if reasons else None,
            change_request_name=names[0] if names else None,
            change_request_description=descriptions[0] if len(descriptions) == 1 else "",
        )

    # Change requests

    async def _list_requests(self, call: Call, given: Parameters) -> str:
        del call
        asked = given.general("status") or ["open"]
        states = STATUSES.get(asked[0].lower()) if len(asked) == 1 else None
        caller = current_caller()
        if states is None:
            raise Complaint(f"No parameter 'status' sent that is one of {', '.join(STATUSES)}.")
        return await read_and_render(self._store, requests_text, changes.every, caller=caller, states=states)

    async def _request(self, call: Call, given: Parameters) -> str:
        del given
        return await self._of_request(call, self._store.read, changes.get)

    async def _update_request(self, call: Call, given: Parameters) -> str:
        name, description = given.text("name"), given.text("description")
        call.said["change_request.name"] = name or ""
        values = {"name": name, "description": description, "must_change": True}
        return await self._of_request(call, self._store.write_guarded, changes.update, **values)

    async def _accept_request(self, call: Call, given: Parameters) -> str:
        state = _ACCEPTED.get((given.text("status") or "").lower())
        if state is None:
            raise Complaint(f"No parameter 'status' sent that is one of {', '.join(_ACCEPTED)}.")
        remark = await self._remark(call, given)
        return await self._of_request(
            call, self._store.write_guarded, changes.accept, state=state, reason=remark.reason
        )

    async def _decline_request(self, call: Call, given: Parameters) -> str:
        remark = await self._remark(call, given)
        return await self._of_request(call, self._store.write_guarded, changes.decline, reason=remark.reason)

    async def _of_request(self, call: Call, use: Any, verb: Callable[..., Any], **values: Any) -> str:
        number = call.id
        if not _NUMBER.fullmatch(number):
            told = errors.cut(number, errors.MAX_VALUE)
            raise Complaint(f"{told} is not a valid change request id (need to be an integer)")
        if len(number) > _MOST_DIGITS:  # More than any store can count to.
            raise BadValue(f"Could not find ChangeRequest {errors.cut(number, errors.MAX_VALUE)}")
        call.id = str(int(number))  # As the house writes it.
        return requests_text([await use(verb, caller=current_caller(), change_request_id=int(number), **values)])


def _form_of(sent: httpbody_pb2.HttpBody) -> httpbody_pb2.HttpBody:
    """Return the body of a DELETE as far as it is read: clients call it JSON, even if there is none."""
    return _NO_BODY if "json" in sent.content_type.lower() else sent
