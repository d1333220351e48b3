"""How far tasks are, as asapi tells it."""

import pytest
from uuid_utils import uuid7

from server.core import tasks
from server.core.arrivals import Bytes, Chunk
from server.core.deliveries import DeliveryState, Status
from server.core.reports import Ending, Publication, Report
from server.core.tasks import TaskState
from server.rest.asapi_door import python2_text
from server.rest.asapi_status import text_of
from tests.core import scenes
from tests.core.scenes import Worker
from tests.rest.asapi_calls import ASKED, acme_caller, refused

FAILURE = "Task did not complete successfully."


@pytest.mark.parametrize("shape", ["commas", "repeated", "mixed"])
async def test_statuses_are_told_however_the_ids_come(acme, shape):
    ids = [(await acme("SubmitTask", ASKED))[1]["task_id"] for _ in range(4)]
    values = {"commas": ",".join(ids), "repeated": ids, "mixed": [f" {ids[0]}, {ids[1]}", "", ids[2], f"{ids[3]},,"]}
    status, told = await acme("GetTaskStatuses", {"task_ids": values[shape]})
    assert (status, told.pop("success")) == (200, True)
    assert list(told) == ids
    assert all(one == {"status": "Pending", "result_retrieved": False, "success": False} for one in told.values())


async def test_unknown_foreign_and_malformed_ids_beside_a_right_one_are_told(edge, acme, store):
    other = await edge(organization="other")
    await other("RegisterAccount", {"service": "icloud", "username": "john@example.com"})
    foreign = (await other("SubmitTask", ASKED))[1]["task_id"]
    typed = await scenes.task(store, await acme_caller(store), parameters={"device": "x", "data": "sms"})
    own = (await acme("SubmitTask", ASKED))[1]["task_id"]
    unknown = str(uuid7())
    asked = [own.upper(), foreign, typed.id, unknown, "no-id", 'quo"te\n', "x" * 300, "success"]
    status, told = await acme("GetTaskStatuses", {"task_ids": asked})
    assert status == 200
    assert told["success"] is True
    assert told[own.upper()]["status"] == "Pending"
    for one in (foreign, typed.id, unknown):
        assert told[one] == {"success": False, "error": "No task with this ID was found."}
    for one in ("no-id", 'quo"te', "x" * 199 + "…"):
        assert told[one] == {"success": False, "error": f"Invalid task_id value: {one}"}
    assert len(told) == 8
    status, told = await acme("GetTaskStatuses", {"task_ids": unknown})
    assert (status, told["success"], list(told[unknown])) == (200, True, ["success", "error"])


async def test_no_right_id_is_refused_with_an_entry_for_each(acme):
    wrong = [f"it's-{number}" for number in range(5000)]
    status, told = await acme("GetTaskStatuses", {"task_ids": wrong})
    assert (status, told["success"], told["error"]) == (400, False, "Invalid task_id value: it's-0")
    assert told["errors"]["task_ids"][4999] == [python2_text("Invalid task_id value: it's-4999"), "invalid"]
    assert told["errors"]["task_ids"][0] == ['[u"Invalid task_id value: it\'s-0"]', "invalid"]
    for form in ({}, {"task_ids": ""}, {"task_ids": [",", " "]}):
        status, told = await acme("GetTaskStatuses", form)
        assert (status, told["errors"]) == (400, refused(task_ids="missing-param"))


async def test_ten_thousand_ids_are_answered_and_one_more_is_refused(acme):
    own = (await acme("SubmitTask", ASKED))[1]["task_id"]
    ids = [own, *(str(uuid7()) for _ in range(9_999))]
    status, told = await acme("GetTaskStatuses", {"task_ids": [*ids, own, own]})
    assert (status, len(told), told[own]["status"]) == (200, 10_001, "Pending")
    text = "Too many task ids submitted, limit is 10000"
    for too_many in (",".join([*ids, str(uuid7())]), "," * 300_000, ["x" + "," * 5_000] * 10):
        status, told = await acme("GetTaskStatuses", {"task_ids": too_many})
        assert (status, told["error"]) == (400, text)
        assert told["errors"] == {"task_ids": [[f"[u'{text}']", "limit_exceeded"]]}


