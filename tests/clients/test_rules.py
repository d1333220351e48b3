"""Rules and change requests as JSON under /v1/, over the real edge."""

import uuid

import httpx
import pytest

from tests.bench.house import House


@pytest.fixture
def admin(house: House, client) -> httpx.Client:
    """A client of an organization of its own."""
    name = f"reviewed-{uuid.uuid4().hex[:8]}"
    house.run("orgs", "create", name)
    made = client("admin", name)
    made.headers["x-organization"] = name
    return made


def review(house: House, admin: httpx.Client, *settings: str) -> None:
    house.run("orgs", "set", admin.headers["x-organization"], *settings)


def test_a_rule_is_made_changed_and_deleted(admin: httpx.Client) -> None:
    target = {"composite": {"include": {"operator": "TARGET_OPERATOR_AND", "members": [{"simple": "group:a"}]}}}
    said = {"id": "a b%:cancel2", "display_name": "Ünal", "directives": ["d"], "targets": [target]}
    made = admin.post("/v1/rules", json=said, params={"reason": "new"}).raise_for_status().json()
    assert (made["id"], made["enabled"]) == (said["id"], True)
    path = "/v1/rules/a%20b%25:cancel2"
    assert admin.get(path).json() == made
    assert admin.get("/v1/rules").json() == {"rules": [made], "next_page_token": ""}
    mask = {"update_mask": "display_name,enabled", "reason": "why not"}
    changed = admin.patch(path, params=mask, json={"display_name": "New name", "enabled": False, "etag": made["etag"]})
    assert changed.json()["change_request_id"] == 0
    assert changed.json()["rule"]["display_name"] == "New name"
    stale = admin.patch(path, params=mask, json={"display_name": "Late", "enabled": True, "etag": made["etag"]})
    assert (stale.status_code, stale.json()["details"][0]["reason"]) == (409, "RULE_CHANGED_MEANWHILE")
    assert admin.delete(path, params={"etag": made["etag"]}).status_code == 409
    assert admin.delete(path).json() == changed.json()
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize("verb", ["accept", "decline", "cancel", "eraseUser"])
def test_an_id_that_ends_as_other_paths_do_is_written_with_its_colon_escaped(admin: httpx.Client, verb: str) -> None:
    made = admin.post("/v1/rules", json={"id": f"a:{verb}", "display_name": "Some rule"}).raise_for_status().json()
    path = f"/v1/rules/a%3A{verb}"
    assert admin.get(path).json() == made
    asked = {"params": {"update_mask": "enabled"}, "json": {"enabled": False}}
    assert admin.patch(path, **asked).json()["rule"]["enabled"] is False
    assert admin.get(f"/v1/rules/a:{verb}").status_code == 404
    assert admin.delete(path).status_code == 200


def test_a_change_is_reviewed(house: House, admin: httpx.Client) -> None:
    admin.post("/v1/rules", json={"id": "r", "display_name": "Some rule"}).raise_for_status()
    assert admin.get("/v1/change-requests").json()["details"][0]["reason"] == "WORKFLOW_DISABLED"
    review(house, admin, "--workflow", "on")
    asked = admin.patch("/v1/rules/r", params={"update_mask": "enabled"}, json={"enabled": False}).json()
    assert (asked["rule"]["enabled"], asked["change_request_id"]) == (True, 1)
    assert admin.delete("/v1/rules/r", params={"change_request_name": "Away with it"}).json()["change_request_id"] == 2
    renamed = admin.patch(
        "/v1/change-requests/1", params={"update_mask": "description"}, json={"description": "please"}
    )
    assert renamed.json()["description"] == "please"
    accepted = admin.post("/v1/change-requests/1:accept", json={"state": "CHANGE_REQUEST_STATE_DEPLOYED"})
    assert accepted.json()["state"] == "CHANGE_REQUEST_STATE_DEPLOYED"
    assert admin.get("/v1/rules/r").json()["enabled"] is False
    diverged = admin.post("/v1/change-requests/2:accept", json={"state": "CHANGE_REQUEST_STATE_DEPLOYED"})
    assert (diverged.status_code, diverged.json()["details"][0]["reason"]) == (409, "CHANGE_REQUEST_DIVERGED")
    assert admin.post("/v1/change-requests/2:decline", json={}).json()["state"] == "CHANGE_REQUEST_STATE_CANCELLED"
    listed = admin.get("/v1/change-requests", params={"states": ["CHANGE_REQUEST_STATE_CANCELLED"]}).json()
    assert [one["id"] for one in listed["change_requests"]] == [2]
    assert admin.get("/v1/change-requests/2").json() == listed["change_requests"][0]
    assert admin.get("/v1/change-requests/3").status_code == 404
    assert admin.get("/v1/change-requests/x").status_code == 400


def test_bad_fields_of_rules_are_named(admin: httpx.Client) -> None:
    bad = {"display_name": "x", "targets": [{"simple": "all"}], "directives": ["\u0007"]}
    answer = admin.post("/v1/rules", json=bad)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["details"][1]["field_violations"]] == [
        "rule.display_name", "rule.directives[0]", "rule.targets[0]",
    ]  # fmt: skip


def test_an_organization_s_admin_switches_the_review(house: House, admin: httpx.Client) -> None:
    path = f"/v1/organizations/{admin.headers['x-organization']}"
    wanted = {"workflow": True, "reason_mode": "REASON_MODE_MANDATORY"}
    changed = admin.patch(path, params={"update_mask": "workflow,reason_mode"}, json=wanted).raise_for_status().json()
    assert wanted.items() <= changed.items()
    assert admin.post("/v1/rules", json={"display_name": "Some rule"}).status_code == 400
