"""The supervisor, with parts that are a few lines of Python."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from server import edge, supervisor
from server.journal import Journal
from server.supervisor import House, Part, PartFailed

PATIENCE_SECONDS = 20
READY = "print('ready', flush=True); "
SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + SLEEP


def part(program: str, name: str = "part") -> Part:
    return Part(name, [sys.executable, "-c", program], ready_line="ready")


def until(holds) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def started():
    """Starts parts, and ends them with the test."""
    parts = []

    def start(program: str) -> Part:
        parts.append(part(program))
        parts[-1].start()
        return parts[-1]

    yield start
    for each in parts:
        close(each)


def close(each: Part) -> None:
    if each.process:
        each.kill()
        for pump in each.pumps:
            pump.join()


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def house(journal):
    """A house of which the test may replace parts before it starts."""
    made = House(
        servers=[part(READY + SLEEP, "server 0")],
        worker=part(READY + SLEEP, "worker"),
        edge=part(READY + SLEEP, "envoy"),
        drain_edge=lambda: None,
        journal=journal,
    )
    yield made
    for each in made.parts:
        close(each)


def replace(house: House, name: str, program: str) -> Part:
    [found] = [each for each in house.parts if each.name == name]
    found.command = [sys.executable, "-c", program]
    return found


def test_a_part_lives_where_its_parent_is_process_1(started, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # As in a container.
    monkeypatch.setattr(os, "getppid", lambda: 1)
    alive = started(READY + SLEEP)
    until(alive.is_ready)


def test_a_part_whose_parent_has_died_meanwhile_ends(started, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # The part has another parent than that.
    orphan = started(READY + SLEEP)
    assert orphan.process.wait(PATIENCE_SECONDS) == 1


UNREAD = """
import sys, threading, signal
from pathlib import Path
from server.journal import Journal
from server.supervisor import House, Part

