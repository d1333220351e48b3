"""The embedded authority: what it issues opens, verifies and stays secret."""

import hashlib
import os
import ssl
import stat
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.core.caller import Role
from server.identity.authority import Authority, AuthorityUnavailable, IssuedKey

PASSWORD = "pass wörd"


def issue(authority: Authority, kind: Role = Role.WEB_API, **more) -> IssuedKey:
    given = {"credential_id": "0198-id", "organization": "Acmé/GmbH", "valid": timedelta(days=825), **more}
    return authority.issue_key(kind=kind, **given)


def handshake(authority: Authority, server: Path, client: Path) -> None:
    """Have OpenSSL, as Python carries it, shake hands with both sides verified. Raises ssl.SSLError."""
    trust = str(authority.certificate_path)
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trust)
    accepting.verify_mode = ssl.CERT_REQUIRED
    accepting.verify_flags |= ssl.VERIFY_X509_STRICT
    accepting.load_cert_chain(server)
    calling = ssl.create_default_context(cafile=trust)
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    calling.load_cert_chain(client)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        calling.wrap_bio(back, there, server_hostname="localhost"),
        accepting.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert all(side.getpeercert() for side in sides)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened_fingerprint(folder: str) -> bytes:
    return Authority.open(Path(folder)).certificate.fingerprint(hashes.SHA256())


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority.open(tmp_path)


def test_opening_twice_gives_the_same_authority(authority, tmp_path):
    again = Authority.open(tmp_path)
    assert again.certificate == authority.certificate
    assert again.certificate_path == tmp_path / "ca.pem"


def test_processes_that_open_at_once_agree_on_one_authority(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(opened_fingerprint, [str(tmp_path)] * 8))
    assert found == {opened_fingerprint(str(tmp_path))}


def test_key_files_are_for_their_owner_from_the_first_moment(tmp_path, monkeypatch):
    opened = []
    real = os.open

    def watching(path, flags, mode=0o777, **more):
        opened.append((Path(path).name, mode))
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watching)
    Authority.open(tmp_path).server_certificate()
    assert mode_of(tmp_path / "ca.key") == mode_of(tmp_path / "edge.key") == 0o600
    keys = [mode for name, mode in opened if ".key" in name]
    assert keys == [0o600, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.lock", "ca.pem", "edge.key", "edge.pem"]


def test_the_authority_signs_clients_and_nothing_else(authority):
    extensions = authority.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Role.UPLOAD_ANY, "any_user:0"),
        (Role.UPLOAD_USER, "user:u 7;Hash=x"),
        (Role.ADMIN, "admin:1"),
        (Role.TASK_RUNNER, "task_runner:1"),
        (Role.WORKER, "worker:0198-id"),
        (Role.OPERATOR, "operator:0198-id"),
    ],
)
def test_a_key_has_the_documented_common_name(authority, kind, name):
    issued = issue(authority, kind, user_id="u 7;Hash=x" if kind is Role.UPLOAD_USER else "")
    [found] = issued.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert found.value == name


def test_a_web_api_key_is_named_after_a_random_token(authority):
    names = {issue(authority).certificate.subject.rfc4514_string() for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("CN=analyst_token:") for name in names)


def test_a_user_s_name_that_is_longer_than_a_common_name_is_cut(authority):
    issued = issue(authority, Role.UPLOAD_USER, user_id="ü" * 200)
    [found] = issued.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert found.value == "user:" + "ü" * 29


def test_a_key_names_its_credential_in_a_uri(authority):
    for organization, owner in (("Acmé/GmbH", "/organizations/Acm%C3%A9%2FGmbH"), ("", "/house")):
        issued = issue(authority, organization=organization)
        names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"taskhouse:{owner}/credentials/0198-id"]


