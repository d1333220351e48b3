"""kill -9 of a server that sends results, and of a worker that makes one, as real processes behind the real edge."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import httpx
import pytest

from server.rest.asapi_stream import HEARTBEAT_SECONDS
from taskhouse.v1 import results_pb2, results_pb2_grpc, tasks_pb2, tasks_pb2_grpc
from tests.chaos.house import House, Part
from tests.chaos.nursery import Nursery
from tests.clients.asapi import MIB, Client, Token
from tests.databases import apart, rows

PATIENCE_SECONDS = 60  # A claim is for thirty.
STEP_SECONDS = 0.02
FILES = '''
import time
from pathlib import Path

from server.worker.kit import Result, Worker

worker = Worker(service="test")


@worker.action("publish")
def publish(task):
    return Result.bytes(bytes([number]) * (1 << 20) for number in range(int(task.parameters["times"])))


@worker.action("wait")
def wait(task):
    return Result.bytes(pieces(task))


def pieces(task):
    """Say with each byte which attempt it is; the last ones only when there is a file."""
    file = Path(task.parameters["file"])
    yield bytes([task.attempt]) * (3 << 20)
    while not file.exists():
        time.sleep(0.01)
    yield bytes([task.attempt])
'''
T = TypeVar("T")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(
    request: pytest.FixtureRequest, nursery: Nursery, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A house for all tests here: a worker on its sockets works on FILES, and no server runs yet."""
    folder = tmp_path_factory.mktemp("house")
    address = folder / "taskhouse.db"
    if request.param == "sqlite":
        address.write_bytes(migrated.read_bytes())
    else:
        address = request.getfixturevalue("postgres").fresh(template="template")
    house = House(nursery, folder, address)
    (folder / "files.py").write_text(FILES)
    for worker in (house.near, house.far):
        worker.arguments = ("work", "--module", "files:worker")
    try:
        house.set_up()
        house.start(house.edge)
        house.start(house.near)
        yield house
    finally:
        house.close()


@pytest.fixture(autouse=True)
def servers(house: House) -> tuple[Part, Part]:
    """A server that runs alone, so that it holds whatever begins, and another that can be started."""
    first, second = sorted(house.servers, key=lambda part: not part.pid)  # Who survived the last test comes first.
    if second.pid:
        house.kill(second)
    if not first.pid:
        house.start_server(first)
    return first, second


@pytest.fixture
def clients(house: House) -> Iterator[Callable[[str], Client]]:
    """Makes clients with tokens of their own."""
    made = []

    def client(retrieval: str) -> Client:
        said = house.run(
            "tokens", "create", "--org", "acme", "--api", "asapi", "--retrieval", retrieval, "--json"
        )  # fmt: skip
        token = json.loads(said)
        made.append(Client(house.url, Token(token["credential"]["id"], token["token"]), verify=house.context()))
        patiently(lambda: registered(made[-1]))
        return made[-1]

    yield client
    for one in made:
        one.http.close()


def registered(client: Client) -> None:
    """Register the account, unless that was done."""
    answer = client.http.post("/register-account/", data={"service": "test", "username": "jane"})
    if "unique_together" not in answer.text:
        answer.raise_for_status()


