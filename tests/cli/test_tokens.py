"""`taskhouse tokens`."""

import hashlib

import pytest

from server.cli.house import in_house
from server.core.caller import Role
from server.core.credentials import by_digest
from server.settings import load


@pytest.fixture
def whose(acme):
    """Who presents a token; None for nobody."""

    def found(token):
        digest = hashlib.sha256(token.encode()).digest()
        good = in_house(load(data=acme.data), lambda store: store.read(by_digest, digest=digest, token=True))
        return good and good.caller

    return found


def create(taskhouse, *more):
    [made] = taskhouse.json("tokens", "create", "--api", "grpc", *more)
    return made["credential"], made["token"]


def test_a_created_token_is_shown_once_and_calls(acme, whose):
    credential, token = create(acme, "--org", "acme", "--name", "ci", "--access", "read", "--expires", "90d")
    assert (credential["organization"], credential["display_name"]) == ("acme", "ci")
    assert credential["token"] == {"api": "TOKEN_API_GRPC", "access": "TOKEN_ACCESS_READ"}
    assert whose(token).role is Role.TOKEN_READ
    assert acme.json("tokens", "list") == [credential]
    assert token not in acme("tokens", "list").out


def test_people_see_the_token_once(acme, whose):
    out = acme("tokens", "create", "--org", "acme", "--api", "grpc").out
    [line] = [line for line in out.splitlines() if line.startswith("token (shown once)")]
    assert whose(line.split()[-1]).role is Role.TOKEN_WRITE


@pytest.mark.parametrize(("access", "role"), [("write", Role.WORKER), ("admin", Role.OPERATOR)])
def test_a_token_of_the_house_works_or_operates(acme, whose, access, role):
    credential, token = create(acme, "--house", "--access", access)
    assert credential["organization"] == ""
    assert whose(token).role is role


def test_a_chosen_token_is_taken_as_it_is(acme, whose):
    chosen = "chosen-token-of-the-demo"
    _, token = create(acme, "--org", "acme", "--token", chosen)
    assert token == chosen
    assert whose(chosen).organization == "acme"
    again = acme("tokens", "create", "--api", "grpc", "--house", "--token", chosen)
    assert again.told == "This token is in use already; choose another, or leave out --token to have one made"


def test_a_revoked_token_stays_in_the_list_and_is_nobody_s(acme, whose):
    credential, token = create(acme, "--org", "acme")
    [revoked] = acme.json("tokens", "revoke", credential["id"])
    assert revoked["revoke_time"]
    assert whose(token) is None
    assert acme.json("tokens", "list") == [revoked]
    assert "revoked 20" in acme("tokens", "list").out


def test_regenerating_shows_a_new_secret_of_the_same_credential(acme, whose):
    credential, old = create(acme, "--org", "acme")
    [made] = acme.json("tokens", "regenerate", credential["id"])
    assert made["credential"] == credential
    assert whose(old) is None
    assert whose(made["token"]).credential_id == credential["id"]


def test_lists_are_of_everybody_of_an_organization_or_of_the_house(acme):
    acme("orgs", "create", "other")
    ids = {
        who: create(acme, *option)[0]["id"]
        for who, option in {"acme": ("--org", "acme"), "other": ("--org", "other"), "house": ("--house",)}.items()
    }
    assert [each["id"] for each in acme.json("tokens", "list")] == list(ids.values())[::-1]
    assert [each["id"] for each in acme.json("tokens", "list", "--org", "other")] == [ids["other"]]
    assert [each["id"] for each in acme.json("tokens", "list", "--house")] == [ids["house"]]
    assert acme.json("keys", "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("create", "--api", "grpc", "--org", "nope"), 1, "There is no organization nope; `taskhouse orgs list`"),
        (("create", "--api", "grpc"), 2, "give either --org NAME or --house"),
        (("create", "--api", "grpc", "--org", "acme", "--house"), 2, "give either --org NAME or --house"),
        (("create", "--api", "grpc", "--house", "--access", "read"), 1, "--access: a token of the house has write"),
        (("create", "--api", "soap", "--house"), 2, "'soap' is not 'grpc'"),
        (("create", "--org", "acme"), 2, "Missing option '--api'"),
        (("create", "--api", "grpc", "--org", "acme", "--token", "short"), 1, "--token: must be 16 to 256"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "soon"), 2, "'soon' is not a length of time"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "9999d"), 1, "--expires: must be from 1 second"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "999999999d"), 1, "--expires: must be from"),
        (("list", "--org", "nope"), 1, "There is no organization nope"),
        (("revoke", "nope"), 1, "There is no credential nope; `taskhouse keys list` and `taskhouse tokens list`"),
        (("regenerate", "nope\udcff"), 1, "There is no credential nope"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(acme, arguments, code, told):
    done = acme("tokens", *arguments)
    assert done.code == code
    assert told in done.told
    assert acme.json("tokens", "list") == []


def test_a_revoked_token_is_not_regenerated(acme):
    credential, _ = create(acme, "--org", "acme")
    acme("tokens", "revoke", credential["id"])
    assert "ID: is revoked, for ever: create a new token" in acme("tokens", "regenerate", credential["id"]).told
