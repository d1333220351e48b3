"""`taskhouse tokens`."""

import hashlib
import re

import pytest

from server.cli.house import in_house
from server.core.caller import Role
from server.core.credentials import OWN_TOKEN, by_digest
from server.settings import load

ASAPI = ("create", "--api", "asapi", "--retrieval", "asstore")
RUDDER = ("create", "--api", "rudder")
NOTHING_MORE = {"retrieval": "TOKEN_RETRIEVAL_UNSPECIFIED", "allow": []}


@pytest.fixture
def whose(acme):
    """Who presents a token; None for nobody."""

    def found(token, api="grpc"):
        digest = hashlib.sha256(token.encode()).digest()
        good = in_house(load(data=acme.data), lambda store: store.read(by_digest, digest=digest, token=True, api=api))
        return good and good.caller

    return found


def create(taskhouse, *more):
    [made] = taskhouse.json("tokens", "create", "--api", "grpc", *more)
    return made["credential"], made["token"]


def listed(taskhouse, *more):
    """The tokens there are, but for those that came with their organizations."""
    return [each for each in taskhouse.json("tokens", "list", *more) if each["display_name"] != OWN_TOKEN]


def test_a_created_token_is_shown_once_and_calls(acme, whose):
    credential, token = create(acme, "--org", "acme", "--name", "ci", "--access", "read", "--expires", "90d")
    assert (credential["organization"], credential["display_name"]) == ("acme", "ci")
    assert credential["token"] == NOTHING_MORE | {"api": "TOKEN_API_GRPC", "access": "TOKEN_ACCESS_READ"}
    assert whose(token).role is Role.TOKEN_READ
    assert listed(acme) == [credential]
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


@pytest.mark.parametrize("access", ["read", "write", "admin"])
@pytest.mark.parametrize("owner", [("--org", "acme"), ("--house",)], ids=["organization", "house"])
def test_a_token_is_unknown_to_every_api_but_its_own(acme, whose, access, owner):
    [made] = acme.json("tokens", "create", "--api", "monarc", "--access", access, *owner)
    monarc = {"api": "TOKEN_API_MONARC", "access": f"TOKEN_ACCESS_{access.upper()}"}
    assert made["credential"]["token"] == NOTHING_MORE | monarc
    assert len(made["token"]) == 86
    assert whose(made["token"], "monarc").role is Role(f"monarc_{access}")
    assert whose(made["token"]) is None
    _, typed = create(acme, "--org", "acme")
    assert whose(typed, "monarc") is None
    assert f"monarc  {access}" in acme("tokens", "list").out


@pytest.mark.parametrize("retrieval", ["asstore", "aschannel"])
def test_a_token_of_asapi_has_a_retrieval_and_allowances_which_stay(acme, whose, retrieval):
    allow = ["icloud/fetch-data:data=sms,photos", "icloud/log-in"]
    options = ("--org", "acme", "--retrieval", retrieval, "--allow", allow[0], "--allow", allow[1])
    [made] = acme.json("tokens", "create", "--api", "asapi", *options)
    assert made["credential"]["token"] == {
        "api": "TOKEN_API_ASAPI",
        "access": "TOKEN_ACCESS_UNSPECIFIED",
        "retrieval": f"TOKEN_RETRIEVAL_{retrieval.upper()}",
        "allow": allow,
    }
    [renewed] = acme.json("tokens", "regenerate", made["credential"]["id"])
    assert renewed["credential"] == made["credential"]
    caller = whose(renewed["token"], "asapi")
    assert (caller.role, list(caller.allowed)) == (Role(f"asapi_{retrieval}"), allow)
    assert whose(renewed["token"]) is whose(made["token"], "asapi") is None
    assert f"asapi   {retrieval}" in acme("tokens", "list").out
    assert f"allow               {' '.join(allow)}" in acme("tokens", "regenerate", made["credential"]["id"]).out


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_token_of_rudder_has_a_name_and_32_letters_and_digits(acme, whose, access):
    asked = ("--org", "acme", "--api", "rudder", "--access", access, "--name", "Robot")
    [made] = acme.json("tokens", "create", *asked)
    assert re.fullmatch("[0-9A-Za-z]{32}", made["token"])
    caller = whose(made["token"], "rudder")
    assert (caller.role, caller.name) == (Role(f"rudder_{access}"), "Robot")
    assert whose(made["token"]) is whose(made["token"], "monarc") is None
    [renewed] = acme.json("tokens", "regenerate", made["credential"]["id"])
    assert re.fullmatch("[0-9A-Za-z]{32}", renewed["token"])
    assert whose(made["token"], "rudder") is None
    acme("tokens", "revoke", made["credential"]["id"])
    assert whose(renewed["token"], "rudder") is None


