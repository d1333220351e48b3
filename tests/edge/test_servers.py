"""Several servers behind one edge, and one of them dies."""

import collections
from dataclasses import replace

import grpc
import pytest

from taskhouse.v1 import tasks_pb2, tasks_pb2_grpc, work_pb2, work_pb2_grpc
from tests.edge.conftest import running_edge, running_house, wait_for


@pytest.fixture
def pair(config, folder, tmp_path):
    """An edge with two servers, and their processes."""
    sockets = (tmp_path / "a.sock", tmp_path / "b.sock")
    changed = replace(config, admin_socket=tmp_path / "admin.sock", folder=tmp_path / "edge", sockets=sockets)
    with running_house(sockets[0]) as one, running_house(sockets[1]) as two, running_edge(changed) as edge:
        yield edge, one, two


def servers(client, calls: int) -> collections.Counter[str]:
    """Count which process answered; every call must be answered."""
    counted: collections.Counter[str] = collections.Counter()
    for _ in range(calls):
        reply = client.get("/v1/tasks/a")
        assert reply.status_code == 200, reply.text
        counted[reply.headers["x-server"]] += 1
    return counted


def test_calls_are_spread_and_outlive_a_server_and_find_it_again(pair, alice):
    edge, one, two = pair
    with edge.client(certificate=alice) as client:
        counted = servers(client, 100)
        assert counted.keys() == {str(one.pid), str(two.pid)}
        assert min(counted.values()) > 20

        one.kill()
        one.wait()
        assert servers(client, 200).keys() == {str(two.pid)}
        told = client.post("/bulk_insert", content=b"x" * 10_000_000).json()
        assert told["size"] == 10_000_000

        with running_house(edge.config.sockets[0]) as back:
            wait_for(lambda: str(back.pid) in servers(client, 5), "the server to be found again")


def test_a_stream_ends_visibly_with_its_server(pair):
    edge, one, two = pair
    hello = work_pb2.WorkRequest(hello=work_pb2.Hello(worker="w"))

    def requests():
        yield hello
        one.kill()
        two.kill()
        one.wait()
        yield hello

    with edge.channel() as channel, pytest.raises(grpc.RpcError) as end:
        list(work_pb2_grpc.WorkServiceStub(channel).Work(requests()))
    # A stream that had begun is reset, which a client calls INTERNAL.
    assert end.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


def test_an_answer_s_large_headers_take_no_other_call_with_them(edge):
    with edge.channel() as channel, edge.client(http2=True) as client:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        neighbour = stub.GetTask.future(tasks_pb2.GetTaskRequest(task_id="wait"))
        wait_for(lambda: client.get("/v1/tasks/waiting").json()["attempt"], "the call")
        with edge.channel() as other, pytest.raises(grpc.RpcError):  # this client takes no such headers
            tasks_pb2_grpc.TaskServiceStub(other).GetTask(tasks_pb2.GetTaskRequest(task_id="trailers"))
        client.get("/v1/tasks/release")
        assert neighbour.result().id == "wait"


def test_native_calls_outlive_a_server(pair):
    edge, one, _ = pair
    with edge.channel() as channel:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        one.kill()
        one.wait()
        for _ in range(100):
            assert stub.GetTask(tasks_pb2.GetTaskRequest(task_id="a")).id == "a"
