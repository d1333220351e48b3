import dataclasses
import stat
import sys
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from server import edge as edges
from server.edge_contract import read_contract

CONTRACT = read_contract(edges.find_descriptors())


def test_envoy_accepts_what_is_rendered(config, tmp_path):
    changed = dataclasses.replace(config, folder=tmp_path)
    edges.write(changed)
    edges.validate(changed)


def test_the_plain_listener_can_be_left_out(config, tmp_path):
    changed = dataclasses.replace(config, folder=tmp_path, http=None)
    edges.write(changed)
    edges.validate(changed)
    assert "name: http\n" not in edges.render(changed)


def test_a_configuration_that_envoy_refuses_is_an_error_with_its_reason(config, tmp_path):
    changed = dataclasses.replace(config, folder=tmp_path, authority=tmp_path / "none.pem")
    edges.write(changed)
    with pytest.raises(edges.ConfigurationRefused, match=r"none\.pem"):
        edges.validate(changed)


def test_a_certificate_that_cannot_be_shown_is_refused_in_one_line(config, authority, tmp_path):
    folder = tmp_path / "issued"
    folder.mkdir()
    other, text = authority.client("other"), tmp_path / "text.pem"
    text.write_text("no certificate")
    expired = authority.client("old", age_days=3)
    for changes, told in (
        ({"certificate": tmp_path / "none.pem"}, r"cannot read .*none\.pem: No such file or directory"),
        ({"private_key": tmp_path / "none.pem"}, r"cannot read .*none\.pem: No such file or directory"),
        ({"certificate": text}, r".*text\.pem and .* must be a certificate and a private key .*"),
        ({"private_key": other.private_key}, r".*other\.key\.pem is not the key of .*"),
        ({"certificate": expired.certificate, "private_key": expired.private_key}, r".*old\.cert\.pem expired on .*"),
    ):
        with pytest.raises(edges.ConfigurationRefused, match=f"^{told}$"):
            edges.write(dataclasses.replace(config, folder=tmp_path, **changes))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("x  version: 9e55/1.39.9/Clean/RELEASE/BoringSSL", r"Envoy 1\.39\.9 is too old"),
        ("something else", "Envoy of an unknown version is too old"),
    ],
)
def test_an_envoy_under_the_floor_is_refused_in_one_line(config, monkeypatch, tmp_path, answer, told):
    binary = tmp_path / "envoy"
    binary.write_text(f"#!/bin/sh\necho '{answer}'\n")
    binary.chmod(0o755)
    monkeypatch.setattr(edges, "_binary", lambda: binary)
    with pytest.raises(edges.EnvoyTooOld, match=rf"^{told}: install 1\.40\.0 or newer with .*$"):
        edges.command(config)


def test_only_the_owner_reads_the_configuration(config, tmp_path):
    changed = dataclasses.replace(config, folder=tmp_path)
    edges.write(changed).chmod(0o644)
    assert stat.S_IMODE(edges.write(changed).stat().st_mode) == 0o600


def test_paths_may_hold_any_character(config, tmp_path):
    folder = tmp_path / 'it\'s "odd": {{ ümlaut }} %d'
    folder.mkdir()
    certificate = folder / "server.pem"
    certificate.write_bytes(config.certificate.read_bytes())
    changed = dataclasses.replace(config, folder=folder, certificate=certificate)
    edges.write(changed)
    edges.validate(changed)


def test_a_missing_envoy_is_one_line_that_says_what_to_do(config, monkeypatch):
    monkeypatch.setattr(edges, "find_spec", lambda name: None)
    with pytest.raises(edges.EnvoyMissing, match=r"^Envoy is missing: install it .*$"):
        edges.command(config)


def test_a_folder_named_envoy_is_not_taken_for_the_package(config, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(edges.__file__).parents[1])])
    monkeypatch.delitem(sys.modules, "envoy", raising=False)
    with pytest.raises(edges.EnvoyMissing):
        edges.command(config)


def test_every_typed_service_with_a_path_is_transcoded():
    for name in ("CredentialService", "DatasetService", "OrganizationService", "ResultService", "TaskService"):
        assert f"taskhouse.v1.{name}" in CONTRACT.typed_services
    assert "taskhouse.v1.WorkService" not in CONTRACT.typed_services
    assert {"taskhouse.rest.v1.AircloakService", "taskhouse.rest.v1.HealthService"} <= set(CONTRACT.rest_services)


def test_every_stream_is_routed_as_one():
    assert "/taskhouse.v1.WorkService/Work" in CONTRACT.streams
    assert not set(CONTRACT.streams) & set(CONTRACT.watches)


def test_no_typed_stream_has_a_json_path_and_the_documented_ones_are_routed_as_streams():
    files = descriptor_pb2.FileDescriptorSet.FromString(edges.find_descriptors().read_bytes()).file
    documented = []
    methods = [(one.package, method) for one in files for service in one.service for method in service.method]
    for package, method in methods:
        if method.client_streaming or method.server_streaming:
            path = method.options.Extensions[annotations_pb2.http].get
            assert not path or package == "taskhouse.rest.v1"
            documented += [path] if path else []
    assert documented == ["/fetch/{task_id}", "/stream"]
    assert CONTRACT.rest_streams == ("/fetch/[^/:]+/?", "/stream/?")


def test_typed_paths_have_their_methods():
    assert CONTRACT.typed_paths["/v1/tasks/?"] == ("GET", "POST")
    assert CONTRACT.typed_paths["/v1/tasks/[^/:]+:cancel/?"] == ("POST",)


def test_a_path_field_is_ignored_as_a_parameter_unless_another_call_takes_it():
    assert {"task_id", "taskId"} <= set(CONTRACT.typed_ignored) & set(CONTRACT.rest_ignored)
    assert "organization" not in CONTRACT.typed_ignored  # ListCredentials takes it


def test_upload_paths_are_in_the_contract():
    files = descriptor_pb2.FileDescriptorSet.FromString(edges.find_descriptors().read_bytes()).file
    methods = (method for file in files for service in file.service for method in service.method)
    posts = {method.options.Extensions[annotations_pb2.http].post for method in methods}
    assert set(edges.UPLOADS) <= posts


def test_a_host_may_be_a_name(config):
    text = edges.render(dataclasses.replace(config, https=("localhost", 0), http=None))
    assert '"127.0.0.1"' in text or '"::1"' in text


def test_a_host_without_an_address_is_one_line(config):
    with pytest.raises(edges.ConfigurationRefused, match=r"^cannot listen on no such host: .*$"):
        edges.render(dataclasses.replace(config, https=("no such host", 0)))


def test_an_edge_starts_without_a_complaint(edge):
    assert "warning" not in edge.log.read_text()
    assert "critical" not in edge.log.read_text()


def test_the_admin_page_is_the_owner_s(edge):
    assert stat.S_IMODE(edge.config.admin_socket.stat().st_mode) == 0o600
