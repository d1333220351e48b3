"""Which parts of a house run, as the doctor sees it."""

import os
import signal
import socket
import subprocess

import pytest

from server.doctor import running
from server.settings import split_address
from server.sockets import folder, sole_listener
from tests.bench.house import COMMAND
from tests.edge.conftest import wait_for


@pytest.fixture
def parts(doctor):
    """Starts parts of the doctor's house as the units of a production host do; they end with the test."""
    started = []

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        names, addresses = doctor.listeners[::2], doctor.listeners[1::2]
        config = "".join(f'{name[2:]} = "{where}"\n' for name, where in zip(names, addresses, strict=True))
        (doctor.data / "config.toml").write_text(config)
        command = [COMMAND, *arguments, "--data", doctor.data]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def server(parts):
    process = parts("serve")
    assert process.stdout.readline() == b"server ready\n"
    return process


@pytest.fixture
def edge(parts, doctor):
    process = parts("edge")
    host, port = split_address(doctor.listeners[3])

    def takes_calls() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, port)) == 0

    wait_for(takes_calls, "Envoy")
    return process


def test_a_house_of_units_without_up_is_seen(doctor, server, edge):
    _, findings, text = doctor.says()
    assert f"1 server process and Envoy run on {doctor.data}, without `taskhouse up`" in text
    assert [one["line"] for one in findings if one["wrong"]] == [
        one["line"] for one in findings if one["check"] == "workers"
    ]
    assert "no worker is there" in text
    assert "https: the house answers on" in text


def test_servers_without_an_edge_are_told(doctor, server):
    _, findings, text = doctor.says()
    assert f"1 server process and no Envoy run on {doctor.data}" in text
    lines = [str(one["line"]) for one in findings if one["check"] == "ports" and one["wrong"]]
    assert len(lines) == 2
    assert all("does not answer" in line and "`taskhouse edge`" in line for line in lines)


def test_a_frozen_server_is_told(doctor, server, monkeypatch):
    monkeypatch.setattr(running, "TIMEOUT_SECONDS", 0.3)
    _, findings, _ = doctor.says()
    assert not [one for one in findings if one["check"] == "servers"]
    os.kill(server.pid, signal.SIGSTOP)
    assert "server-0.sock does not answer within 0.3 s" in doctor.wrong("servers")


def test_a_server_that_takes_no_calls_is_told(doctor):
    with sole_listener(folder(doctor.data) / "server-0.sock"):
        (folder(doctor.data) / "server-0.sock").touch()
        assert "server-0.sock is not there" in doctor.wrong("servers")


def test_a_house_whose_folder_says_nothing_is_known_by_its_certificate(doctor, server, edge, monkeypatch):
    monkeypatch.setattr(running, "run_folder", lambda data: data / "elsewhere")
    _, findings, _ = doctor.says()
    told = {str(one["line"]).split(":")[0]: one for one in findings if one["check"] == "ports"}
    assert "this house answers on" in str(told["https"]["line"])
    assert not told["https"]["wrong"]
