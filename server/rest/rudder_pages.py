"""How rules and change requests are written in the rudder API, as compact JSON."""

from typing import Any

import orjson

from server.core.change_content import OPEN, Change, ChangeRequest, ChangeState
from server.core.rules import Revision

STATUSES = {
    "all": frozenset(ChangeState),
    "open": OPEN,
    "closed": frozenset(ChangeState) - OPEN,
} | {state.value: frozenset({state}) for state in ChangeState}
"""The states that a list of change requests can be asked for, by what they are asked for with."""


def rules_text(documents: str) -> str:
    """Return rules, each as `Rule.document()` says it, with commas between them."""
    return f'{{"rules":[{documents}]}}'


def revision_text(revision: Revision) -> str:
    """Return the rule as it was asked for, with the number of the change request, if one was opened."""
    document = revision.wanted.document()
    if revision.change_request:
        document = f'{{"changeRequestId":"{revision.change_request.id}",{document[1:]}'
    return rules_text(document)


def requests_text(requests: list[ChangeRequest]) -> str:
    """Return change requests."""
    return orjson.dumps({"changeRequests": [_request(one) for one in requests]}).decode()


def _request(request: ChangeRequest) -> dict[str, Any]:
    return {
        "id": request.id,
        "displayName": request.name,
        "name": request.name,
        "status": request.state.value.capitalize(),
        "created by": request.author_name or request.author_id,
        "isAcceptable": request.is_acceptable,
        "acceptable": request.is_acceptable,
        "description": request.description,
        "changes": {"directives": [], "rules": [_change(request.change)], "groups": [], "parameters": []},
    }


def _change(change: Change) -> dict[str, Any]:
    """Return what happens to a rule: all of one that is deleted; else its fields, each one that changes from and to."""
    before = orjson.loads(change.before.document())
    if change.after is None:
        return {"action": "delete", "change": before}
    after = orjson.loads(change.after.document())
    if "tags" in before or "tags" in after:
        before, after = {"tags": []} | before, {"tags": []} | after
    told = {key: value if after[key] == value else {"from": value, "to": after[key]} for key, value in before.items()}
    del told["system"]  # Nobody can change it.
    return {"action": "modify", "change": told}
