"""The heads of the event logs."""

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.store.engine import StoreUnavailable
from server.store.heads import Head, Heads, Kept, joined

HOST = "0123456789abcdef"


def head(log_id, sequence, first=None) -> Head:
    return Head(log_id, first or sequence, sequence, bytes([log_id, sequence % 256]) * 16)


def kept(*heads, hosts=()) -> Kept:
    return Kept([*heads], [*hosts], "")


@pytest.fixture
def three(tmp_path) -> Heads:
    """Heads of three commits."""
    heads = Heads(tmp_path)
    for sequence in (1, 2, 3):
        heads.write([head(1, sequence)])
    return heads


def lines(tmp_path) -> list[bytes]:
    return (tmp_path / "events.heads").read_bytes().splitlines(keepends=True)


def test_every_head_is_found_again_in_the_order_of_writing(tmp_path):
    Heads(tmp_path).write([head(0, 1), head(1, 4, first=2)])
    Heads(tmp_path).write([head(1, 1)])
    assert Heads(tmp_path).read() == kept(head(0, 1), head(1, 4, first=2), head(1, 1))


def test_there_are_no_heads_at_first(tmp_path):
    assert Heads(tmp_path).read() == kept()


def test_another_host_is_known_from_the_time_on_that_it_is_trusted(three, tmp_path):
    three.trust(HOST)
    three.write([head(1, 4)])
    assert Heads(tmp_path).read().hosts == [HOST]


def test_others_can_write_while_what_was_read_is_checked(three, tmp_path, monkeypatch):
    def noted(self, previous, text):
        with (tmp_path / "events.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Raises if somebody holds it.
        checked.append(text)
        return code(self, previous, text)

    checked, code = [], Heads._code
    monkeypatch.setattr(Heads, "_code", noted)
    assert len(three.read().heads) == 3
    assert len(checked) == 4


# What somebody without the key does to the file


def test_a_changed_byte_is_found_in_whatever_column(three, tmp_path):
    path = tmp_path / "events.heads"
    content = path.read_bytes()
    start, _, last, _ = lines(tmp_path)
    for at in (*range(len(start)), *range(len(content) - len(last), len(content) - 1)):
        changed = bytearray(content)
        changed[at] = ord("7") if changed[at] != ord("7") else ord("8")
        path.write_bytes(changed)
        assert "events.heads:" in three.read().fault, at


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_line_that_was_taken_out_from_before_others_is_found(three, tmp_path, number):
    less = lines(tmp_path)
    del less[number]
    (tmp_path / "events.heads").write_bytes(b"".join(less))
    assert f"events.heads:{number + 1} was changed" in three.read().fault


def test_lines_that_were_swapped_or_put_in_again_are_found(three, tmp_path):
    start, first, second, third = lines(tmp_path)
    for changed in ([start, second, first, third], [start, first, second, third, third], [start, first, start]):
        (tmp_path / "events.heads").write_bytes(b"".join(changed))
        assert "was changed" in three.read().fault


@pytest.mark.parametrize("content", [None, b"", b"\n", b"1_1_1_00_00\n", b"no line", bytes(1000)])
def test_a_file_that_was_removed_or_is_garbage_is_found_also_after_it_was_written_to(three, tmp_path, content):
    path = tmp_path / "events.heads"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert "events.heads:1 was changed" in three.read().fault
    three.write([head(1, 4), head(1, 5)])
    assert "events.heads:1 was changed" in Heads(tmp_path).read().fault


def test_what_is_under_the_key_is_read_behind_what_is_not(three, tmp_path):
    start, first, second, third = lines(tmp_path)
    (tmp_path / "events.heads").write_bytes(start + first.replace(b"1", b"2", 1) + second + third)
    assert three.read().heads == [head(1, 2), head(1, 3)]


def test_heads_written_under_another_key_are_found(three, tmp_path):
    (tmp_path / "events.key").write_bytes(bytes(32))
    assert three.read().fault == ""  # This one has the key that it began with.
    assert "events.heads:1 was changed" in Heads(tmp_path).read().fault


def test_a_key_that_was_removed_begins_anew_as_another_host(three, tmp_path):
    (tmp_path / "events.key").unlink()
    new = Heads(tmp_path)
    assert new.read() == kept()
    assert new.host != three.host


# Crashes


@pytest.mark.parametrize("left", [1, 5, 60, 100])
def test_a_line_that_a_crash_cut_short_is_left_out_and_the_next_one_is_whole(three, tmp_path, left):
    path = tmp_path / "events.heads"
    whole = path.stat().st_size
    three.write([head(1, 4)])
    os.truncate(path, whole + left)
    assert three.read() == kept(head(1, 1), head(1, 2), head(1, 3))
    three.write([head(1, 5)])
    assert three.read() == kept(head(1, 1), head(1, 2), head(1, 3), head(1, 5))


def test_a_key_that_could_not_be_put_in_place_was_never_used(tmp_path):
    (tmp_path / "events.key.draft").mkdir()
    heads = Heads(tmp_path)
    with pytest.raises(StoreUnavailable):
        heads.write([head(1, 1)])
    (tmp_path / "events.key.draft").rmdir()
    heads.write([head(1, 2)])
    assert Heads(tmp_path).read() == kept(head(1, 2))


# Replacing


def test_heads_take_the_place_of_those_that_were_read_and_later_ones_stay(three, tmp_path):
    read = three.read()
    three.trust(HOST)
    three.write([head(1, 4)])
    three.replace(read, [head(1, 3, first=1)])
    assert Heads(tmp_path).read() == kept(head(1, 3, first=1), head(1, 4), hosts=[HOST])
    three.write([head(1, 5)])
    assert three.read() == kept(head(1, 3, first=1), head(1, 4), head(1, 5), hosts=[HOST])


def test_heads_that_somebody_changed_since_they_were_read_are_not_replaced(three, tmp_path):
    read = three.read()
    (tmp_path / "events.heads").write_bytes(b"".join(lines(tmp_path)[:2]))
    three.replace(read, [head(1, 3, first=1)])
    assert three.read() == kept(head(1, 1))


def test_a_fault_ends_when_the_heads_are_replaced(three, tmp_path):
    (tmp_path / "events.heads").unlink()
    read = three.read()
    three.write([head(1, 4)])  # What notes the fault.
    three.replace(read, [head(1, 3, first=1)])
    assert three.read() == kept(head(1, 3, first=1), head(1, 4))


# Together


def test_heads_of_events_that_follow_each_other_become_one():
    some = [head(1, 2), head(1, 5, first=4), head(0, 3), head(1, 3), head(1, 8)]
    assert joined(some) == [head(0, 3), head(1, 5, first=2), head(1, 8)]


def test_key_and_heads_are_for_their_owner_alone(three, tmp_path):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("events.heads", "events.key", "events.lock"), 0o600)


def test_many_who_begin_and_write_at_once_lose_nothing(tmp_path):
    def write(log_id) -> None:
        heads = Heads(tmp_path)
        for sequence in range(1, 30):
            heads.write([head(log_id, sequence)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    found = Heads(tmp_path).read()
    assert joined(found.heads) == [head(log_id, 29, first=1) for log_id in range(8)]
    assert found.fault == ""


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"events\.heads"):
        Heads(tmp_path / "missing").read()


def test_what_fails_during_a_turn_is_no_fault_of_the_heads(tmp_path):
    with pytest.raises(ConnectionResetError), Heads(tmp_path).turn():
        raise ConnectionResetError


def test_a_turn_in_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"events\.heads"), Heads(tmp_path / "missing").turn():
        pass
