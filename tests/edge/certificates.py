"""Certificates for tests: an authority, and what it or a stranger signs."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    certificate: Path
    private_key: Path
    sha256: str  # of the certificate, as Envoy reports it in `Hash`

    @property
    def pair(self) -> tuple[str, str]:
        return str(self.certificate), str(self.private_key)


class Authority:
    """Signs certificates into `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        built = (
            _builder(subject=self._name, issuer=self._name, key=self._key, age_days=0)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))

    def server(self) -> Issued:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self._issue("server", names, ExtendedKeyUsageOID.SERVER_AUTH, age_days=0)

    def client(self, name: str, *, age_days: int = 0) -> Issued:
        """Sign a certificate for a client. It is good for two days, so that an age of three is past its end."""
        uri = x509.UniformResourceIdentifier(f"taskhouse://key/{name}")
        return self._issue(name, [uri], ExtendedKeyUsageOID.CLIENT_AUTH, age_days=age_days)

    def _issue(
        self, name: str, names: list[x509.GeneralName], usage: x509.ObjectIdentifier, *, age_days: int
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        built = (
            _builder(subject=_named(name), issuer=self._name, key=key, age_days=age_days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        issued = Issued(
            self._folder / f"{name}.cert.pem",
            self._folder / f"{name}.key.pem",
            built.fingerprint(hashes.SHA256()).hex(),
        )
        issued.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        issued.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return issued


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    *, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, age_days: int
) -> x509.CertificateBuilder:
    start = datetime.datetime.now(datetime.UTC) - age_days * DAY - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + 2 * DAY)
    )
