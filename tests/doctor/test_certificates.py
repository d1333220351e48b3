"""Certificates, as the doctor sees them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

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
