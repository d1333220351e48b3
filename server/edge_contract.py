"""What the edge reads from the contract's descriptors, so that a new rpc needs no change here or in envoy/."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from server.rpc.paths import fields_of, template_of

TYPED_PACKAGE = "taskhouse.v1"
REST_PACKAGE = "taskhouse.rest.v1"
HEALTH = "/grpc.health.v1.Health/"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Services are full names, gRPC paths /SERVICE/METHOD; the other paths are regular expressions (RE2)."""

    typed_services: tuple[str, ...]  # those that are also JSON under /v1/
    rest_services: tuple[str, ...]
    typed_ignored: tuple[str, ...]  # query parameters that would override a field of the path
    rest_ignored: tuple[str, ...]
    typed_paths: Mapping[str, tuple[str, ...]]  # each with the HTTP methods that it has
    prefixes: tuple[str, ...]
    streams: tuple[str, ...]  # to which clients send many messages
    watches: tuple[str, ...]  # to which they send one, and many come back
    rest_streams: tuple[str, ...]  # documented paths whose answers are streams


@dataclass(frozen=True)
class _Method:
    service: str
    name: str
    sends_many: bool
    answers_many: bool
    rules: tuple[http_pb2.HttpRule, ...]
    fields: dict[str, str]  # of the request message, with their JSON names

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def read_contract(descriptors: Path) -> Contract:
    """Read which services are transcoded, which calls stream, what paths there are and which parameters to ignore."""
    methods = list(_methods(descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())))
    typed = [method for method in methods if method.rules and method.service.startswith(f"{TYPED_PACKAGE}.")]
    rest = [method for method in methods if method.rules and method.service.startswith(f"{REST_PACKAGE}.")]
    watches = [method for method in methods if method.answers_many and not method.sends_many]
    return Contract(
        typed_services=_unique(method.service for method in typed),
        rest_services=_unique(method.service for method in rest),
        typed_ignored=_path_fields(typed),
        rest_ignored=_path_fields(rest),
        typed_paths=_http_methods(typed),
        prefixes=(*_unique(f"/{method.service}/" for method in methods), HEALTH),
        streams=tuple(method.path for method in methods if method.sends_many),
        watches=tuple(method.path for method in watches),
        rest_streams=tuple(_http_methods([method for method in rest if method.answers_many])),
    )


def _methods(files: descriptor_pb2.FileDescriptorSet) -> Iterator[_Method]:
    messages = {f".{file.package}.{message.name}": message for file in files.file for message in file.message_type}
    for file in files.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                yield _Method(
                    service=f"{file.package}.{service.name}",
                    name=method.name,
                    sends_many=method.client_streaming,
                    answers_many=method.server_streaming,
                    rules=(rule, *rule.additional_bindings) if rule.WhichOneof("pattern") else (),
                    fields={each.name: each.json_name for each in messages[method.input_type].field},
                )


def _http_methods(methods: list[_Method]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for rule in (rule for method in methods for rule in method.rules):
        regex = re.sub(r"\\\{[^/]+?\\\}", "[^/:]+", re.escape(template_of(rule))) + "/?"
        found.setdefault(regex, set()).add(str(rule.WhichOneof("pattern")).upper())
    return {regex: tuple(sorted(names)) for regex, names in found.items()}


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


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