def patiently(attempt: Callable[[], T]) -> T:
    """Try until it succeeds: Envoy may not know yet that a server is there, or gone."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return attempt()
        except (httpx.HTTPError, grpc.RpcError):
            assert time.monotonic() < end
            time.sleep(STEP_SECONDS)


def submit(client: Client, megabytes: int) -> str:
    return client.submit("", service="test", action="publish", times=str(megabytes))


def whole(megabytes: int) -> bytes:
    return b"".join(bytes([number]) * MIB for number in range(megabytes))


def test_what_a_killed_server_was_sending_live_goes_whole_to_whoever_listens_next(house, servers, clients):
    first, second = servers
    client = clients("aschannel")
    reader = client.listen()
    before = submit(client, 1)
    reader.results([before])
    client.wait_for(before, status="Publish complete")
    house.start_server(second)
    reader.hold()
    large = submit(client, 20)
    ongoing = "Publish ongoing, with result available"
    patiently(lambda: client.wait_for(large, status=ongoing))
    small = [submit(client, 0), submit(client, 1)]
    for task_id in small:
        client.wait_for(task_id, status=ongoing)
    house.kill(first)
    reader.go_on()
    assert isinstance(reader.ended(), httpx.TransportError)
    assert set(reader.stream.results) == {before}
    again = patiently(client.listen)
    assert again.results([large, *small]) == {large: whole(20), small[0]: b"", small[1]: whole(1)}
    for task_id in (large, *small):
        patiently(lambda task_id=task_id: client.wait_for(task_id, status="Publish complete"))
    again.leave()


def test_of_what_a_killed_server_had_sent_over_grpc_whatever_was_not_acknowledged_is_sent_again(house, servers):
    first, second = servers
    task = tasks_pb2.Task(
        service="test", action="publish", parameters={"times": "0"}, retrieval=tasks_pb2.TASK_RETRIEVAL_ASCHANNEL
    )
    with house.channel("task_runner") as channel:
        create = tasks_pb2_grpc.TaskServiceStub(channel).CreateTask
        stub = results_pb2_grpc.ResultServiceStub(channel)

        def ask() -> str:
            return patiently(lambda: create(tasks_pb2.CreateTaskRequest(task=task))).id

        def listen() -> grpc.Call:
            stream = stub.Stream(results_pb2.StreamRequest())
            stream.initial_metadata()
            if not stream.is_active():
                next(stream)  # It raises why.
            return stream

        stream = patiently(listen)
        asked = {ask() for _ in range(3)}
        sent = [next(stream).task_id for _ in range(3)]
        assert set(sent) == asked
        stub.AcknowledgeResults(results_pb2.AcknowledgeResultsRequest(task_ids=sent[:1]))
        house.start_server(second)
        house.kill(first)
        with pytest.raises(grpc.RpcError):
            next(stream)
        stream = patiently(listen)
        assert {next(stream).task_id, next(stream).task_id} == set(sent[1:])
        last = ask()
        assert next(stream).task_id == last
        stub.AcknowledgeResults(results_pb2.AcknowledgeResultsRequest(task_ids=[*sent, last]))


def test_a_download_that_dies_with_its_server_is_cut_and_the_next_one_gets_the_whole(house, servers, clients):
    first, second = servers
    client, idle = clients("asstore"), clients("aschannel")
    task_id = submit(client, 50)
    client.wait_for(task_id, status="Publish complete")
    with client.http.stream("GET", f"/fetch/{task_id}/") as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        house.start_server(second)
        house.kill(first)
        with pytest.raises(httpx.TransportError):
            for _ in pieces:
                pass
    reader = patiently(idle.listen)  # There is time to hear that nothing happens.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (again := client.http.get(f"/fetch/{task_id}/")).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert (again.status_code, again.content) == (200, whole(50))
    assert client.http.get(f"/fetch/{task_id}/").status_code == 404
    assert HEARTBEAT_SECONDS < PATIENCE_SECONDS
    reader.heartbeat()
    assert reader.stream.frames == []
    reader.leave()


def test_the_result_of_a_killed_worker_is_made_by_another_that_begins_within_two_seconds(house, clients, tmp_path):
    client, gate = clients("asstore"), tmp_path / "gate"
    task_id = client.submit("", service="test", action="wait", file=str(gate))
    client.wait_for(task_id, status="Work complete")
    house.start(house.far)
    other = client.published("", service="test", action="publish", times="1")  # The far worker may be at work, too.
    began = time.monotonic()
    house.kill(house.near)
    # As soon as it is leased: how long the work takes is another matter.
    while (task_id,) not in apart(rows(house.address, "SELECT id FROM tasks WHERE attempt = 2")):
        assert time.monotonic() < began + PATIENCE_SECONDS
        time.sleep(STEP_SECONDS)
    assert time.monotonic() - began < 2
    gate.touch()
    client.wait_for(task_id, status="Publish complete")
    assert client.http.get(f"/fetch/{task_id}/").content == b"\2" * (3 * MIB + 1)
    assert client.http.get(f"/fetch/{other}/").content == whole(1)
    house.start(house.near)
    house.kill(house.far)
