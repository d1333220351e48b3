"""The embedded authority: it signs the client certificates that are keys, and the edge's own certificate.

Who a caller is stands in the store, under the SHA-256 of the certificate; names inside certificates are for people.
"""

import fcntl
import hashlib
import os
import secrets
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.core.caller import Role

AUTHORITY_VALID = timedelta(days=25 * 365)
EDGE_VALID = timedelta(days=397)  # More is refused by some clients.
EDGE_RENEWAL = timedelta(days=30)
BACKDATE = timedelta(minutes=5)  # For clients whose clocks are behind.
KDF_ROUNDS = 100_000  # Of PKCS12; costs 16 ms, and 80 ms with `legacy`.
MAX_COMMON_NAME = 64  # Bytes; X.520's bound, as cryptography counts it.

_COMMON_NAMES = {Role.UPLOAD_ANY: "any_user:0", Role.ADMIN: "admin:1", Role.TASK_RUNNER: "task_runner:1"}


class AuthorityUnavailable(OSError):
    """The authority's files cannot be made, read or believed. The text is one line that says what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


class ServerFiles(NamedTuple):
    """Where the edge finds its certificate and key, both PEM."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new client certificate with its private key, which is nowhere else."""

    private_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    name: str  # what key stores show

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the certificate as DER, as Envoy's XFCC `Hash` has it."""
        return self.certificate.fingerprint(hashes.SHA256())

    @property
    def expire_time(self) -> int:
        """From when on the certificate is refused, in microseconds since 1970."""
        return int(self.certificate.not_valid_after_utc.timestamp()) * 1_000_000

    def pkcs12(self, password: str, *, legacy: bool = False) -> bytes:
        """Return key and certificate as a PKCS12 file: AES-256 and SHA-256, or 3DES and SHA-1 if `legacy`."""
        algorithm = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC if legacy else pkcs12.PBES.PBESv2SHA256AndAES256CBC
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(KDF_ROUNDS)
            .key_cert_algorithm(algorithm)
            .hmac_hash(hashes.SHA1() if legacy else hashes.SHA256())  # noqa: S303 - what old clients can read.
            .build(password.encode())
        )
        return pkcs12.serialize_key_and_certificates(
            self.name.encode(), self.private_key, self.certificate, None, encryption
        )

    def pem(self, password: str | None = None) -> bytes:
        """Return the key as PKCS8, encrypted if there is a password, followed by the certificate."""
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key = self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        return key + self.certificate.public_bytes(Encoding.PEM)


