"""The asapi API's servicer, spoken to as the edge speaks to it. What is done with results is tested with deliveries."""

import gzip
import json
import re
from urllib.parse import urlencode

import grpc
import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import credentials, tasks
from server.core.caller import Caller, Role
from server.core.credentials import NewToken
from server.core.errors import Fault, InvalidFields
from server.core.tasks import TaskState
from server.identity.authority import Authority
from server.rest.asapi_door import FAULTS, STATUSES, body_of_refusal
from server.rpc.refusals import MAX_BODY_BYTES, to_ascii_json
from server.services.door import STATUSES as TYPED_STATUSES
from server.wiring import build_server
from taskhouse.rest.v1 import asapi_pb2, asapi_pb2_grpc
from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc
from tests.core.scenes import HOUSE, Worker
from tests.rest.asapi_calls import ASKED, PATHS, Edge, acme_caller, refused


async def only_task(store, caller: Caller) -> tasks.Task:
    [task] = (await store.read(tasks.page, caller=caller, page_size=10, page_token="")).items
    return task


async def test_discovery_tells_what_may_be_asked_and_where(edge):
    status, told = await (await edge())("DiscoverServices")
    assert status == 200
    at = {"host": "house.example:81", "protocol": "http"}
    assert told["task_submission_endpoint"] == at | {"uri": "/submit-task/"}
    assert told["stream_endpoints"] == [at | {"uri": "/fetch/"}]
    assert told["retrieval_protocol"] == "asstore"
    [service] = told["services"]
    assert (service["name"], service["slug"]) == ("iCloud", "icloud")
    fetch, log_in = service["actions"]
    assert fetch["parameters"][1] == {
        "type": "date", "description": "", "optional": True, "name": "Since", "slug": "since",
    }  # fmt: skip
    assert fetch["permissions"] == {"data": ["sms", "photos"]}
    assert {action["execution"] for action in (fetch, log_in)} == {"Asynchronous"}
    assert log_in == {
        "name": "Log In", "slug": "log-in", "description": "Signs in.", "execution": "Asynchronous",
        "parameters": [], "permissions": {},
    }  # fmt: skip


async def test_a_channel_s_token_is_told_of_the_stream(edge):
    calls = await edge(Role.ASAPI_CHANNEL)
    _, told = await calls("DiscoverServices", None, ("x-forwarded-proto", "https"))
    assert (told["retrieval_protocol"], told["stream_endpoints"][0]["uri"]) == ("aschannel", "/stream/")
    assert told["stream_endpoints"][0]["protocol"] == "https"


async def test_a_limited_token_sees_and_asks_what_is_allowed_and_nothing_else(edge):
    calls = await edge(allowed=("icloud/fetch-data:data=photos", "icloud/fetch-data:device=d1,d2"))
    _, told = await calls("DiscoverServices")
    assert [action["permissions"] for action in told["services"][0]["actions"]] == [{"data": ["photos"]}]
    await calls("RegisterAccount", {"service": "icloud", "username": "john@example.com"})
    for changes, errors in (
        ({"action": "log-in"}, {"action": "invalid_action"}),
        ({"data": "photos,sms"}, {"data": "invalid_parameter_value"}),
        ({"data": "photos", "device": "d3"}, {"device": "invalid_parameter_value"}),
        ({"data": "photos", "device": "d1,"}, {"device": "invalid_parameter_value"}),
        ({"service": "cloak", "action": "histogram"}, {"service": "invalid_service"}),
    ):
        status, told = await calls("SubmitTask", ASKED | changes)
        assert (status, told["errors"]) == (400, refused(**errors))
    assert (await calls("SubmitTask", ASKED | {"data": "photos"}))[0] == 200


async def test_the_house_s_own_service_is_for_tokens_that_are_allowed_it(edge, acme):
    assert (await acme("RegisterAccount", {"service": "cloak", "username": "x"}))[1]["errors"] == refused(
        service="invalid_service"
    )
    calls = await edge(allowed=("cloak/histogram",))
    _, told = await calls("DiscoverServices")
    assert [(one["slug"], [each["slug"] for each in one["actions"]]) for one in told["services"]] == [
        ("cloak", ["histogram"])
    ]
    assert (await calls("RegisterAccount", {"service": "Cloak", "username": "x"}))[0] == 200
    asked = {"service": "cloak", "action": "histogram", "account": "x", "column": "height"}
    _, told = await calls("SubmitTask", asked)
    assert told["errors"] == refused(dataset="missing-param")
    _, told = await calls("SubmitTask", asked | {"dataset": "none", "bin_width": "10"})
    assert told["errors"] == refused(dataset="invalid")
    assert told["error"] == "dataset: there is no such dataset"