async def test_every_status_is_reached_as_a_worker_does_the_task(acme, store):
    task_id = (await acme("SubmitTask", ASKED))[1]["task_id"]

    async def told() -> dict[str, object]:
        return (await acme("GetTaskStatuses", {"task_ids": task_id}))[1][task_id]

    def unpublished(status: str) -> dict[str, object]:
        return {"status": status, "result_retrieved": False, "success": False}

    address = f"http://house.example:81/fetch/{task_id}/"
    published = {"retrieval_protocol": "asstore", "retrieval_endpoint": address, "result_retrieved": False}
    assert await told() == unpublished("Pending")
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    assert await told() == unpublished("In progress")
    await worker.report(Report(lease, Chunk(1, b"x" * 1024 * 1024)))
    assert await told() == unpublished("Work complete")
    await worker.report(Report(lease, Publication(1, Bytes(b"x", 1, "text/plain", ""))))
    assert await told() == published | {"status": "Publish ongoing, with result available", "success": True}
    await worker.report(Report(lease, Ending.COMPLETED))
    assert await told() == published | {"status": "Publish complete", "success": True}


async def test_what_is_published_stays_so_when_its_task_waits_for_a_worker_again(acme, store):
    task_id = (await acme("SubmitTask", ASKED))[1]["task_id"]
    worker = await Worker.seated(store)
    [lease] = await worker.lease()
    await worker.report(Report(lease, Publication(1, Bytes(b"x", 0, "text/plain", ""))))
    published = (await acme("GetTaskStatuses", {"task_ids": task_id}))[1][task_id]
    await worker.hand_back(lease)
    assert (await store.read(tasks.get, caller=await acme_caller(store), task_id=task_id)).state is TaskState.PENDING
    assert (await acme("GetTaskStatuses", {"task_ids": task_id}))[1][task_id] == published


async def test_a_cancelled_task_did_not_complete_and_has_an_address_that_says_so(acme, store):
    task_id = (await acme("SubmitTask", ASKED))[1]["task_id"]
    await store.write(tasks.cancel, caller=await acme_caller(store), task_id=task_id)
    assert (await acme("GetTaskStatuses", {"task_ids": task_id}))[1][task_id] == {
        "status": FAILURE,
        "retrieval_protocol": "asstore",
        "result_retrieved": False,
        "success": False,
        "error": FAILURE,
        "retrieval_endpoint": f"http://house.example:81/fetch/{task_id}/",
    }


@pytest.mark.parametrize(
    ("state", "retrieval", "delivery", "unstorable", "text"),
    [
        ("PENDING", "asstore", "AWAITED", 0, "Pending"),
        ("PENDING", "asstore", "ARRIVING", 0, "Pending"),
        ("PENDING", "asstore", "AVAILABLE", 0, "Publish ongoing, with result available"),
        ("PENDING", "asstore", "CLAIMED", 0, "Publish ongoing, with result available"),
        ("PENDING", "asstore", "DELIVERED", 0, "Publish ongoing, with result available"),
        ("PENDING", "aschannel", "DISCARDED", 0, "Publish ongoing, with result available"),
        ("RUNNING", "asstore", "AWAITED", 0, "In progress"),
        ("RUNNING", "aschannel", "ARRIVING", 0, "Work complete"),
        ("RUNNING", "asstore", "AVAILABLE", 0, "Publish ongoing, with result available"),
        ("RUNNING", "asstore", "DELIVERED", 0, "Publish ongoing, with result available"),
        ("SUCCEEDED", "aschannel", "AVAILABLE", 0, "Publish ongoing, with result available"),
        ("SUCCEEDED", "aschannel", "CLAIMED", 0, "Publish ongoing, with result available"),
        ("SUCCEEDED", "aschannel", "DISCARDED", 0, "Publish complete"),
        ("SUCCEEDED", "aschannel", "DELIVERED", 0, "Publish complete"),
        ("SUCCEEDED", "asstore", "AVAILABLE", 0, "Publish complete"),
        ("SUCCEEDED", "asstore", "EXPIRED", 0, "Publish complete"),
        ("FAILED", "asstore", "AVAILABLE", 0, FAILURE),
        ("FAILED", "asstore", "AVAILABLE", 1, "Publish failed"),
        ("CANCELLED", "aschannel", "DELIVERED", 0, FAILURE),
    ],
)
def test_the_text_follows_from_the_task_and_its_delivery(state, retrieval, delivery, unstorable, text):
    told = text_of(Status("t", TaskState(state), retrieval, DeliveryState(delivery), 0, unstorable, 0))
    assert told.text == text
    assert told.success is (text in ("Publish ongoing, with result available", "Publish complete"))
    assert told.error == (FAILURE if text in (FAILURE, "Publish failed") else "")