def test_a_regenerated_token_has_the_form_of_its_api(acme, whose):
    [own] = acme.json("tokens", "list")
    assert (own["organization"], own["display_name"]) == ("acme", OWN_TOKEN)
    [made] = acme.json("tokens", "regenerate", own["id"])
    assert len(made["token"]) == 86
    assert whose(made["token"], "monarc").credential_id == own["id"]


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
    assert listed(acme) == [revoked]
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
    assert [each["id"] for each in listed(acme)] == list(ids.values())[::-1]
    assert [each["id"] for each in listed(acme, "--org", "other")] == [ids["other"]]
    assert [each["id"] for each in listed(acme, "--house")] == [ids["house"]]
    assert acme.json("keys", "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("create", "--api", "grpc", "--org", "nope"), 1, "There is no organization nope; `taskhouse orgs list`"),
        (("create", "--api", "grpc"), 2, "give either --org NAME or --house"),
        (("create", "--api", "grpc", "--org", "acme", "--house"), 2, "give either --org NAME or --house"),
        (("create", "--api", "grpc", "--house", "--access", "read"), 1, "--access: a token of the house has write"),
        (("create", "--api", "soap", "--house"), 2, "'soap' is not one of 'grpc', 'monarc', 'asapi', 'rudder'"),
        (("create", "--org", "acme"), 2, "Missing option '--api'"),
        (("create", "--api", "grpc", "--org", "acme", "--token", "short"), 1, "--token: must be 16 to 256"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "soon"), 2, "'soon' is not a length of time"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "9999d"), 1, "--expires: must be from 1 second"),
        (("create", "--api", "grpc", "--org", "acme", "--expires", "999999999d"), 1, "--expires: must be from"),
        (("create", "--api", "asapi", "--org", "acme"), 1, "--retrieval: must be asstore or aschannel"),
        ((*ASAPI, "--org", "acme", "--access", "read"), 2, "tokens of asapi have no --access"),
        ((*ASAPI, "--house"), 2, "a token of asapi belongs to an organization: give --org NAME"),
        ((*ASAPI, "--org", "acme", "--allow", "icloud"), 1, "allow[0]: must be SERVICE/ACTION"),
        ((*ASAPI, "--org", "acme", "--allow", "a/b", "--allow", "a/b:c="), 1, "allow[1]: must be SERVICE/ACTION"),
        (("create", "--api", "grpc", "--org", "acme", "--retrieval", "asstore"), 2, "only tokens of asapi have"),
        (("create", "--api", "grpc", "--org", "acme", "--allow", "a/b"), 1, "--allow: only tokens of asapi have it"),
        ((*RUDDER, "--org", "acme"), 1, "--name: is required"),
        ((*RUDDER, "--org", "acme", "--name", "n", "--access", "admin"), 1, "--access: must be read or write"),
        ((*RUDDER, "--house", "--name", "n"), 1, "a token of rudder belongs to an organization"),
        (("list", "--org", "nope"), 1, "There is no organization nope"),
        (("revoke", "nope"), 1, "There is no credential nope; `taskhouse keys list` and `taskhouse tokens list`"),
        (("regenerate", "nope\udcff"), 1, "There is no credential nope"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(acme, arguments, code, told):
    done = acme("tokens", *arguments)
    assert done.code == code
    assert told in done.told
    assert listed(acme) == []


def test_a_revoked_token_is_not_regenerated(acme):
    credential, _ = create(acme, "--org", "acme")
    acme("tokens", "revoke", credential["id"])
    assert "ID: is revoked, for ever: create a new token" in acme("tokens", "regenerate", credential["id"]).told
