import json

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from taskhouse.rest.v1 import aircloak_pb2, aircloak_pb2_grpc
from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc


@pytest.fixture(scope="module")
def client(edge, alice):
    with edge.client(certificate=alice) as client:
        yield client


@pytest.fixture(scope="module")
def channel(edge, alice):
    with edge.channel(alice) as channel:
        yield channel


def test_typed_json_has_proto_names_and_every_plain_field(client):
    reply = client.get("/v1/tasks/a").json()
    assert reply.keys() >= {"id", "service", "action", "parameters", "state", "attempt", "result_count"}
    assert reply["state"] == "TASK_STATE_PENDING"


def test_unset_optional_fields_are_left_out(client):
    assert client.get("/keys").json() == {
        "success": True,
        "keys": [{"id": "k", "kind": "", "description": "", "user": "", "created_at": 1}],
    }


def test_a_results_page_has_plain_numbers(client):
    assert client.get("/api/task_results/a?page=2&per_page=3").text == (
        '{"success":true,"count":0,"page":2,"per_page":3,"items":'
        '[{"published_at":1421660484000,"buckets":[{"name":"a","value":0}],"exceptions":[]}]}'
    )


def test_an_unknown_parameter_is_refused_in_typed_calls_only(client):
    assert client.get("/v1/tasks?bogus=1").status_code == 400
    assert client.get("/api/task_results/a?bogus=1&page=2").json()["page"] == 2


@pytest.mark.parametrize(
    ("query", "page", "per_page"),
    [
        ("page=1&page=2", 2, -1),
        ("page=x&page=2", 2, -1),
        ("per_page=1&page=1&x=1&per_page=5&page=3&x=2", 3, 5),
        ("page=4&per_page=2", 4, 2),
        ("pag%65=1&page=2", 2, -1),
        ("page=1&%70%61ge=2", 2, -1),
        ("perPage=3&per_page=2", -1, 2),
        ("per_page=3&perPage=2", -1, 2),
        ("per%5Fpage=3&per%50age=4&per%5fpage=5", -1, 5),
        ("pag%2565=1&page=2", 2, -1),
        ("", -1, -1),
    ],
)
def test_the_last_of_repeated_parameters_wins(client, query, page, per_page):
    reply = client.get(f"/api/task_results/a?{query}").json()
    assert (reply["page"], reply["per_page"]) == (page, per_page)


def test_a_query_of_very_many_parameters_is_not_looked_through(client):
    many = "&".join(f"x{number}=" for number in range(99))
    assert client.get(f"/api/task_results/a?page=1&{many}").json()["page"] == 1
    assert client.get(f"/api/task_results/a?page=1&{many[:-4]}&page=2").json()["page"] == 2
    assert client.get(f"/api/task_results/a?page=1&{many}&page=2").status_code == 422


def test_the_last_of_repeated_parameters_wins_in_typed_calls(client):
    assert client.get("/v1/tasks?page_size=1&page_size=2&page_token=a+b").json()["next_page_token"] == "2 a b"


def test_a_path_is_not_overridden_by_a_parameter(client):
    for name in ("task_id", "taskId"):
        assert client.get(f"/v1/tasks/a?{name}=b").json()["id"] == "a"
        assert client.get(f"/api/task_results/a?{name}=b").json()["items"][0]["buckets"][0]["name"] == "a"


def test_a_path_is_not_overridden_by_the_body(client):
    assert client.post("/v1/tasks/a:cancel", json={"task_id": "b"}).status_code == 400


def test_a_verb_is_a_verb_in_typed_paths_and_part_of_an_id_elsewhere(client):
    assert client.post("/v1/tasks/a:cancel", json={}).json()["state"] == "TASK_STATE_CANCELLED"
    assert client.get("/api/task_results/a:cancel").json()["items"][0]["buckets"][0]["name"] == "a:cancel"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/task_results/a/", "a"),
        ("/api//task_results//a", "a"),
        ("/api/task_results/a%2Fb", "a/b"),
        ("/api/task_results/a%252Fb", "a%2Fb"),
        ("/api/task_results/a+b%20c", "a+b c"),
        ("/api/task_results/a.json", "a.json"),
        ("/api/task_results/..%2F..", "../.."),
    ],
)
def test_an_id_arrives_decoded_once(client, path, name):
    assert client.get(path).json()["items"][0]["buckets"][0]["name"] == name


