"""The heads of the event logs."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.store import heads as module
from server.store.engine import StoreUnavailable
from server.store.heads import Head, Heads, HeadsBroken


def head(log_id, sequence) -> Head:
    return Head(log_id, sequence, bytes([log_id, sequence % 256]) * 16)


def test_the_last_head_of_each_log_is_found_again(tmp_path):
    Heads(tmp_path).write([head(0, 1), head(1, 1)])
    Heads(tmp_path).write([head(1, 2)])
    assert Heads(tmp_path).read() == {0: head(0, 1), 1: head(1, 2)}


def test_there_are_no_heads_at_first(tmp_path):
    assert Heads(tmp_path).read() == {}


def test_a_head_that_is_written_late_does_not_hide_a_later_one(tmp_path):
    heads = Heads(tmp_path)
    heads.write([head(1, 7)])
    heads.write([head(1, 6)])
    assert heads.read() == {1: head(1, 7)}


@pytest.mark.parametrize("column", [0, 2, 5, 70, 130])
def test_a_changed_character_is_found(tmp_path, column):
    heads = Heads(tmp_path)
    heads.write([head(1, 1), head(1, 2)])
    path = tmp_path / "events.heads"
    content = bytearray(path.read_bytes())
    content[column] = ord("7") if content[column] != ord("7") else ord("8")
    path.write_bytes(content)
    with pytest.raises(HeadsBroken, match=r"events\.heads:1 "):
        heads.read()


def test_heads_written_under_another_key_are_found(tmp_path):
    Heads(tmp_path).write([head(1, 1)])
    (tmp_path / "events.key").write_bytes(bytes(32))
    with pytest.raises(HeadsBroken):
        Heads(tmp_path).read()


@pytest.mark.parametrize("kept", [1, 5, 60, 100])
def test_a_line_that_a_crash_cut_short_is_left_out_and_the_next_one_is_whole(tmp_path, kept):
    heads = Heads(tmp_path)
    heads.write([head(1, 1)])
    path = tmp_path / "events.heads"
    whole = path.stat().st_size
    heads.write([head(1, 2)])
    os.truncate(path, whole + kept)
    assert heads.read() == {1: head(1, 1)}
    heads.write([head(1, 3)])
    assert heads.read() == {1: head(1, 3)}


def test_key_and_heads_are_for_their_owner_alone(tmp_path):
    Heads(tmp_path).write([head(1, 1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("events.heads", "events.key", "events.lock"), 0o600)


def test_the_file_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COMPACT_BYTES", 2000)
    heads = Heads(tmp_path)
    for sequence in range(1, 100):
        heads.write([head(1, sequence), head(2, sequence)])
        assert (tmp_path / "events.heads").stat().st_size < 2500
    assert heads.read() == {1: head(1, 99), 2: head(2, 99)}


def test_many_who_begin_and_write_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COMPACT_BYTES", 2000)

    def write(log_id) -> None:
        heads = Heads(tmp_path)
        for sequence in range(1, 30):
            heads.write([head(log_id, sequence)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert Heads(tmp_path).read() == {log_id: head(log_id, 29) for log_id in range(8)}


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"events\.heads"):
        Heads(tmp_path / "missing").read()