talks = "import time; print('ready'); print(*['words ' * 100] * 5000, sep=chr(10), flush=True); time.sleep(60)"
names = ["server 0", "worker", "envoy"]
parts = [Part(name, [sys.executable, "-c", talks], ready_line="ready") for name in names]
data = Path(sys.argv[1])
house = House(servers=[parts[0]], worker=parts[1], edge=parts[2], drain_edge=lambda: None, journal=Journal(data))
signal.signal(signal.SIGTERM, lambda *_: house.ask_to_stop())
house.start()
(data / "worker").write_text(str(parts[1].process.pid))
house.watch()
house.stop(grace=5)
"""


def test_while_standard_error_is_open_and_nobody_reads_it_the_house_goes_on_and_can_be_stopped(tmp_path, journal):
    with subprocess.Popen([sys.executable, "-c", UNREAD, tmp_path], stderr=subprocess.PIPE) as supervised:
        try:
            until((tmp_path / "worker").exists)
            until((tmp_path / "worker").read_text)
            full = fcntl.fcntl(supervised.stderr, fcntl.F_GETPIPE_SZ)
            until(lambda: unread_bytes(supervised.stderr) > full * 3 // 4)
            os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)
            until(lambda: events(journal, "worker") == ["died", "back"])
            supervised.terminate()
            assert supervised.wait(PATIENCE_SECONDS) == 0
        finally:
            supervised.kill()


def unread_bytes(pipe) -> int:
    [number] = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return number


def test_envoy_s_last_words_are_the_reason_of_its_end(tmp_path, capfd):
    configuration = edge.EdgeConfig(
        https=("127.0.0.1", 0), sockets=(), certificate=tmp_path, private_key=tmp_path, authority=tmp_path,
        admin_socket=tmp_path / "envoy.sock", folder=tmp_path,
    )  # fmt: skip
    edge.rendered_path(configuration).write_text('{"no_such_field": 1}')
    envoy = Part("envoy", edge.command(configuration), answers=lambda: False)
    envoy.start()
    envoy.process.wait(PATIENCE_SECONDS)
    with pytest.raises(PartFailed, match=r"envoy ended with exit code 1: Protobuf .*no_such_field.* unknown fields$"):
        envoy.check()
    close(envoy)


def test_a_slow_worker_takes_nothing_from_the_time_of_the_servers(house, tmp_path, monkeypatch):
    monkeypatch.setattr("server.supervisor.SPARE_SECONDS", 0.0)
    drained = tmp_path / "drained"
    replace(house, "worker", STUBBORN)
    replace(
        house,
        "server 0",
        "import signal, sys, threading, time, pathlib; stop = threading.Event(); "
        f"signal.signal(signal.SIGTERM, lambda *_: stop.set()); {READY}"
        f"\nwhile not stop.is_set(): time.sleep(0.01)\ntime.sleep(0.5); pathlib.Path({str(drained)!r}).touch()",
    )
    house.start(within=PATIENCE_SECONDS)
    house.stop(grace=2)
    assert drained.exists()
    assert not any(each.runs for each in house.parts)


def test_asked_to_stop_twice_it_kills_what_is_slow(house, capfd):
    replace(house, "server 0", STUBBORN)
    house.start(within=PATIENCE_SECONDS)
    house.ask_to_stop()
    house.watch()
    again = threading.Timer(0.2, house.ask_to_stop)
    again.start()
    began = time.monotonic()
    house.stop(grace=600)
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert "taskhouse: server 0 was killed" in capfd.readouterr().err
    again.join()


@contextmanager
def watched(house: House):
    """A house that runs and is looked after; the end of the block stops it as Ctrl-C does."""
    house.start(within=PATIENCE_SECONDS)
    watching = threading.Thread(target=house.watch)
    watching.start()
    try:
        yield
    finally:
        house.ask_to_stop()
        watching.join(PATIENCE_SECONDS)
        house.stop(grace=0)
    assert not watching.is_alive()


def events(journal: Journal, of: str) -> list[str]:
    return [entry.event for entry in journal.entries() if entry.part == of]


@pytest.mark.parametrize("name", ["server 0", "worker", "envoy"])
def test_a_part_that_dies_is_started_again_and_the_others_live_on(house, journal, capfd, name):
    with watched(house):
        before = {each.name: each.process.pid for each in house.parts}
        [victim] = [each for each in house.parts if each.name == name]
        victim.process.kill()
        until(lambda: events(journal, name) == ["died", "back"])
        after = {each.name: each.process.pid for each in house.parts}
    assert {each for each in before if before[each] != after[each]} == {name}
    assert capfd.readouterr().err.splitlines() == [
        f"taskhouse: {name} was killed by SIGKILL; it is started again in 0.1 s",
        f"taskhouse: {name} answers again",
    ]


def test_a_part_that_dies_again_and_again_is_started_later_and_later_for_ever(house, journal, capfd, monkeypatch):
    monkeypatch.setattr(supervisor, "MOST_BACK_OFF", 0.4)
    with watched(house):
        house.worker.command = [sys.executable, "-c", "raise SystemExit('taskhouse: no such thing')"]
        house.worker.process.kill()
        until(lambda: events(journal, "worker").count("died") == 5)
        house.worker.command = [sys.executable, "-c", READY + SLEEP]  # Somebody mended it.
        until(lambda: events(journal, "worker")[-1] == "back")
    told = capfd.readouterr().err.splitlines()
    ended = "taskhouse: worker ended with exit code 1: no such thing; it is started again in"
    assert told[1:5] == [
        f"{ended} 0.2 s (death 2 in a row)",
        f"{ended} 0.4 s (death 3 in a row)",
        f"{ended} 0.4 s (death 4 in a row)",
        f"{ended} 0.4 s (death 5 in a row)",
    ]


def test_after_a_while_of_health_a_death_counts_as_the_first(house, journal, capfd, monkeypatch):
    monkeypatch.setattr(supervisor, "HEALTHY_SECONDS", 0.0)
    with watched(house):
        for _ in range(3):
            house.worker.process.kill()
            until(lambda: events(journal, "worker")[-1:] == ["died"])
            until(lambda: events(journal, "worker")[-1] == "back")
    assert capfd.readouterr().err.count("it is started again in 0.1 s\n") == 3


def test_a_part_that_lives_and_does_not_answer_yet_is_left_alone(house, journal, capfd, tmp_path):
    open_ = tmp_path / "open"
    waits = f"import pathlib\nwhile not pathlib.Path({str(open_)!r}).exists(): time.sleep(0.01)\n"
    with watched(house):
        house.worker.command = [sys.executable, "-c", f"import time; print('wait', flush=True)\n{waits}{READY}{SLEEP}"]
        house.worker.process.kill()
        until(lambda: events(journal, "worker") == ["died"] and house.worker.runs)
        waiting = house.worker.process.pid
        open_.touch()
        until(lambda: events(journal, "worker") == ["died", "back"])
        assert house.worker.process.pid == waiting


def test_a_part_whose_program_is_gone_is_tried_again(house, journal, capfd):
    with watched(house):
        good, house.worker.command = house.worker.command, ["/nowhere/python"]
        house.worker.process.kill()
        until(lambda: events(journal, "worker").count("died") == 2)
        house.worker.command = good
        until(lambda: events(journal, "worker")[-1] == "back")
    assert "worker cannot start: " in capfd.readouterr().err


def test_ctrl_c_ends_the_wait_for_a_part_at_once(house, journal, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_BACK_OFF", 600.0)
    monkeypatch.setattr(supervisor, "MOST_BACK_OFF", 600.0)
    with watched(house):
        house.worker.process.kill()
        until(lambda: events(journal, "worker") == ["died"])
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert not any(each.runs for each in house.parts)


def test_parts_are_started_again_while_a_command_runs_beside_the_house(house, journal):
    with watched(house):
        house.run_beside([sys.executable, "-c", SLEEP])
        house.worker.process.kill()
        until(lambda: events(journal, "worker") == ["died", "back"])
    assert isinstance(house._guest, subprocess.Popen)
    assert house._guest.returncode is not None


STUBBORN_PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', '" + SLEEP + "']); "
    "print(child.pid, file=sys.stderr, flush=True); " + READY + SLEEP
)


def test_what_a_killed_part_has_started_ends_with_it_and_holds_up_nobody(house, journal, capfd, monkeypatch):
    monkeypatch.setattr(supervisor, "LAST_SECONDS", PATIENCE_SECONDS)
    replace(house, "worker", STUBBORN_PARENT)
    with watched(house):
        began = time.monotonic()
        house.worker.process.kill()
        until(lambda: events(journal, "worker") == ["died", "back"])
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
    children = [int(line) for line in capfd.readouterr().err.splitlines() if line.isdigit()]
    assert len(children) == 2  # Of the one that was killed, and of the one that was stopped.
    until(lambda: not any(is_alive(child) for child in children))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("hurried", [False, True])
def test_a_command_beside_the_house_that_does_not_end_is_killed(house, monkeypatch, hurried):
    monkeypatch.setattr(supervisor, "SPARE_SECONDS", 600.0 if hurried else 0.2)
    house.start(within=PATIENCE_SECONDS)
    house.run_beside([sys.executable, "-c", STUBBORN.replace("print('ready', flush=True)", "print(end='')")])
    until(lambda: ignores_sigterm(house._guest.pid))
    if hurried:
        house.ask_to_stop()
        house.ask_to_stop()
    house.stop(grace=0)
    assert house._guest.returncode == -signal.SIGKILL


def ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    return bool(int(ignored, 16) & 1 << signal.SIGTERM - 1)


def test_a_part_that_dies_before_all_are_ready_fails_the_start(house):
    replace(house, "worker", "raise SystemExit('taskhouse: no house')")
    with pytest.raises(PartFailed, match="worker ended with exit code 1: no house"):
        house.start(within=PATIENCE_SECONDS)
    house.stop(grace=0)