def test_a_key_is_a_client_s_certificate_and_no_more(authority):
    certificate = issue(authority).certificate
    certificate.verify_directly_issued_by(authority.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number.bit_length() > 100


def test_a_key_is_good_from_a_little_before_now_until_its_end(authority):
    issued = issue(authority, valid=timedelta(days=90))
    now = datetime.now(UTC)
    assert timedelta(0) < now - issued.certificate.not_valid_before_utc < timedelta(minutes=6)
    left = issued.certificate.not_valid_after_utc - now
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    assert issued.expire_time == issued.certificate.not_valid_after_utc.timestamp() * 1_000_000


def test_no_key_outlives_its_authority(authority):
    issued = issue(authority, valid=timedelta(days=40_000))
    assert issued.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize("legacy", [False, True])
def test_pkcs12_opens_with_its_password_and_no_other(authority, legacy):
    issued = issue(authority, display_name="Analyst Ünal")
    bundle = issued.pkcs12(PASSWORD, legacy=legacy)
    opened = pkcs12.load_pkcs12(bundle, PASSWORD.encode())
    assert opened.cert.certificate == issued.certificate
    assert opened.cert.friendly_name.decode() == "Analyst Ünal"
    assert opened.key.private_numbers() == issued.private_key.private_numbers()
    assert opened.additional_certs == []
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(bundle, b"wrong")


PBES2, AES_256_CBC, HMAC_SHA256 = "2a864886f70d01050d", "60864801650304012a", "2a864886f70d0209"
SHA256, SHA1, TRIPLE_DES = "608648016503040201", "2b0e03021a", "2a864886f70d010c0103"


@pytest.mark.parametrize(
    ("legacy", "there", "absent"),
    [(False, [PBES2, AES_256_CBC, HMAC_SHA256, SHA256], [TRIPLE_DES, SHA1]), (True, [TRIPLE_DES, SHA1], [PBES2])],
)
def test_pkcs12_is_encrypted_as_its_profile_says(authority, legacy, there, absent):
    bundle = issue(authority).pkcs12(PASSWORD, legacy=legacy).hex()
    assert [name for name in there if name not in bundle] == []
    assert [name for name in absent if name in bundle] == []


def test_pem_holds_a_pkcs8_key_and_its_certificate(authority):
    issued = issue(authority)
    assert load_pem_private_key(issued.pem(), None).private_numbers() == issued.private_key.private_numbers()
    assert x509.load_pem_x509_certificate(issued.pem()) == issued.certificate
    assert b"BEGIN PRIVATE KEY" in issued.pem()


def test_pem_is_encrypted_if_there_is_a_password(authority):
    issued = issue(authority)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in issued.pem("secret")
    opened = load_pem_private_key(issued.pem("secret"), b"secret")
    assert opened.private_numbers() == issued.private_key.private_numbers()


def test_the_digest_is_that_of_the_whole_certificate(authority):
    issued = issue(authority)
    body = ssl.PEM_cert_to_DER_cert(issued.pem().decode()[issued.pem().index(b"-----BEGIN CERTIFICATE") :])
    assert hashlib.sha256(body).digest() == issued.digest


def test_a_key_is_good_for_a_client_and_not_for_a_server(authority, tmp_path):
    leaf, edge = tmp_path / "leaf.pem", tmp_path / "edge.pem"
    leaf.write_bytes(issue(authority).pem())
    files = authority.server_certificate()
    edge.write_bytes(files.private_key.read_bytes() + files.certificate.read_bytes())
    handshake(authority, server=edge, client=leaf)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, server=leaf, client=leaf)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, server=edge, client=edge)


def test_the_edge_s_certificate_is_for_this_host_and_the_named_ones(authority):
    files = authority.server_certificate(["house.example", "10.1.2.3", "0.0.0.0", "localhost", "Bücher.example"])  # noqa: S104
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.DNSName)
    assert {"localhost", "house.example", "xn--bcher-kva.example"} <= set(found)
    assert len(found) == len(set(found))
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.1.2.3"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    key = load_pem_private_key(files.private_key.read_bytes(), None)
    assert key.public_key() == certificate.public_key()


def test_the_edge_s_certificate_is_kept_until_names_change_or_its_end_is_near(authority, monkeypatch):
    files = authority.server_certificate(["a.example"])
    first = files.certificate.read_bytes()
    assert authority.server_certificate(["a.example"]).certificate.read_bytes() == first
    second = authority.server_certificate(["b.example"]).certificate.read_bytes()
    assert second != first
    monkeypatch.setattr("server.identity.authority.EDGE_RENEWAL", timedelta(days=398))
    assert authority.server_certificate(["b.example"]).certificate.read_bytes() != second


def test_an_edge_certificate_that_cannot_be_read_is_replaced(authority):
    files = authority.server_certificate()
    files.certificate.write_text("nonsense")
    authority.server_certificate()
    x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_a_start_that_was_cut_short_is_finished_with_the_same_key(authority, tmp_path):
    issued = issue(authority)
    (tmp_path / "ca.pem").unlink()
    again = Authority.open(tmp_path)
    assert again.certificate.subject == authority.certificate.subject
    issued.certificate.verify_directly_issued_by(again.certificate)


def test_a_lost_key_is_told_and_not_replaced(authority, tmp_path):
    (tmp_path / "ca.key").unlink()
    with pytest.raises(AuthorityUnavailable, match=r"ca\.key is missing: restore it"):
        Authority.open(tmp_path)
    assert not (tmp_path / "ca.key").exists()


def test_files_that_do_not_belong_together_are_told(authority, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Authority.open(other)
    (other / "ca.pem").replace(tmp_path / "ca.pem")
    with pytest.raises(AuthorityUnavailable, match="does not belong to"):
        Authority.open(tmp_path)


def test_a_damaged_key_is_told_in_one_line(authority, tmp_path):
    (tmp_path / "ca.key").write_text("nonsense")
    with pytest.raises(AuthorityUnavailable, match="is not a private key") as raised:
        Authority.open(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(AuthorityUnavailable, match="cannot read or write the authority's files") as raised:
            Authority.open(folder)
        assert "\n" not in str(raised.value)
        assert isinstance(raised.value, OSError)