async def test_an_account_is_registered_once_until_it_is_deregistered(acme):
    again = {"service": "ICLOUD", "username": "john@example.com"}
    status, told = await acme("RegisterAccount", again)
    text = "Account with this Service, Client and Username already exists"
    assert (status, told) == (
        400,
        {"errors": {"__all__": [[f"[u'{text}']", "unique_together"]]}, "success": False, "error": text},
    )
    assert await acme("DeregisterAccount", again) == (200, {"success": True})
    status, told = await acme("DeregisterAccount", again)
    assert (status, told["errors"]) == (400, refused(username="no_such_account"))
    assert await acme("RegisterAccount", again) == (200, {"success": True})


@pytest.mark.parametrize(
    ("form", "errors"),
    [
        ({}, {"service": "missing-param", "username": "missing-param"}),
        ({"service": "x", "username": "j"}, {"service": "invalid_service"}),
        ({"service": "icloud", "username": "j" * 256}, {"username": "invalid"}),
        (
            {"service": ["icloud", "mail"], "username": ["x", "y"]},
            {"service": "invalid", "username": "invalid"},
        ),
        (
            {"service": ["x", ""], "username": ["john", "john@example.com"]},
            {"service": "invalid_service", "username": "invalid"},
        ),
        ({"service": "icloud\0", "username": "a\nb"}, {"service": "invalid_service", "username": "invalid"}),
    ],
)
async def test_accounts_tell_all_faults_of_a_form(acme, form, errors):
    for method in ("RegisterAccount", "DeregisterAccount"):
        status, told = await acme(method, form)
        assert (status, told["success"], told["errors"]) == (400, False, refused(**errors))


async def test_what_is_repeated_as_it_is_counts_once(acme):
    form = {"service": ["iCloud", "iCloud"], "username": ["", "jane", "jane"]}
    assert await acme("RegisterAccount", form) == (200, {"success": True})
    assert await acme("DeregisterAccount", form) == (200, {"success": True})


async def test_a_submitted_task_is_stored_with_its_account_and_parameters(acme, store):
    form = ASKED | {"service": "iCLOUD", "data": ["sms", "photos"], "names": ["a,b", "c"], "since": "", "deep": "TRUE"}
    status, told = await acme("SubmitTask", form)
    task_id = told.pop("task_id")
    assert (status, told) == (200, {"retrieval_protocol": "asstore", "stream": None, "success": True})
    task = await only_task(store, await acme_caller(store))
    assert (task.id, task.service, task.action, task.account) == (task_id, "icloud", "fetch-data", "john@example.com")
    assert task.parameters == {"device": "d1", "data": "sms,photos", "names": "a,b,c", "deep": "TRUE"}
    assert task.retrieval == "asstore"


@pytest.mark.parametrize(
    ("given", "stored"),
    [(["sms", ""], "sms"), ("sms, photos", "sms,photos"), ([" sms", ",photos ,"], "sms,photos"), ("sms", "sms")],
)
async def test_a_worker_gets_the_values_of_lists_as_they_were_checked(acme, store, given, stored):
    status, _ = await acme("SubmitTask", ASKED | {"data": given, "device": " d, 1 ", "names": " a ,,b"})
    assert status == 200
    task = await only_task(store, await acme_caller(store))
    assert task.parameters == {"device": " d, 1 ", "data": stored, "names": "a,b"}


async def test_a_channel_s_id_is_the_same_for_every_task(edge, acme):
    calls = await edge(Role.ASAPI_CHANNEL)
    told = [(await calls("SubmitTask", ASKED))[1] for _ in range(2)]
    assert {one["retrieval_protocol"] for one in told} == {"aschannel"}
    assert told[0]["stream"] == told[1]["stream"] != ""
    assert told[0]["task_id"] != told[1]["task_id"]


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"service": "nothing"}, {"service": "invalid_service"}),
        ({"service": "cloak"}, {"service": "invalid_service"}),
        ({"action": "Fetch Data"}, {"action": "invalid_action"}),
        ({"account": "jane"}, {"account": "no_such_account"}),
        ({"account": "a\0"}, {"account": "no_such_account"}),
        ({"device": ""}, {"device": "missing-param"}),
        ({"device": ["a", "b"]}, {"device": "invalid"}),
        ({"device": "x" * 70_000}, {"device": "invalid"}),
        ({"data": "sms,mms"}, {"data": "invalid_parameter_value"}),
        ({"data": ","}, {"data": "missing-param"}),
        ({"since": "yesterday"}, {"since": "invalid"}),
        ({"most": "1.5"}, {"most": "invalid"}),
        ({"deep": "1"}, {"deep": "invalid"}),
        ({"other": "x"}, {"other": "invalid"}),
        (
            {"service": "", "action": "", "account": "", "device": ""},
            dict.fromkeys(("service", "action", "account"), "missing-param"),
        ),
        (
            {"account": "jane", "device": "", "data": "mms", "since": "1", "größe": "x"},
            {
                "account": "no_such_account", "device": "missing-param", "data": "invalid_parameter_value",
                "since": "invalid", "größe": "invalid",
            },
        ),
    ],
)  # fmt: skip
async def test_all_faults_of_a_submission_are_told_together(acme, store, changes, errors):
    status, told = await acme("SubmitTask", ASKED | changes)
    assert (status, told["success"], told["errors"]) == (400, False, refused(**errors))
    assert all(field in told["error"] for field in errors)
    page = await store.read(tasks.page, caller=await acme_caller(store), page_size=1, page_token="")
    assert page.items == []


