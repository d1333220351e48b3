"""Standard error, as pipes of which this process has the other end."""

import os
from contextlib import closing

import pytest

from server import stderr
from server.stderr import Writer

PATIENCE_SECONDS = 20


@pytest.fixture
def pipe():
    """The file to read from, and the descriptor to write to."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor.
        yield file, writing
        os.close(writing)


def test_lines_are_written_in_order(pipe):
    file, descriptor = pipe
    writer = Writer(descriptor)
    for number in range(100):
        writer.say(f"{number}\n")
    writer.flush(within=PATIENCE_SECONDS)
    assert file.read(65_536).decode().split() == [str(number) for number in range(100)]


@pytest.mark.parametrize("blocking", [True, False])
def test_what_nobody_reads_is_dropped_and_counted_and_nobody_waits(pipe, monkeypatch, blocking):
    monkeypatch.setattr(stderr, "MOST_LINES", 10)
    file, descriptor = pipe
    os.set_blocking(descriptor, blocking)
    writer, line = Writer(descriptor), "x" * 99_999 + "\n"  # More than a pipe holds.
    for _ in range(100):
        writer.say(line)
    writer.flush(within=0.01)
    lines: list[bytes] = []
    with closing(open(os.dup(file.fileno()), "rb")) as whole:  # noqa: PTH123 - a descriptor.
        while not lines or not lines[-1].startswith(b"taskhouse: "):
            lines.append(whole.readline())
        writer.say("and on\n")
        assert whole.readline() == b"and on\n"
    assert all(each == line.encode() for each in lines[:-1])
    assert 10 <= len(lines) - 1 <= 12
    dropped = 100 - (len(lines) - 1)
    assert lines[-1] == f"taskhouse: {dropped} lines were not written: nobody read these here in time\n".encode()


def test_once_nobody_can_read_any_more_nothing_is_written():
    reading, writing = os.pipe()
    os.close(reading)
    writer = Writer(writing)
    for _ in range(3):
        writer.say("words\n")
    writer.flush(within=PATIENCE_SECONDS)
    os.close(writing)
    reading, again = os.pipe()  # Now another file has that number.
    writer.say("words\n")
    writer.flush(within=PATIENCE_SECONDS)
    os.close(again)
    with open(reading, "rb") as file:  # noqa: PTH123 - a descriptor.
        assert file.read() == b""


def test_there_may_be_no_standard_error():
    writer = Writer(None)
    writer.say("words\n")
    writer.flush(within=PATIENCE_SECONDS)
