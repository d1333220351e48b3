"""RuleService."""

from server.core import rules
from server.core.change_content import Remark
from server.core.pages import Page
from server.core.rule_content import Rule
from server.rpc.door import Context, current_caller
from server.rpc.reading import read_and_render
from server.services.rule_messages import changes_of, given_of, rule_to_proto
from server.store.engine import Store
from taskhouse.v1 import rules_pb2 as pb
from taskhouse.v1 import rules_pb2_grpc


class RuleServicer(rules_pb2_grpc.RuleServiceServicer):
    """Serves rules to their organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateRule(self, request: pb.CreateRuleRequest, context: Context) -> pb.Rule:  # noqa: ARG002, N802 - as generated.
        """Create a rule, or a copy of one."""
        created = await self._store.write_guarded(
            rules.create,
            caller=current_caller(),
            given=given_of(request.rule),
            rule_id=request.rule.id or None,
            source_id=request.source_rule_id or None,
            reason=request.reason,
        )
        return rule_to_proto(created)

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> pb.Rule:  # noqa: ARG002, N802 - as generated.
        """Return one rule."""
        return rule_to_proto(await self._store.read(rules.get, caller=current_caller(), rule_id=request.rule_id))

    async def ListRules(self, request: pb.ListRulesRequest, context: Context) -> pb.ListRulesResponse:  # noqa: ARG002, N802 - as generated.
        """Return a page of rules."""
        return await read_and_render(
            self._store,
            _listed,
            rules.page,
            caller=current_caller(),
            page_size=request.page_size,
            page_token=request.page_token,
        )

    async def UpdateRule(self, request: pb.UpdateRuleRequest, context: Context) -> pb.UpdateRuleResponse:  # noqa: ARG002, N802 - as generated.
        """Change what the mask names, or ask for the change."""
        revision = await self._store.write_guarded(
            rules.update,
            caller=current_caller(),
            rule_id=request.rule.id,
            given=changes_of(request.rule, request.update_mask.paths),
            etag=request.rule.etag,
            remark=_remark(request),
        )
        return pb.UpdateRuleResponse(rule=rule_to_proto(revision.rule), change_request_id=revision.change_request_id)

    async def DeleteRule(self, request: pb.DeleteRuleRequest, context: Context) -> pb.DeleteRuleResponse:  # noqa: ARG002, N802 - as generated.
        """Delete a rule, or ask for it."""
        revision = await self._store.write_guarded(
            rules.delete,
            caller=current_caller(),
            rule_id=request.rule_id,
            etag=request.etag,
            remark=_remark(request),
        )
        return pb.DeleteRuleResponse(rule=rule_to_proto(revision.rule), change_request_id=revision.change_request_id)


def _listed(page: Page[Rule]) -> pb.ListRulesResponse:
    return pb.ListRulesResponse(rules=map(rule_to_proto, page.items), next_page_token=page.next_page_token)


def _remark(request: pb.UpdateRuleRequest | pb.DeleteRuleRequest) -> Remark:
    return Remark(request.reason, request.change_request_name or None, request.change_request_description)