def test_bad_utf8_reaches_the_server_as_bytes(client):
    assert bytes.fromhex(client.get("/v1/datasets/a%FFb").json()["name"]) == b"\n\x03a\xffb"


@pytest.mark.parametrize(
    ("method", "path", "rest"),
    [
        ("GET", "/api/task_results", ""),
        ("GET", "/api/task_results/", ""),
        ("GET", "/api/task_results/a/b", "a/b"),
        ("POST", "/api/task_results/a", "a"),
        ("PUT", "/insert", ""),
        ("DELETE", "/bulk_insert", ""),
        ("GET", "/insert/", ""),
        ("PATCH", "/keys", ""),
        ("GET", "/keys/a", "a"),
        ("TRACE", "/keys", ""),
    ],
)
def test_what_nothing_else_takes_reaches_the_catch_all(client, method, path, rest):
    reply = client.request(method, path)
    assert reply.status_code == 404
    told = reply.json()
    assert told["other"] == rest
    assert told["metadata"]["x-envoy-original-path"] == path
    assert told["metadata"]["x-envoy-original-method"] == method


def test_an_upload_arrives_whole(client):
    headers = {"content-type": "application/json", "content-encoding": "gzip", "validation_mode": "strict"}
    told = client.post("/bulk_insert", content=b"x" * 10_000_000, headers=headers).json()
    assert (told["size"], told["content_type"]) == (10_000_000, "application/json")
    assert told["metadata"]["content-encoding"] == "gzip"


def test_a_streamed_upload_arrives_whole(client):
    told = client.post("/insert", content=(b"x" * 100_000 for _ in range(100))).json()
    assert told["size"] == 10_000_000


def test_typed_json_up_to_the_limit_arrives(client):
    body = {"parameters": {"a": "x" * (1024 * 1024 - 100)}}
    assert client.post("/v1/tasks", json=body).json()["attempt"] == 1024 * 1024 - 100


def test_a_large_answer_arrives_whole(client):
    assert len(client.get("/api/task_results/15000000").content) > 15_000_000


def test_native_calls_keep_their_own_status_and_details(channel):
    stub = tasks_pb2_grpc.TaskServiceStub(channel)
    assert stub.GetTask(tasks_pb2.GetTaskRequest(task_id="a")).id == "a"
    with pytest.raises(grpc.RpcError) as missing:
        stub.GetTask(tasks_pb2.GetTaskRequest(task_id="missing"))
    assert (missing.value.code(), missing.value.details()) == (grpc.StatusCode.NOT_FOUND, "No task missing.")
    assert "grpc-status-details-bin" in dict(missing.value.trailing_metadata())


def test_native_calls_do_not_see_the_documented_refusal(channel):
    stub = aircloak_pb2_grpc.AircloakServiceStub(channel)
    with pytest.raises(grpc.RpcError) as missing:
        stub.GetTaskResults(aircloak_pb2.GetTaskResultsRequest(task_id="missing"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert not [name for name, _ in missing.value.initial_metadata() if name.startswith("x-taskhouse-")]


def test_the_work_stream_goes_both_ways(channel):
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="w"))
    replies = work_pb2_grpc.WorkServiceStub(channel).Work(iter([hello] * 3))
    assert [reply.welcome.session_id for reply in replies] == ["w"] * 3


def test_health_and_reflection_are_reached(channel, client):
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
    assert "taskhouse.v1.TaskService" in [service.name for service in listed.list_services_response.service]
    assert client.get("/health").json() == {"status": "SERVING"}


def test_a_typed_refusal_is_a_status_with_details(client):
    reply = client.get("/v1/tasks/missing")
    assert reply.status_code == 404
    assert reply.json() == {
        "code": 5,
        "message": "No task missing.",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "TASK_NOT_FOUND",
                "domain": "taskhouse",
                "metadata": {},
            }
        ],
    }


def test_a_documented_refusal_is_byte_for_byte_the_server_s(client):
    reply = client.get("/api/task_results/missing")
    assert (reply.status_code, reply.text) == (422, json.dumps({"success": False, "error": "Task not found."}))
    assert reply.headers["content-type"] == "application/json"


def test_answers_do_not_tell_what_made_them(client):
    for path in ("/v1/tasks/a", "/v1/tasks/missing", "/api/task_results/missing", "/nowhere", "/keys"):
        headers = client.get(path).headers
        assert headers["server"] == "taskhouse"
        assert not [name for name in headers if name.startswith(("x-envoy", "grpc-", "x-taskhouse-"))]
