"""What every command tells when it cannot do its work."""

from server.cli.house import remedy
from server.store.engine import StoreUnavailable

ROOM = "its disk has room"


def test_a_file_that_is_no_database_is_told_with_a_remedy_that_fits(taskhouse, data):
    (data / "taskhouse.db").write_bytes(b"not a database, but long enough to look at" * 50)
    told = taskhouse("orgs", "list").told
    assert "file is not a database; give another folder with --data" in told
    assert ROOM not in told


def test_a_folder_that_cannot_be_written_is_told_as_such():
    try:
        try:
            raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise StoreUnavailable("cannot write in data") from error
    except StoreUnavailable as failure:
        assert ROOM in remedy(failure)


def test_what_nobody_knows_a_remedy_for_is_told_without_one():
    assert remedy(StoreUnavailable("the store is closed")) == "the store is closed"


def test_a_schema_that_is_not_there_is_told_with_the_command_that_makes_it(taskhouse, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert taskhouse("db", "check", data=folder).told.endswith(f"run `taskhouse db upgrade --data {folder}`")
