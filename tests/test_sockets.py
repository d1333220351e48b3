"""Who may listen on a server's socket."""

import fcntl
import threading

import pytest

from server.sockets import SocketTaken, clear, server_socket, sole_listener


@pytest.fixture
def path(tmp_path):
    return server_socket(tmp_path, 0)


def test_one_process_at_a_time_listens_and_the_socket_of_the_first_stays(path):
    with sole_listener(path):
        path.touch()
        with pytest.raises(SocketTaken, match=r"server-0\.sock"), sole_listener(path):
            pass
        assert path.exists()
    assert not path.exists()
    with sole_listener(path):
        pass


def test_who_has_lost_the_lock_s_file_leaves_the_socket_to_its_successor(path):
    with sole_listener(path):
        path.with_name(f"{path.name}.lock").unlink()
        with path.with_name(f"{path.name}.lock").open("w") as successor:
            fcntl.flock(successor, fcntl.LOCK_EX)
            path.touch()
    assert path.exists()


def test_the_sockets_of_killed_processes_are_removed(tmp_path, path):
    assert not clear(tmp_path, within=0)
    path.touch()
    path.with_name(f"{path.name}.lock").touch()
    assert clear(tmp_path, within=0)
    assert not path.exists()


def test_a_process_that_still_ends_is_waited_for_but_not_for_ever(tmp_path, path):
    with sole_listener(path):
        path.touch()
        with pytest.raises(SocketTaken):
            clear(tmp_path, within=0.1)
        assert path.exists()


def test_sockets_whose_names_differ_only_at_the_end_do_not_share_a_lock(tmp_path):
    with sole_listener(tmp_path / "s.1"), sole_listener(tmp_path / "s.2"):
        pass


def test_who_only_looks_at_the_lock_keeps_nobody_from_starting(path):
    beside = path.with_name(f"{path.name}.lock")
    with beside.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        looked = threading.Timer(0.02, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        looked.start()
        with sole_listener(path):
            pass
        looked.join()
