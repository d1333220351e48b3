"""`taskhouse datasets`."""

import io

import pytest

from server.core import organizations
from server.core.caller import Caller, Role
from server.store.opening import open_store
from tests.core.filled import upload
from tests.core.scenes import HOUSE
from tests.databases import apart

HEIGHTS = """\
datasets:
  - name: heights
    columns:
      - {name: height, type: float, nullable: false}
      - name: sex
        type: text
        nullable: true
  - name: logins
    buckets_per_user: 10
    columns: [{name: "on", type: boolean}, {name: at, type: bigint}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "heights.yaml"
    path.write_text(HEIGHTS)
    return path


def test_the_datasets_of_a_file_are_declared_and_listed(acme, file):
    applied = acme.json("datasets", "apply", str(file), "--org", "acme")
    assert [one["name"] for one in applied] == ["heights", "logins"]
    assert applied[0]["columns"] == [
        {"name": "height", "type": "COLUMN_TYPE_FLOAT", "nullable": False},
        {"name": "sex", "type": "COLUMN_TYPE_TEXT", "nullable": True},
    ]
    assert [one["buckets_per_user"] for one in applied] == [1, 10]
    listed = acme.json("datasets", "list", "--org", "acme")
    assert listed == [{"organization": "acme", **one} for one in applied]


def test_applying_a_file_again_changes_nothing(acme, file):
    first = acme("datasets", "apply", str(file), "--org", "acme").out
    again = acme("datasets", "apply", str(file), "--org", "acme").out
    assert [line.split() for line in first.splitlines()[1:]] == [["heights", "created"], ["logins", "created"]]
    assert [line.split() for line in again.splitlines()[1:]] == [["heights", "unchanged"], ["logins", "unchanged"]]


def test_the_list_goes_through_all_organizations(acme, file):
    acme("orgs", "create", "other")
    for name in ("acme", "other"):
        acme("datasets", "apply", str(file), "--org", name)
    _, *rows = acme("datasets", "list").out.splitlines()
    assert [row.split()[:2] for row in rows] == [
        ["acme", "heights"], ["acme", "logins"], ["other", "heights"], ["other", "logins"],
    ]  # fmt: skip
    assert "height float NOT NULL, sex text" in rows[0]


def test_other_columns_for_a_declared_dataset_are_refused_and_nothing_is_applied(acme, file):
    acme("datasets", "apply", str(file), "--org", "acme")
    file.write_text(HEIGHTS.replace("heights", "a_new_one").replace("bigint", "integer"))
    told = acme("datasets", "apply", str(file), "--org", "acme").told
    assert told.startswith(f'{file}:8: datasets[1].name: there is a dataset "logins" with other columns')
    assert [one["name"] for one in acme.json("datasets", "list")] == ["heights", "logins"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("type: float", "type: flot",
         '4: datasets[0].columns[0].type: unknown type "flot"; known: integer, bigint, float, double, boolean, text'),
        ("name: heights", "name: ac_heights", "2: datasets[0].name: must not start with 'ac_'"),
        ("name: sex", "name: 1st", "5: datasets[0].columns[1].name: must be a letter, then up to 62 letters,"),
        ("name: sex", "name: height", '5: datasets[0].columns[1].name: "height" is the name of an earlier column'),
        ("name: sex", "title: sex",
         "5: datasets[0].columns[1].title: is unknown here; known: name, type, nullable (and 1 more)"),
        ("nullable: true", "type: text", "7: datasets[0].columns[1].type: stands twice"),
        ("nullable: true", "nullable: yes", "7: datasets[0].columns[1].nullable: must be true or false"),
        ("name: logins", "name: heights", '8: datasets[1].name: "heights" is the name of an earlier dataset'),
        ("name: logins", "name: no", "8: datasets[1].name: must be text; put it in quotes"),
        ("_user: 10", "_user: 101", "9: datasets[1].buckets_per_user: must be 1 to 100"),
        ("_user: 10", "_user: many", "9: datasets[1].buckets_per_user: must be a whole number"),
        ("    buckets_per_user: 10\n", "", None),
        ("columns: [", "columns: []\n    x: [", "11: datasets[1].x: is unknown here; known: "),
        ("datasets:", "data:", "1: data: is unknown here; known: datasets (and 1 more)"),
        (HEIGHTS, "", "1: must have the parts datasets"),
        (HEIGHTS, "datasets: heights", "1: datasets: must be a list"),
        (HEIGHTS, "datasets: [heights]", "1: datasets[0]: must have the parts name, columns"),
        (HEIGHTS, "datasets: [{name: d, columns: []}]", "1: datasets[0].columns: must be 1 to 100"),
        ("  - name: logins", " - name: logins", "8: not YAML: "),
        ("type: text", "type: *nothing", "6: not YAML: found undefined alias"),
    ],
)  # fmt: skip
def test_a_fault_of_the_file_is_told_with_its_line_and_field(acme, file, old, new, told):
    text = HEIGHTS.replace(old, new, 1)
    assert text != HEIGHTS
    file.write_text(text)
    done = acme("datasets", "apply", str(file), "--org", "acme")
    if told is None:
        assert done.code == 0
        return
    assert done.told.startswith(f"{file}:{told}")
    assert acme.json("datasets", "list") == []


def test_deep_or_undecodable_files_are_told_in_one_line(acme, file):
    for body in (b"[" * 10_000, b"\xff\xfe\x00", b"a: \x00"):
        file.write_bytes(body)
        assert str(file) in acme("datasets", "apply", str(file), "--org", "acme").told


def test_a_missing_file_or_organization_is_told(acme, file):
    assert "cannot read nothing.yaml" in acme("datasets", "apply", "nothing.yaml", "--org", "acme").told
    assert "nobody" in acme("datasets", "apply", str(file), "--org", "nobody").told
    assert "nobody" in acme("datasets", "list", "--org", "nobody").told


@pytest.fixture
def filled(acme, address, file):
    """The same house, with rows of two users in both datasets."""
    acme("datasets", "apply", str(file), "--org", "acme")
    add_rows(address, "anna", "bert")
    return acme


def add_rows(address, *users, count=1):
    async def added():
        store = await open_store(address)
        acme = await store.read(organizations.get, caller=HOUSE, name="acme")
        rows = {"heights": [{"height": 1}] * count, "logins": [{"on": True, "at": 1}] * count}
        await upload(store, Caller("c", Role.UPLOAD_ANY, acme.id, "acme", ""), dict.fromkeys(users, rows))
        await store.close()

    apart(added())


@pytest.fixture
def rows_left(rows):
    """Call it to get the dataset and the user of each row."""
    sql = "SELECT name, user_id FROM dataset_rows JOIN datasets ON datasets.id = dataset_id ORDER BY name, user_id"
    return lambda: apart(rows(sql))


def test_a_user_is_erased_from_one_dataset(filled, rows_left):
    done = filled("datasets", "erase-user", "heights", "anna")
    assert (done.code, done.out) == (0, "erased; the dataset heights of acme is at version 2\n")
    assert rows_left() == [("heights", "bert"), ("logins", "anna"), ("logins", "bert")]
    assert filled("datasets", "erase-user", "heights", "anna").out.endswith("is at version 3\n")


def test_erasing_a_user_prints_the_dataset_as_the_list_has_it(filled):
    (erased,) = filled.json("datasets", "erase-user", "heights", "anna", "--org", "acme")
    assert erased == filled.json("datasets", "list")[0]
    assert (erased["organization"], erased["version"]) == ("acme", 2)


def test_somebody_unknown_is_erased_with_the_same_words(filled):
    known, unknown = (filled("datasets", "erase-user", *whom) for whom in (("logins", "anna"), ("heights", "cleo")))
    assert unknown.out == known.out.replace("logins", "heights")


@pytest.mark.parametrize("engine", ["sqlite"])  # PostgreSQL overwrites nothing.
def test_the_bytes_of_an_erased_user_are_not_in_the_files(filled, address):
    name = "anna-who-wants-to-be-forgotten"
    add_rows(address, name, count=500)
    for dataset in ("heights", "logins"):
        filled("datasets", "erase-user", dataset, name)
    files = [path for path in filled.data.rglob("*") if path.is_file()]
    assert any(path.name == "taskhouse.db" for path in files)
    assert [path.name for path in files if name.encode() in path.read_bytes()] == []


def test_of_datasets_with_one_name_the_organization_says_which(filled, file, rows_left):
    filled("orgs", "create", "other")
    filled("datasets", "apply", str(file), "--org", "other")
    told = filled("datasets", "erase-user", "heights", "anna")
    assert told.code == 2
    assert "several organizations have a dataset heights: give --org NAME" in told.err
    assert ("heights", "anna") in rows_left()
    assert filled("datasets", "erase-user", "heights", "anna", "--org", "acme").code == 0


@pytest.mark.parametrize("options", [[], ["--org", "acme"]])
def test_an_unknown_dataset_has_nobody_to_erase(filled, options):
    told = filled("datasets", "erase-user", "weights", "anna", *options).told
    assert told == "There is no dataset weights; `taskhouse datasets list` shows those there are"


@pytest.mark.parametrize("user", ["", "x" * 256, "a\udc80"])
def test_what_cannot_be_a_user_is_refused(filled, rows_left, user):
    done = filled("datasets", "erase-user", "heights", user)
    assert (done.code, done.out) == (2, "")
    assert "a user's name must be" in done.err
    assert len(rows_left()) == 4


@pytest.mark.parametrize(("answer", "left"), [("y\n", 3), ("n\n", 4), ("\n", 4)])
def test_people_are_asked_first(filled, rows_left, monkeypatch, answer, left):
    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    done = filled("datasets", "erase-user", "heights", "anna")
    assert "Nothing brings them back" in done.err
    assert len(rows_left()) == left


def test_people_who_say_yes_beforehand_are_not_asked(filled, rows_left, monkeypatch):
    typed = io.StringIO("")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    assert filled("datasets", "erase-user", "heights", "anna", "--yes").code == 0
    assert len(rows_left()) == 3


def test_a_budget_is_set_and_shown(acme, file):
    acme("datasets", "apply", str(file), "--org", "acme")
    told = acme("datasets", "set-budget", "heights", "30.5").out
    assert told == "the dataset heights of acme has spent 0 of 30.5\n"
    [said] = acme.json("datasets", "set-budget", "heights", "31", "--org", "acme")
    budget = {"epsilon": 31.0, "spent_epsilon": 0.0, "spent_delta": 0.0}
    assert said == {"organization": "acme", "name": "heights", "budget": budget}
    listed = acme.json("datasets", "list")
    assert [one["budget"]["epsilon"] for one in listed] == [31.0, 20.0]
    assert "0 of 31" in acme("datasets", "list").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("heights", "nan"), "epsilon: must be 0 to 1,000,000"),
        (("heights", "1e9"), "epsilon: must be 0 to 1,000,000"),
        (("nothing", "1"), "There is no dataset nothing; "),
    ],
)
def test_what_is_no_budget_or_of_no_dataset_is_refused(acme, file, arguments, told):
    acme("datasets", "apply", str(file), "--org", "acme")
    assert acme("datasets", "set-budget", *arguments, "--org", "acme").told.startswith(told)
