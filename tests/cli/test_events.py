"""`taskhouse events`."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from server.core.caller import Caller, Role
from server.core.events import Object, record
from server.store.opening import open_store
from tests.cli.commands import BOTH
from tests.databases import apart
from tests.services.event_logs import GONE, tamper


@pytest.fixture
def told(acme):
    """A house in which a few things were done."""
    acme("tokens", "create", "--org", "acme", "--api", "grpc", "--name", "night shift")
    acme("orgs", "set", "acme", "--sharing", "on")
    acme("orgs", "create", "other")
    return acme


@BOTH
def test_events_of_all_logs_are_printed_in_the_order_of_time(told):
    found = told.json("events")
    assert [(event["organization"], event["action"]) for event in found] == [
        ("", "organization.created"), ("acme", "credential.created"), ("acme", "credential.created"),
        ("acme", "organization.updated"), ("", "organization.created"), ("other", "credential.created"),
    ]  # fmt: skip
    assert {event["actor_name"] for event in found} == {"command line"}
    assert json.loads(found[2]["after"])["display_name"] == "night shift"
    assert (json.loads(found[3]["before"]), json.loads(found[3]["after"])) == ({"sharing": False}, {"sharing": True})


def test_one_organization_s_events_are_printed_alone(told):
    assert [event["sequence"] for event in told.json("events", "--org", "acme")] == [1, 2, 3]
    assert "There is no organization nobody" in told("events", "--org", "nobody").told


def test_people_get_one_line_an_event(told):
    *_, last = told("events", "--org", "acme").out.splitlines()
    assert last.startswith("20")
    assert last.endswith("acme  command line  organization.updated  acme  sharing: false -> true")


def test_an_event_stays_in_its_line_whatever_its_texts_hold(told, address):
    async def recorded() -> None:
        store = await open_store(address, told.data)
        nasty = "a\nb\x1b[2J\u202ec"
        actor = Caller("c1", Role.ADMIN, 1, "acme", "", nasty)
        event = {"action": "rule.updated", "object": Object("rule", nasty), "after": {nasty: nasty}, "reason": nasty}
        await store.write(record, organization_id=1, actor=actor, **event)
        await store.close()

    apart(recorded())
    out = told("events", "--org", "acme").out
    *others, last = out.splitlines()
    assert len(others) == 3
    assert last.count(r"a\nb\x1b[2J\u202ec") == 4  # The name, the object, the change and the reason.
    assert out.replace("\n", "").isprintable()


def test_no_secret_is_in_an_event(told):
    for api in ("grpc", "monarc"):
        [made] = told.json("tokens", "create", "--org", "acme", "--api", api)
        assert made["token"] not in told("events", "--json").out
        [again] = told.json("tokens", "regenerate", (made.get("credential") or made)["id"])
        assert again["token"] not in told("events", "--json").out
    assert [event["action"] for event in told.json("events", "--org", "acme")][-1] == "credential.regenerated"


def test_a_revoked_credential_is_told_once(told):
    [made] = told.json("tokens", "create", "--org", "acme", "--api", "grpc")
    for _ in range(2):
        told("tokens", "revoke", (made.get("credential") or made)["id"])
    actions = [event["action"] for event in told.json("events", "--org", "acme")]
    assert actions.count("credential.revoked") == 1


def test_followed_logs_go_on_until_they_are_interrupted(told):
    command = [sys.executable, "-m", "server.cli.main", "events", "--follow", "--json", "--data", str(told.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        first = [json.loads(following.stdout.readline()) for _ in range(6)]
        told("orgs", "set", "other", "--sharing", "on")
        event = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        rest, errors = following.communicate(timeout=20)
    assert len({(one["organization"], one["sequence"]) for one in first}) == 6
    assert (event["organization"], event["action"]) == ("other", "organization.updated")
    assert (rest, errors, following.returncode) == ("", "", 0)


@BOTH
def test_logs_that_nobody_touched_are_verified(told):
    done = told("events", "verify")
    assert (done.code, done.out) == (0, "ok 6 events in 3 logs, up to their last acknowledged ones\n")
    assert told.json("events", "verify") == []


@BOTH
def test_a_log_that_somebody_touched_is_told_with_its_place(told, address):
    apart(tamper(address, "UPDATE events SET actor_name = 'Bert' WHERE log_id = {acme} AND sequence = 2", acme=1))
    done = told("events", "verify")
    assert done.code == 1
    assert done.out.startswith("WRONG acme, event 2: was changed")
    done = told("events", "verify", "--json")
    assert done.code == 1
    assert {(item["organization"], item["sequence"]) for item in map(json.loads, done.out.splitlines())} == {
        ("acme", 2)
    }


@BOTH
def test_a_log_that_was_deleted_is_told_until_somebody_accepts_it(told, address):
    apart(tamper(address, *GONE, acme=1))
    assert told("events", "verify").code == 1
    assert told("events", "verify").out.startswith("WRONG organization number 1, event 1: the whole log is missing")
    assert "--reason" in told("events", "accept", "--org", "acme").told
    assert "reason: must say why" in told("events", "accept", "--org", "acme", "--reason", " ").told
    [accepted] = told.json("events", "accept", "--org", "acme", "--reason", "a test")
    assert accepted == {"organization": "acme", "sequence": 2}
    assert told("events", "verify").code == 0
    assert [event["action"] for event in told.json("events", "--org", "acme")] == [
        "event_log.broken", "event_log.accepted",
    ]  # fmt: skip


@pytest.mark.parametrize("further", [1, 4])
def test_an_older_database_is_told_though_commands_have_gone_on_in_it(told, address, further):
    connection = sqlite.connect(address)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    backup = address.read_bytes()
    told("orgs", "set", "acme", "--workflow", "on")
    told("orgs", "set", "acme", "--workflow", "off")
    for path in told.data.glob("taskhouse.db*"):
        path.unlink()
    address.write_bytes(backup)
    for number in range(further):
        told("orgs", "set", "acme", "--sharing", "on" if number % 2 else "off")
    done = told("events", "verify")
    assert (done.code, done.out.splitlines()[0][:24]) == (1, "WRONG acme, event 4: is ")
    told("events", "accept", "--org", "acme", "--reason", "restored the backup of Sunday")
    assert told("events", "verify").code == 0


def test_changed_heads_are_told_until_somebody_accepts_that_for_the_house(told):
    (told.data / "events.heads").write_bytes(b"")
    assert told("events", "verify").out.startswith("WRONG events.heads:1 was changed, removed or written by")
    told("events", "accept", "--org", "acme", "--reason", "a test")
    assert told("events", "verify").out.startswith("WRONG (the house), event 3: says that the log or its heads")
    told("events", "accept", "--house", "--reason", "a test")
    assert told("events", "verify").code == 0


def test_the_events_of_another_host_are_wrong_until_it_is_trusted(told):
    (told.data / "events.key").unlink()
    [host] = {event["host"] for event in told.json("events")}
    assert f"was recorded by the host '{host}', which nobody has named here" in told("events", "verify").out
    assert "HOST: must be the name of a host" in told("events", "trust", "elsewhere", "--reason", "a test").told
    assert "reason: must say how" in told("events", "trust", host, "--reason", " ").told
    [trusted] = told.json("events", "trust", host, "--reason", "the key was lost")
    assert trusted == {"organization": "", "sequence": 3}
    assert told("events", "verify").out.splitlines() == [
        "ok 7 events in 3 logs, up to their last acknowledged ones",
        f"   6 of them from the host {host}, which can verify them itself",
    ]


def test_options_stand_behind_the_command_that_they_are_for(told):
    assert "after `verify`" in told("events", "--json", "verify").told


def test_there_is_nothing_to_tell_of_a_folder_without_a_house(taskhouse, tmp_path):
    for arguments in (("events",), ("events", "verify")):
        assert "no house in" in taskhouse(*arguments, data=Path(tmp_path, "none")).told
