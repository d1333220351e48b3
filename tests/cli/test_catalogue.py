"""`taskhouse catalogue`."""

import pytest

ICLOUD = """\
services:
  - slug: icloud
    name: iCloud
    actions:
      - slug: fetch-data
        name: Fetch Data
        parameters:
          - {slug: device, name: Device, type: string, optional: false}
          - {slug: since, name: Since, type: date, optional: true}
        permissions: {data: [sms, photos]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "icloud.yaml"
    path.write_text(ICLOUD)
    return path


def test_the_services_of_a_file_are_applied_and_shown(taskhouse, file):
    [applied] = taskhouse.json("catalogue", "apply", str(file))
    assert applied["slug"] == "icloud"
    [action] = applied["actions"]
    assert action["parameters"][1] == {
        "slug": "since", "name": "Since", "type": "PARAMETER_TYPE_DATE", "optional": True, "description": "",
    }  # fmt: skip
    assert action["permissions"] == [{"slug": "data", "values": ["sms", "photos"]}]
    assert taskhouse.json("catalogue", "show") == [applied]


def test_people_see_a_line_for_each_action(taskhouse, file):
    taskhouse("catalogue", "apply", str(file))
    _, line = taskhouse("catalogue", "show").out.splitlines()
    assert line.split(maxsplit=2) == [
        "icloud",
        "fetch-data",
        "device string, since date (optional), data of sms|photos",
    ]


def test_an_empty_catalogue_removes_everything(taskhouse, file):
    taskhouse("catalogue", "apply", str(file))
    file.write_text("services: []\n")
    taskhouse("catalogue", "apply", str(file))
    assert taskhouse.json("catalogue", "show") == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("slug: icloud", "slug: iCloud", ":2: services[0].slug: must be 1 to 63 of a-z, 0-9, '_' and '-'"),
        ("    name: iCloud\n", "", ":2: services[0].name: is missing"),
        ("type: date", "type: day", ':9: services[0].actions[0].parameters[1].type: unknown type "day"; known: string'),
        ("optional: true", "optional: 1", ":9: services[0].actions[0].parameters[1].optional: must be true or false"),
        ("[sms, photos]", "sms", ":10: services[0].actions[0].permissions[0].values: must be a list"),
        ("[sms, photos]", "[sms, sms]", ":10: services[0].actions[0].permissions[0].values[1]: stands twice"),
        ("{data: [sms, photos]}", "[data]", ":10: services[0].actions[0].permissions: must have keys and values"),
        ("name: iCloud", "nmae: iCloud", ":2: services[0].name: is missing (and 1 more)"),
        ("services:", "datasets:", ":1: datasets: is unknown here; known: services"),
        ("    actions:\n", "    actions: [\n", ": not YAML: "),
    ],
)
def test_a_fault_is_told_by_line_and_field_and_nothing_is_applied(taskhouse, file, old, new, told):
    taskhouse("catalogue", "apply", str(file))
    before = taskhouse.json("catalogue", "show")
    file.write_text(ICLOUD.replace(old, new, 1))
    line = taskhouse("catalogue", "apply", str(file)).told
    assert line.startswith(str(file))
    assert told in line
    assert taskhouse.json("catalogue", "show") == before
