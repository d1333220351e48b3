"""The listeners, as the doctor sees them."""

import fcntl
import socket

from server.journal import Journal
from tests.bench.house import free_port


def test_a_port_that_is_taken_is_told_with_the_option_that_changes_it(doctor):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = doctor.wrong("ports", "--https", f"127.0.0.1:{port}")
    assert f"https: cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert "`taskhouse up --https HOST:PORT`" in line


def test_a_house_that_runs_but_does_not_answer_is_told(doctor):
    silent = free_port()
    Journal(doctor.data).note("", "started", f"http=http://127.0.0.1:{silent}")
    with (doctor.data / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, findings, _ = doctor.says()
    [line] = [one["line"] for one in findings if one["check"] == "ports" and str(silent) in one["line"]]
    assert f"http: 127.0.0.1:{silent} does not answer: Connection refused" in line
