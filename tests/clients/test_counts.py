"""Counts of users as analysts ask for them: tasks over JSON, the house's own worker, results by the documented page."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.bench.house import House
from tests.clients.conftest import wait_for_end

PEOPLE = """\
datasets:
  - name: {name}
    columns:
      - {{name: sex, type: text, nullable: false}}
      - {{name: age, type: integer, nullable: true}}
"""


@pytest.fixture
def people(house: House, client: Callable[..., httpx.Client], tmp_path) -> str:
    """A dataset of 300 women, 200 men, 90 whose sex takes a book, and one who is alone with it."""
    name = f"people_{tmp_path.name}"[:60]
    file = tmp_path / "people.yaml"
    file.write_text(PEOPLE.format(name=name))
    house.run("datasets", "apply", str(file), "--org", "acme")
    sexes = ["female"] * 300 + ["male"] * 200 + ["x" * 201] * 90 + ["unique"]
    users = {f"u{at}": {name: [{"sex": sex, "age": at % 100}]} for at, sex in enumerate(sexes)}
    client("upload_any").post("/bulk_insert", json=users).raise_for_status()
    return name


def histogram(client: Callable[..., httpx.Client], parameters: dict[str, str]) -> dict[str, Any]:
    """Have the house's own worker count, and return what the documented page says."""
    asked = {"service": "cloak", "action": "histogram", "parameters": parameters}
    created = client("task_runner").post("/v1/tasks", json=asked)
    assert created.status_code == 200, created.text
    ended = wait_for_end(client("task_runner"), created.json()["id"])
    assert ended["state"] == "TASK_STATE_SUCCEEDED", ended
    page = client("web_api").get(f"/api/task_results/{ended['id']}").raise_for_status().json()
    assert page["count"] == 1
    return page["items"][0]


def test_a_task_counts_by_categories_and_its_exceptions_are_anonymised_too(people: str, client) -> None:
    item = histogram(client, {"dataset": people, "column": "sex", "categories": "*"})
    assert [bucket["name"] for bucket in item["buckets"]] == ["sex: female", "sex: male"]
    [exception] = item["exceptions"]
    assert exception["error"] == "The value has more than 200 characters."
    assert exception["count"] % 5 == 0
    assert abs(exception["count"] - 90) <= 40


def test_a_task_counts_the_rows_that_its_filter_names(people: str, client) -> None:
    where = json.dumps({"$or": [{"$$sex": {"$eq": "male"}}, {"$not": {"$$age": {"$gte": 50}}}]})
    parameters = {"dataset": people, "column": "sex", "categories": '["male", "female"]', "where": where}
    values = {bucket["name"]: bucket["value"] for bucket in histogram(client, parameters)["buckets"]}
    assert values.keys() == {"sex: female", "sex: male"}
    assert abs(values["sex: female"] - 150) <= 40
    assert abs(values["sex: male"] - 200) <= 40


def test_a_faulty_filter_is_refused_with_the_task_by_its_place_in_it(people: str, client) -> None:
    where = '[{"$$age": {"$gt": "x"}}, {"$or": [{"$$sex": {"$eq": "a"}}, {"$$size": {"$eq": 1}}]}]'
    asked = {"dataset": people, "column": "sex", "categories": '["a", 1]', "where": where}
    answer = client("task_runner").post(
        "/v1/tasks", json={"service": "cloak", "action": "histogram", "parameters": asked}
    )
    assert answer.status_code == 400
    fields = [violation["field"] for violation in answer.json()["details"][1]["field_violations"]]
    inside = ["categories[1]", "where[0].$$age.$gt", "where[1].$or[1].$$size"]
    assert fields == [f"task.parameters.{field}" for field in inside]


def test_a_budget_is_spent_shown_exhausted_and_raised_over_json(house: House, people: str, client) -> None:
    def bearer(*owner: str) -> dict[str, str]:
        (made,) = house.run("tokens", "create", *owner, "--api", "grpc", "--access", "admin")
        return {"authorization": f"Bearer {made['token']}"}

    analyst, operator, anybody = bearer("--org", "acme"), bearer("--house"), client()
    path = f"/v1/datasets/{people}"

    def count(width: str) -> httpx.Response:
        return anybody.post(f"{path}:countUsers", json={"column": "age", "bin_width": width}, headers=analyst)

    house.run("datasets", "set-budget", people, "0.5", "--org", "acme")
    first = count("50")
    assert first.status_code == 200, first.text
    assert (first.json()["epsilon"], first.json()["exceptions"]) == (0.5, [])
    refused = count("25")
    assert refused.status_code == 429, refused.text
    detail = refused.json()["details"][0]
    assert detail["reason"] == "BUDGET_EXHAUSTED"
    assert detail["metadata"] == {"dataset": people, "cost": "0.5", "remaining": "0"}
    assert count("50.0").json() == first.json()
    asked = {"dataset": people, "column": "age", "bin_width": "25"}
    task = anybody.post(
        "/v1/tasks", json={"service": "cloak", "action": "histogram", "parameters": asked}, headers=analyst
    )
    ended = wait_for_end(client("task_runner"), task.json()["id"])
    assert (ended["state"], ended["failure_count"]) == ("TASK_STATE_FAILED", 1)  # To try it again would be in vain.
    assert ended["error"]["message"].startswith("RESOURCE_EXHAUSTED: ")
    raised = {"organization": "acme", "epsilon": 1}
    assert anybody.post(f"{path}:setBudget", json=raised, headers=analyst).status_code == 403
    set_ = anybody.post(f"{path}:setBudget", json=raised, headers=operator)
    assert set_.status_code == 200, set_.text
    assert (set_.json()["epsilon"], set_.json()["spent_epsilon"]) == (1, 0.5)
    assert count("25").status_code == 200
    budget = anybody.get(path, headers=analyst).json()["budget"]
    assert (budget["epsilon"], budget["spent_epsilon"]) == (1, 1)
    assert budget["spent_delta"] == pytest.approx(2 * first.json()["delta"], rel=1e-6)
