"""Certificates, as the doctor sees them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from server.doctor import certificates
from server.identity.authority import Authority


def resigned(data: Path, name: str, *, begin: timedelta, end: timedelta) -> None:
    """Replace a certificate of the house by one that is the same but for its period, given from now on."""
    authority = Authority.open(data)
    old = x509.load_pem_x509_certificate((data / name).read_bytes())
    builder = x509.CertificateBuilder(
        issuer_name=old.issuer,
        subject_name=old.subject,
        public_key=old.public_key(),
        serial_number=old.serial_number,
        not_valid_before=datetime.now(UTC) + begin,
        not_valid_after=datetime.now(UTC) + end,
        extensions=list(old.extensions),
    )
    new = builder.sign(authority._private_key, hashes.SHA256())
    (data / name).write_bytes(new.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("name", ["ca.pem", "edge.pem"])
@pytest.mark.parametrize(
    ("begin", "end", "check", "told"),
    [
        (-400, 10, "certificates", "ends on"),
        (-400, -1, "certificates", "ended on"),
        (1, 400, "clock", "this clock is behind"),
    ],
)
def test_certificates_that_end_or_have_not_begun_are_told(doctor, name, begin, end, check, told):
    resigned(doctor.data, name, begin=timedelta(days=begin), end=timedelta(days=end))
    line = doctor.wrong(check)
    assert told in line
    assert name in line


def test_an_authority_that_has_lost_its_key_is_told(doctor):
    (doctor.data / "ca.key").unlink()
    assert "ca.key is missing" in doctor.wrong("certificates")


def test_an_edge_certificate_that_is_none_is_told(doctor):
    (doctor.data / "edge.pem").write_text("nonsense")
    assert "edge.pem cannot be read as a certificate" in doctor.wrong("certificates")


@pytest.fixture
def bought(doctor, tmp_path) -> Path:
    """The folder of a pair that the house is told to show, in place of its own."""
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("edge.pem", "edge.key"):
        (folder / name).write_bytes((doctor.data / name).read_bytes())
        (folder / name).chmod(0o600)
    config = f'https_certificate = "{folder}/edge.pem"\nhttps_key = "{folder}/edge.key"\n'
    (doctor.data / "config.toml").write_text(config)
    doctor.well()
    return folder


@pytest.mark.parametrize("before_first_start", [False, True])
def test_a_pair_that_was_bought_and_cannot_be_shown_is_told_without_advice_to_remove_it(
    doctor, bought, before_first_start, tmp_path
):
    settings = (doctor.data / "config.toml").read_bytes()
    if before_first_start:
        doctor.data = tmp_path / "new"
        doctor.data.mkdir(mode=0o700)
        (doctor.data / "config.toml").write_bytes(settings)
    certificate = (bought / "edge.pem").read_bytes()

    def told() -> str:
        line = doctor.wrong("certificates")
        assert "rm " not in line
        assert "https_certificate and https_key" in line
        return line

    (bought / "edge.pem").write_text("nonsense")
    assert "must be a certificate and a private key" in told()
    (bought / "edge.pem").write_bytes(certificate)
    (tmp_path / "other").mkdir()
    other = Authority.open(tmp_path / "other").server_certificate()
    (bought / "edge.key").write_bytes(other.private_key.read_bytes())
    assert f"{bought}/edge.key is not the key of {bought}/edge.pem" in told()
    (bought / "edge.key").unlink()
    assert f"cannot read {bought}/edge.key: No such file" in told()


def test_a_bought_pair_that_ends_is_told(doctor, bought):
    resigned(doctor.data, "edge.pem", begin=timedelta(days=-400), end=timedelta(days=10))
    (bought / "edge.pem").write_bytes((doctor.data / "edge.pem").read_bytes())
    line = doctor.wrong("certificates")
    assert "ends on" in line
    assert "get another one" in line


def test_a_bought_key_that_others_may_read_or_replace_is_told(doctor, bought, monkeypatch):
    key = bought / "edge.key"
    key.chmod(0o644)
    assert f"{key} is open to other users (mode 644)" in doctor.wrong("certificates")
    key.chmod(0o640)  # As tools of ACME share it with a group.
    doctor.well()
    monkeypatch.setattr(certificates.os, "geteuid", lambda: 12345)  # Only root could give files away.
    _, _, text = doctor.says()
    belongs = f"{key} belongs to another user"
    assert (belongs in text) is (key.stat().st_uid != 0)
