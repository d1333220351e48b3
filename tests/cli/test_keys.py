"""`taskhouse keys`."""

import stat

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from server.cli.house import in_house
from server.core import credentials
from server.core.caller import Role
from server.core.credentials import by_digest
from server.settings import load
from server.store.engine import StoreUnavailable


@pytest.fixture
def whose(acme):
    """Who presents a certificate; None for nobody."""

    def found(certificate):
        digest = certificate.fingerprint(hashes.SHA256())
        good = in_house(load(data=acme.data), lambda store: store.read(by_digest, digest=digest, token=False))
        return good and good.caller

    return found


def issue(taskhouse, out, *more):
    [made] = taskhouse.json("keys", "issue", "--out", str(out), *more)
    return made


def opened(path, password):
    return pkcs12.load_pkcs12(path.read_bytes(), password.encode()).cert.certificate


@pytest.mark.parametrize("ending", ["pfx", "p12", "PFX"])
def test_pkcs12_opens_with_the_password_that_was_shown(acme, whose, tmp_path, ending):
    out = tmp_path / f"web.{ending}"
    made = issue(acme, out, "--org", "acme", "--kind", "web_api", "--name", "Ada")
    assert made["file"] == str(out)
    assert made["credential"]["key"] == {"kind": "KEY_KIND_WEB_API", "user": ""}
    caller = whose(opened(out, made["password"]))
    assert (caller.credential_id, caller.role, caller.organization) == (made["credential"]["id"], Role.WEB_API, "acme")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.parametrize("legacy", [(), ("--legacy",)])
def test_pkcs12_opens_with_the_password_of_a_file(acme, whose, tmp_path, legacy):
    out, password = tmp_path / "web.pfx", tmp_path / "password"
    password.write_bytes(b"my_password\r\nmore\n")
    made = issue(acme, out, "--org", "acme", "--kind", "web_api", "--password-file", str(password), *legacy)
    assert "password" not in made
    assert whose(opened(out, "my_password")).credential_id == made["credential"]["id"]


def test_pem_holds_key_and_certificate(acme, whose, tmp_path):
    out = tmp_path / "worker.pem"
    made = issue(acme, out, "--house", "--kind", "worker")
    assert "password" not in made
    certificate = load_pem_x509_certificate(out.read_bytes())
    assert load_pem_private_key(out.read_bytes(), None).public_key() == certificate.public_key()
    assert whose(certificate).role is Role.WORKER
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_pem_is_encrypted_with_the_password_of_a_file(acme, tmp_path):
    out, password = tmp_path / "web.pem", tmp_path / "password"
    password.write_text("my_password")
    issue(acme, out, "--org", "acme", "--kind", "web_api", "--password-file", str(password))
    assert load_pem_private_key(out.read_bytes(), b"my_password")


def test_people_see_the_generated_password_once(acme, tmp_path):
    out = tmp_path / "user.pfx"
    text = acme("keys", "issue", "--org", "acme", "--kind", "upload_user", "--user", "u 7", "--out", str(out)).out
    facts = dict(line.split("  ", 1) for line in text.splitlines())
    assert facts["user"].strip() == "u 7"
    assert opened(out, facts["password (shown once)"].strip())


def test_a_revoked_key_stays_in_the_list_and_is_nobody_s(acme, whose, tmp_path):
    out = tmp_path / "web.pem"
    made = issue(acme, out, "--org", "acme", "--kind", "web_api")
    certificate = load_pem_x509_certificate(out.read_bytes())
    assert whose(certificate)
    [revoked] = acme.json("keys", "revoke", made["credential"]["id"])
    assert whose(certificate) is None
    assert acme.json("keys", "list", "--org", "acme") == [revoked]
    assert acme.json("keys", "list", "--house") == []
    assert "revoked 20" in acme("keys", "list").out


def test_a_key_is_not_a_token_to_the_command_line_either(acme, tmp_path):
    made = issue(acme, tmp_path / "a.pem", "--org", "acme", "--kind", "web_api")
    for verb in ("revoke", "regenerate"):
        assert "There is no credential" in acme("tokens", verb, made["credential"]["id"]).told


