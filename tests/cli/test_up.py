"""`taskhouse up` on a real machine: what it says, and what is left when parts of it are killed."""

import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pysqlite3 import dbapi2 as sqlite

from server.store.address import DatabaseAddress
from tests import declared
from tests.bench.house import COMMAND, House, free_port
from tests.cli.commands import BOTH
from tests.databases import apart, rows

DATASETS = "datasets:\n  - name: t\n    columns:\n      - {name: n, type: integer, nullable: false}\n"

NOT_OVER = ("TASK_STATE_PENDING", "TASK_STATE_RUNNING")


STARTED: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def _no_house_is_left() -> Iterator[None]:
    yield
    for process in STARTED:
        process.kill()  # Its parts end with it.
        for stream in (process.stdout, process.stderr):
            stream.close()
        process.wait()
    STARTED.clear()


def up(data: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a house that is expected not to start."""
    http, https = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [COMMAND, "up", "--data", data, "--http", http, "--https", https, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def only_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("taskhouse: ")
    return line


def test_a_port_in_use_is_named_with_the_option_that_changes_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = only_line(up(tmp_path / "data", "--https", f"127.0.0.1:{port}"))
    assert f"cannot listen on 127.0.0.1:{port}: " in line
    assert "--https" in line


def test_listeners_that_stand_in_each_other_s_way_are_told_before_anything_starts(tmp_path: Path) -> None:
    port = free_port()
    line = only_line(up(tmp_path / "data", "--http", f"127.0.0.1:{port}", "--https", f"0.0.0.0:{port}"))
    assert f"cannot listen on 0.0.0.0:{port}: " in line
    assert "--https" in line


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file" / "data") in only_line(up(tmp_path / "file" / "data"))


def test_a_database_of_a_newer_version_is_refused(data: Path) -> None:
    connection = sqlite.connect(str(data / "taskhouse.db"))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    assert "newer taskhouse" in only_line(up(data))


def test_bad_settings_are_named_together(tmp_path: Path) -> None:
    line = only_line(up(tmp_path / "data", "--http", "nowhere", "--processes", "0"))
    assert "http" in line
    assert "processes" in line


def test_a_second_house_in_the_folder_is_refused_and_ctrl_c_stops_every_part_of_the_first(tmp_path: Path) -> None:
    process, _ = start(tmp_path / "data")
    assert "another" in only_line(up(tmp_path / "data"))
    parts = parts_of(process)
    assert len(parts) == 3
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in parts)


def _read_until(text: str, process: "subprocess.Popen[str]") -> list[str]:
    """Return what the process says from now on, to the line with this text; kill it if that takes too long."""
    patience = threading.Timer(60, process.kill)
    patience.start()
    lines = [process.stderr.readline()]
    while lines[-1] and text not in lines[-1]:
        lines.append(process.stderr.readline())
    patience.cancel()
    return lines


def test_asked_to_stop_again_and_again_it_leaves_nothing_behind(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process, _ = start(tmp_path / "data")  # Where the one before has ended.
        parts = parts_of(process)
        for _ in range(5):
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert not any(_runs(pid) for pid in parts)


def test_asked_to_stop_before_it_is_ready_it_ends_without_a_ready_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    addresses = ["--http", f"127.0.0.1:{free_port()}", "--https", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen(
        [COMMAND, "up", "--data", data, *addresses], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    STARTED.append(process)
    end = time.monotonic() + 60
    while not House(data, ("", 0), ("", 0), process.pid).processes()["server"]:
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), errors
    assert "Traceback" not in errors


def test_tasks_that_are_over_vanish_and_addresses_begin_as_they_are_set(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text("tasks_days = 1e-6\nsweep_seconds = 0.1\n")
    process, https = start(data, "--processes", "2", "--public-url", "https://tasks.example:81")
    house = House(data, ("", 0), ("127.0.0.1", https), process.pid)
    house.run("catalogue", "apply", declared.write(tmp_path))
    house.run("orgs", "create", "acme")
    [made] = house.run("tokens", "create", "--org", "acme", "--api", "grpc", "--access", "write")
    [asapi] = house.run("tokens", "create", "--org", "acme", "--api", "asapi", "--retrieval", "asstore")
    discovery = f"https://localhost:{https}/account/"
    told = httpx.get(discovery, verify=house.context(), headers={"authorization": f"Token {asapi['token']}"}).json()
    assert told["stream_endpoints"] == [{"host": "tasks.example:81", "protocol": "https", "uri": "/fetch/"}]
    headers = {"authorization": f"Bearer {made['token']}"}
    with httpx.Client(base_url=f"https://localhost:{https}/v1", verify=house.context(), headers=headers) as client:
        task = client.post("/tasks", json={"service": "cloak", "action": "histogram"})
        assert task.status_code == 400  # There is no such dataset: it needs one that nobody does.
        task = client.post("/tasks", json={"service": "shop", "action": "report"}).json()
        assert client.post(f"/tasks/{task['id']}:cancel", json={}).status_code == 200
        end = time.monotonic() + 60
        while client.get(f"/tasks/{task['id']}").status_code != 404:
            assert time.monotonic() < end
            time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_part_that_is_killed_is_started_again_and_the_others_live_on(tmp_path: Path) -> None:
    process, https = start(tmp_path / "data")
    house = House(tmp_path / "data", ("", 0), ("127.0.0.1", https), process.pid)
    for part, name in (("server", "server 0"), ("worker", "worker"), ("edge", "envoy")):
        before = house.processes()
        os.kill(before[part][0], signal.SIGKILL)
        lines = _read_until(" answers again", process)
        told = [line for line in lines if line.startswith("taskhouse: ")]
        assert told == [
            f"taskhouse: {name} was killed by SIGKILL; it is started again in 0.1 s\n",
            f"taskhouse: {name} answers again\n",
        ]
        with httpx.Client(verify=house.context()) as client:
            assert client.get(f"https://localhost:{https}/health").status_code == 200
        after = house.processes()
        assert {each for each in before if before[each] != after[each]} == {part}
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")  # The ready line is not said again.


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_when_the_supervisor_is_killed_its_parts_end_and_the_house_can_be_started_at_once(tmp_path: Path) -> None:
    killed, _ = start(tmp_path / "data")
    left = parts_of(killed)
    killed.kill()
    process, _ = start(tmp_path / "data")
    parts = parts_of(process)
    assert (tmp_path / "data" / "run" / "server-0.sock").exists()
    second = subprocess.run(
        [COMMAND, "serve", "--data", tmp_path / "data"], capture_output=True, text=True, check=False
    )
    assert "another server process listens on" in only_line(second)
    assert (tmp_path / "data" / "run" / "server-0.sock").exists()
    assert all(_runs(pid) for pid in parts)
    deadline = time.monotonic() + 30
    while any(_runs(pid) for pid in left):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=60)
    killed.communicate(timeout=60)
    assert process.returncode == 0


def parts_of(process: "subprocess.Popen[str]") -> list[int]:
    """Return the pids of what a house runs."""
    return [pid for pids in House(Path(), ("", 0), ("", 0), process.pid).processes().values() for pid in pids]


def start(data: Path, *options: str) -> tuple["subprocess.Popen[str]", int]:
    """Start a house and return it with its TLS port once it is ready."""
    http, https = free_port(), free_port()
    command = [COMMAND, "up", "--data", data, "--http", f"127.0.0.1:{http}", "--https", f"127.0.0.1:{https}", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(process)
    line = process.stdout.readline()
    assert line == f"ready http=http://127.0.0.1:{http} https=https://127.0.0.1:{https}\n", process.stderr.read()
    return process, https


def _until_so_many(acknowledged: list[int], count: int) -> None:
    end = time.monotonic() + 60
    while len(acknowledged) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


@BOTH
def test_no_acknowledged_upload_is_lost_when_servers_are_killed_and_when_the_house_is_stopped(
    tmp_path: Path, founded: tuple[Path, DatabaseAddress]
) -> None:
    (data, address), declared, pem = founded, tmp_path / "datasets.yaml", tmp_path / "upload.pem"
    declared.write_text(DATASETS)
    process, https = start(data, "--processes", "2")
    house = House(data, ("", 0), ("127.0.0.1", https), process.pid)
    house.run("orgs", "create", "acme")
    house.run("datasets", "apply", str(declared), "--org", "acme")
    house.run("keys", "issue", "--org", "acme", "--kind", "upload_any", "--out", str(pem))
    acknowledged: list[int] = []
    unanswered: list[int] = []
    over = threading.Event()

    def upload(lane: int) -> None:
        with httpx.Client(base_url=f"https://localhost:{https}", verify=house.context(pem), timeout=10) as client:
            for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count(lane, 4)):
                try:
                    good = client.post("/bulk_insert", json={f"user-{number}": {"t": [{"n": number}]}}).is_success
                except httpx.HTTPError:
                    good = False
                (acknowledged if good else unanswered).append(number)

    lanes = [threading.Thread(target=upload, args=(lane,)) for lane in range(4)]
    for lane in lanes:
        lane.start()
    try:
        _until_so_many(acknowledged, 200)
        for number in (0, 1):
            os.kill(house.processes()["server"][number], signal.SIGKILL)
            _read_until(" answers again", process)
            _until_so_many(acknowledged, len(acknowledged) + 100)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        over.set()
        for lane in lanes:
            lane.join()
    assert process.returncode == 0
    stored = [json.loads(row)[0] for (row,) in apart(rows(address, "SELECT data FROM dataset_rows"))]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))  # Nothing was stored twice.
    assert set(stored) <= {*acknowledged, *unanswered}


@BOTH
def test_tasks_outlive_a_killed_worker_and_each_is_done_once(
    tmp_path: Path, founded: tuple[Path, DatabaseAddress]
) -> None:
    (data, address), declared = founded, tmp_path / "datasets.yaml"
    declared.write_text(DATASETS)
    process, https = start(data)
    house = House(data, ("", 0), ("127.0.0.1", https), process.pid)
    house.run("orgs", "create", "acme")
    house.run("datasets", "apply", str(declared), "--org", "acme")
    for kind in ("upload_any", "task_runner"):
        house.run("keys", "issue", "--org", "acme", "--kind", kind, "--out", str(tmp_path / f"{kind}.pem"))
    upload, runner = (house.context(tmp_path / f"{kind}.pem") for kind in ("upload_any", "task_runner"))
    with httpx.Client(base_url=f"https://localhost:{https}", verify=upload, timeout=10) as client:
        people = {f"user-{number}": {"t": [{"n": number % 3}]} for number in range(600)}
        assert client.post("/bulk_insert", json=people).status_code == 200
    worker = house.processes()["worker"][0]
    acknowledged: list[str] = []

    def ask(client: httpx.Client, width: int) -> None:
        asked = {"dataset": "t", "column": "n", "bin_width": str(width)}
        try:
            answer = client.post("/v1/tasks", json={"service": "cloak", "action": "histogram", "parameters": asked})
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            acknowledged.append(answer.json()["id"])
        if width == 20:
            os.kill(worker, signal.SIGKILL)

    with (
        httpx.Client(base_url=f"https://localhost:{https}", verify=runner, timeout=10) as client,
        ThreadPoolExecutor(8) as lanes,
    ):
        for width in range(1, 41):
            lanes.submit(ask, client, width)
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=f"https://localhost:{https}", verify=runner, timeout=10) as client:
        for task_id in acknowledged:
            while (task := client.get(f"/v1/tasks/{task_id}").json())["state"] in NOT_OVER:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert (task["state"], task["result_count"]) == ("TASK_STATE_SUCCEEDED", 1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "taskhouse: worker was killed by SIGKILL; it is started again" in errors
    done = dict(apart(rows(address, "SELECT task_id, count(*) FROM results GROUP BY task_id")))
    assert {task_id: done[task_id] for task_id in acknowledged} == dict.fromkeys(acknowledged, 1)
    assert len(acknowledged) == 40