async def test_twenty_faults_are_told_and_the_rest_left_out(acme):
    form = ASKED | {f"wrong-{number}": "x" for number in range(100)}
    status, told = await acme("SubmitTask", form)
    assert status == 400
    assert told["errors"] == refused(**{f"wrong-{number}": "invalid" for number in range(20)})
    status, told = await acme("SubmitTask", ASKED | {"ü" * 2000: "x"})
    assert (status, list(told["errors"])) == (400, ["ü" * 199 + "…"])


@pytest.mark.parametrize("names", [[f"{number:0152}" for number in range(20)], ["😀" * 199 + one for one in "abc"]])
async def test_faults_with_long_names_are_told_all_the_same(acme, names):
    status, told = await acme("SubmitTask", ASKED | dict.fromkeys(names, "x") | {"data": "mms"})
    assert (status, told["success"]) == (400, False)
    assert sum(map(len, told["errors"].values())) == min(len(names) + 1, 20)
    assert told["errors"]["data"] == [["[u'Value not permitted for parameter']", "invalid_parameter_value"]]


SLUG = re.compile("[a-z0-9_-]{1,63}")
TEXTS = st.characters(exclude_categories=["Cs"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Fault,
            st.from_regex(SLUG, fullmatch=True)
            | st.text(TEXTS, max_size=250)
            | st.sampled_from(["😀" * 200, "\0" * 200, "x" * 63, "y" * 63]),
            st.text(TEXTS, max_size=400),
            st.sampled_from(list(FAULTS)),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_refusal_tells_twenty_faults_and_names_parameters_in_full(faults):
    body = body_of_refusal(InvalidFields(tuple(faults)))
    assert len(to_ascii_json(body)) <= MAX_BODY_BYTES
    assert all(body["errors"].values())
    assert sum(map(len, body["errors"].values())) == min(len(faults), 20)
    assert {fault.field for fault in faults[:20] if SLUG.fullmatch(fault.field)} <= body["errors"].keys()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_refusal_has_room_for_twenty_parameters_with_the_longest_names(kind):
    faults = tuple(Fault(f"{number:063}", "ü" * 400, kind) for number in range(20))
    body = body_of_refusal(InvalidFields(faults))
    assert list(body["errors"]) == [fault.field for fault in faults]
    assert len(to_ascii_json(body)) <= MAX_BODY_BYTES


async def test_too_many_unfinished_tasks_are_refused_until_some_are_over(store, data, token, tmp_path_factory):
    server = build_server(
        store=store,
        authority=Authority.open(data),
        address=f"unix:{tmp_path_factory.mktemp('s')}/s",
        max_unfinished_tasks=2,
    )
    await server.grpc.start()
    secret = await token()
    async with grpc.aio.insecure_channel(server.address) as channel:
        calls = Edge(channel, secret)
        await calls("RegisterAccount", {"service": "icloud", "username": "john@example.com"})
        assert [(await calls("SubmitTask", ASKED))[0] for _ in range(2)] == [200, 200]
        status, told = await calls("SubmitTask", ASKED)
        assert (status, told["errors"]) == (400, {"__all__": [["[u'Too many task IDs submitted']", "limit_exceeded"]]})
        assert told["error"] == "Too many of the organization's tasks are not finished yet; wait until some are."
        caller = await acme_caller(store)
        typed = credentials.make_token()
        wanted = NewToken(organization="acme", kind=Role.TOKEN_WRITE)
        digest = credentials.token_digest(typed)
        await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=digest)
        asked = tasks_pb2.CreateTaskRequest(task=tasks_pb2.Task(service="icloud", action="log-in"))
        stub, bearer = tasks_pb2_grpc.TaskServiceStub(channel), (("authorization", f"Bearer {typed}"),)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.CreateTask(asked, metadata=bearer)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        newest = (await store.read(tasks.page, caller=caller, page_size=1, page_token="")).items[0]
        await store.write(tasks.cancel, caller=caller, task_id=newest.id)
        assert (await stub.CreateTask(asked, metadata=bearer)).id
    await server.grpc.stop(0)


async def test_deregistering_fails_the_tasks_that_no_worker_has(acme, store):
    waiting = (await acme("SubmitTask", ASKED))[1]["task_id"]
    worker = await Worker.seated(store)
    [lease] = await worker.lease(most=1)
    assert lease.task_id == waiting
    second = (await acme("SubmitTask", ASKED))[1]["task_id"]
    await acme("DeregisterAccount", {"service": "icloud", "username": "john@example.com"})
    caller = await acme_caller(store)
    states = [(await store.read(tasks.get, caller=caller, task_id=one)).state for one in (waiting, second)]
    assert states == [TaskState.RUNNING, TaskState.FAILED]
    _, told = await acme("GetTaskStatuses", {"task_ids": second})
    assert told[second]["error"] == told[second]["status"] == "Task did not complete successfully."


@pytest.mark.parametrize("method", ["RegisterAccount", "DeregisterAccount", "SubmitTask", "GetTaskStatuses"])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"body": b"task_ids=%ff"}, 400, "invalid"),
        ({"body": b"\xff=x"}, 400, "invalid"),
        ({"body": b"{}", "kind": "application/json"}, 415, "unsupported"),
        ({"body": b"x=1&" * 30_000}, 400, "invalid"),
        ({"body": b"x" * 1_100_000}, 413, "too_large"),
    ],
)
async def test_what_is_no_form_is_refused(acme, method, sent, status, code):
    told = await acme(method, **sent)
    assert told[0] == status
    assert [entry[1] for entry in told[1]["errors"]["__all__"]] == [code]
    assert told[1]["success"] is False
    assert isinstance(told[1]["error"], str)


