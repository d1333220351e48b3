"""Log lines that are written together."""

import io
import logging
import threading

import pytest

from server.cli.log_lines import LinesTogether


class Stream(io.StringIO):
    """Counts its writes and tells of them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        done = super().write(text)
        self.written.set()
        return done


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def log(stream):
    handler = LinesTogether(stream)
    logger = logging.getLogger("tests.log_lines")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_lines_come_together_soon_and_in_their_order(log, stream):
    for number in range(200):
        log.info("line %s", number)
    assert stream.written.wait(5)
    assert stream.getvalue().splitlines() == [f"line {number}" for number in range(200)]
    assert stream.writes < 20


def test_a_warning_comes_at_once_behind_what_was_before_it(log, stream):
    log.info("before")
    log.warning("now")
    assert stream.getvalue() == "before\nnow\n"


def test_nothing_is_kept_at_the_end(log, stream):
    log.info("last")
    log.handlers[0].flush()  # As logging.shutdown does at exit.
    assert stream.getvalue() == "last\n"