def test_a_file_that_is_there_is_not_written_over(acme, tmp_path):
    out = tmp_path / "web.pem"
    out.write_text("precious")
    told = acme("keys", "issue", "--org", "acme", "--kind", "web_api", "--out", str(out)).told
    assert told == f"{out} exists: remove it, or give another --out"
    assert out.read_text() == "precious"
    assert acme.json("keys", "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--org", "nope", "--kind", "admin", "--out", "k.pem"), 1, "There is no organization nope"),
        (("--org", "no\udcffpe", "--kind", "admin", "--out", "k.pem"), 1, "There is no organization"),
        (("--org", "acme", "--kind", "nope", "--out", "k.pem"), 2, "'nope' is not one of 'admin', 'operator'"),
        (("--org", "acme", "--kind", "worker", "--out", "k.pem"), 1, "--kind: worker and operator belong to the house"),
        (("--house", "--kind", "admin", "--out", "k.pem"), 1, "--kind: worker and operator belong to the house"),
        (("--kind", "admin", "--out", "k.pem"), 2, "give either --org NAME or --house"),
        (
            ("--org", "acme", "--kind", "admin", "--out", "k.txt"),
            2,
            "--out must end in .pfx or .p12 (PKCS12), or in .pem",
        ),
        (("--org", "acme", "--kind", "admin", "--out", "k.pem", "--legacy"), 2, "--legacy is for PKCS12"),
        (("--org", "acme", "--kind", "admin", "--out", "none/k.pem"), 1, "none/k.pem: No such file or directory"),
        (
            ("--org", "acme", "--kind", "admin", "--out", "k.pem", "--user", "u"),
            1,
            "--user: only a key of kind upload_user",
        ),
        (("--org", "acme", "--kind", "upload_user", "--out", "k.pem"), 1, "--user: must be 1 to 255 characters"),
        (("--org", "acme", "--kind", "admin", "--out", "k.pem", "--expires", "4000d"), 1, "--expires: must be from"),
        (("--org", "acme", "--kind", "admin", "--out", "k.pfx", "--password-file", "none"), 1, "none: No such file"),
        (
            ("--org", "acme", "--kind", "admin", "--out", "k.pfx", "--password-file", "short"),
            1,
            "--password-file: must be 4",
        ),
        (("--org", "acme", "--kind", "admin", "--out", "k.pfx", "--password-file", "latin"), 1, "is not UTF-8"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_leaves_nothing(acme, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("abc\ndefgh")
    (tmp_path / "latin").write_bytes(b"p\xe4ssword")
    done = acme("keys", "issue", *arguments)
    assert done.code == code
    assert told in done.told
    assert not [path for path in tmp_path.iterdir() if path.name.lstrip(".").startswith("k.")]
    assert acme.json("keys", "list") == []


def test_a_store_that_fails_leaves_no_file(acme, tmp_path, monkeypatch):
    async def failing(tx, **asked):
        raise StoreUnavailable("database or disk is full") from OSError(28, "No space left on device")

    monkeypatch.setattr(credentials, "create_key", failing)
    out = tmp_path / "keys" / "web.pem"
    out.parent.mkdir()
    told = acme("keys", "issue", "--org", "acme", "--kind", "web_api", "--out", str(out)).told
    assert told == "database or disk is full; see that the data folder can be written and that its disk has room"
    assert list(out.parent.iterdir()) == []


def test_a_file_that_cannot_be_named_leaves_no_good_credential(acme, tmp_path, monkeypatch):
    registered = credentials.create_key
    out = tmp_path / "keys" / "web.pem"
    out.parent.mkdir()

    async def and_then_the_name_is_a_folder_s(tx, **asked):
        made = await registered(tx, **asked)
        out.unlink()
        (out / "in the way").mkdir(parents=True)
        return made

    monkeypatch.setattr(credentials, "create_key", and_then_the_name_is_a_folder_s)
    done = acme("keys", "issue", "--org", "acme", "--kind", "web_api", "--out", str(out))
    assert done.code == 1
    assert "Is a directory" in done.told
    [left] = acme.json("keys", "list")
    assert left["revoke_time"]