async def test_a_form_may_be_gzip_and_may_come_without_a_type(acme):
    body = gzip.compress(urlencode(ASKED).encode())
    assert (await acme("SubmitTask", None, ("content-encoding", "gzip"), body=body, kind=""))[0] == 200
    assert (await acme("SubmitTask", None, ("content-encoding", "gzip"), body=body[:-4]))[0] == 400
    assert (await acme("SubmitTask", None, ("content-encoding", "br"), body=body))[0] == 415


async def test_only_a_token_of_asapi_under_its_scheme_is_a_credential(edge, token, store):
    secret = await token()
    missing = (401, "Authentication credentials were not provided.")
    wrong = (401, "Invalid token.")
    cases = [
        ((), missing),
        ((("authorization", f"Bearer {secret}"),), wrong),
        ((("authorization", secret),), wrong),
        ((("authorization", f"Token {secret}x"),), wrong),
        ((("authorization", f"Token {secret} {secret}"),), wrong),
        ((("authorization", "Token "),), wrong),
        ((("x-api-key", secret),), missing),
    ]
    typed = credentials.make_token()
    wanted = NewToken(organization="acme", kind=Role.TOKEN_ADMIN)
    await store.write(credentials.create_token, caller=HOUSE, wanted=wanted, digest=credentials.token_digest(typed))
    cases.append(((("authorization", f"Token {typed}"),), wrong))
    for headers, (status, text) in cases:
        for method in PATHS:
            told = await edge.with_token("")(method, None, *headers)
            body = {"errors": {"__all__": [[f"[u'{text}']", "not_authenticated"]]}, "success": False, "error": text}
            assert told == (status, body), (method, headers)
    assert (await edge.with_token("")("DiscoverServices", None, ("authorization", f"token  {secret}")))[0] == 200


@pytest.mark.parametrize("path", [*PATHS.values(), *(path[:-1] for path in PATHS.values())])
async def test_other_methods_learn_which_there_are(edge, path):
    calls = edge.with_token("")
    allow = "GET, HEAD, OPTIONS" if path.startswith("/account") else "POST, OPTIONS"
    for method in ("PUT", "PATCH", "DELETE", "POST" if path.startswith("/account") else "GET"):
        status, told, body = await calls.other(method, path)
        assert (status, told, json.loads(body)["error"]) == (405, allow, "Method not allowed.")
    assert await calls.other("OPTIONS", path) == (204, allow, None)
    assert (await calls.other("GET", "/nothing/"))[0] == 404


async def test_native_grpc_is_not_served(server, token):
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = asapi_pb2_grpc.AsapiServiceStub(channel)
        headers = (("authorization", f"Token {await token()}"),)
        for method in PATHS:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await getattr(stub, method)(getattr(asapi_pb2, f"{method}Request")(), metadata=headers)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_refusals_of_the_typed_door_that_can_happen_here_are_told():
    told = {one.__name__ for one in STATUSES}
    assert told >= {
        "AccountExists", "CredentialUnknown", "InvalidFields", "ListenerReplaced", "PathFieldOverridden", "Stopping",
        "StoreUnavailable", "TaskLimitReached",
    }  # fmt: skip
    assert all(STATUSES[one].grpc is TYPED_STATUSES[one][0] for one in STATUSES if one in TYPED_STATUSES)