class Authority:
    """The authority of one house: DIR/ca.key, which only its owner may read, and DIR/ca.pem."""

    def __init__(self, *, folder: Path, private_key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._folder = folder
        self._private_key = private_key
        self.certificate = certificate

    @classmethod
    def open(cls, data: Path) -> "Authority":
        """Return the authority of the house in the folder `data`; the first call makes it, once for all processes.

        Raises AuthorityUnavailable.
        """
        with _telling(data):
            # The certificate is the last to appear, and neither file changes afterwards.
            if not (data / "ca.pem").exists():
                with _locked(data):
                    _create(data)
            return cls._load(data)

    @classmethod
    def _load(cls, data: Path) -> "Authority":
        if not (data / "ca.key").exists():
            raise AuthorityUnavailable(
                f"{data / 'ca.key'} is missing: restore it, or remove ca.pem to start anew without the old keys"
            )
        private_key = _load_key(data / "ca.key")
        certificate = _load_certificate(data / "ca.pem")
        if certificate.public_key() != private_key.public_key():
            raise AuthorityUnavailable(
                f"{data / 'ca.pem'} does not belong to {data / 'ca.key'}: restore both from one backup"
            )
        return cls(folder=data, private_key=private_key, certificate=certificate)

    @property
    def certificate_path(self) -> Path:
        """The authority's certificate, PEM: what clients trust, and what the edge verifies clients by."""
        return self._folder / "ca.pem"

    def issue_key(
        self,
        *,
        kind: Role,
        credential_id: str,
        organization: str,
        valid: timedelta,
        user_id: str = "",
        display_name: str = "",
    ) -> IssuedKey:
        """Return a new client certificate. `organization` is empty for the house; `user_id` is for upload_user.

        Takes a millisecond or two. The subject's CN is as the aircloak API documents it; the URI names the credential.
        """
        private_key = ec.generate_private_key(ec.SECP256R1())
        owner = f"/organizations/{quote(organization, safe='')}" if organization else "/house"
        uri = x509.UniformResourceIdentifier(f"taskhouse:{owner}/credentials/{credential_id}")
        certificate = self._sign(
            private_key.public_key(),
            common_name=_common_name(kind, credential_id=credential_id, user_id=user_id),
            names=[uri],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            valid=valid,
        )
        name = display_name or f"{organization or 'taskhouse'} {kind.value}"
        return IssuedKey(private_key=private_key, certificate=certificate, name=name)

    def server_certificate(self, hosts: Iterable[str] = ()) -> ServerFiles:
        """Return the edge's certificate, for this host's names and for `hosts` (names or addresses).

        A new one is signed when the names differ from those of the last, or when that ends within 30 days. The key
        stays, so the two files always fit together. Raises AuthorityUnavailable.
        """
        files = ServerFiles(self._folder / "edge.pem", self._folder / "edge.key")
        names = _server_names(hosts)
        with _telling(self._folder), _locked(self._folder):
            if not files.private_key.exists():
                _write(files.private_key, _plain_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
            public_key = _load_key(files.private_key).public_key()
            if not self._still_good(files.certificate, public_key, names):
                certificate = self._sign(
                    public_key,
                    common_name="taskhouse edge",
                    names=names,
                    usage=ExtendedKeyUsageOID.SERVER_AUTH,
                    valid=EDGE_VALID,
                )
                _write(files.certificate, certificate.public_bytes(Encoding.PEM), mode=0o644)
        return files

    def _still_good(self, path: Path, public_key: ec.EllipticCurvePublicKey, names: list[x509.GeneralName]) -> bool:
        if not path.exists():
            return False
        try:
            found = _load_certificate(path)
            found.verify_directly_issued_by(self.certificate)
            alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (AuthorityUnavailable, ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
            return False  # Whatever it is, it is replaced.
        lasting = found.not_valid_after_utc - datetime.now(UTC) > EDGE_RENEWAL
        return lasting and found.public_key() == public_key and list(alternatives) == names

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        *,
        common_name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        valid: timedelta,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer_key = self._private_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + valid, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .sign(self._private_key, hashes.SHA256())
        )


def _common_name(kind: Role, *, credential_id: str, user_id: str) -> str:
    if kind in _COMMON_NAMES:
        return _COMMON_NAMES[kind]
    if kind is Role.WEB_API:
        return f"analyst_token:{secrets.token_urlsafe(24)}"  # Random as documented; it opens nothing.
    if kind is Role.UPLOAD_USER:
        return f"user:{user_id}".encode()[:MAX_COMMON_NAME].decode(errors="ignore")
    return f"{kind.value}:{credential_id}"


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _server_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Return names and addresses to be reached under, each once. What can be no name in a certificate is left out."""
    names: dict[x509.GeneralName, None] = {}
    for host in filter(None, ("localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts)):
        try:
            address = ip_address(host)
        except ValueError:
            with suppress(UnicodeError):  # For example a label of over 63 characters.
                names[x509.DNSName(host.lower().encode("idna").decode())] = None
        else:
            if not address.is_unspecified:
                names[x509.IPAddress(address)] = None
    return list(names)


def _create(data: Path) -> None:
    """Make the key and the certificate, or what is missing of them; with the lock held."""
    if (data / "ca.pem").exists():
        return  # Another process was faster.
    if (data / "ca.key").exists():
        private_key = _load_key(
            data / "ca.key"
        )  # A start was cut short; or the certificate was lost, and is made again.
    else:
        private_key = ec.generate_private_key(ec.SECP256R1())
        _write(data / "ca.key", _plain_pem(private_key), mode=0o600)
    _write(data / "ca.pem", _self_signed(private_key).public_bytes(Encoding.PEM), mode=0o644)


def _self_signed(private_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    public_key = private_key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    # Named after its key: clients confuse authorities of one name, and one made again from its key must keep its name.
    name = _name(f"Taskhouse authority {hashlib.sha256(identifier.digest).hexdigest()[:12]}")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(private_key, hashes.SHA256())
    )


def _plain_pem(private_key: ec.EllipticCurvePrivateKey) -> bytes:
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        private_key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise AuthorityUnavailable(f"{path} is not a private key: restore it from a backup") from error
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise AuthorityUnavailable(f"{path} is not an EC private key: restore it from a backup")
    return private_key


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise AuthorityUnavailable(f"{path} is not a certificate: restore it from a backup") from error


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Put a whole file in place at once; it never has more than `mode`, nor less than its content."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # Certificates are for all to read, whatever the umask.
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from making the same files."""
    lock = os.open(folder / "ca.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turn a failure of the file system into AuthorityUnavailable."""
    try:
        yield
    except AuthorityUnavailable:
        raise
    except OSError as error:
        raise AuthorityUnavailable(
            f"cannot read or write the authority's files in {folder}: {error.strerror or error}; see its owner and mode"
        ) from error
