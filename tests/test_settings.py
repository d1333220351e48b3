"""How the settings are read, and what is told of wrong ones."""

import re
from datetime import date

import pytest

from server.settings import BadSettings, load, split_address

ADDRESS = "must be HOST:PORT with a port from 1 to 65535, for example 127.0.0.1:8080 or [::1]:8080"


@pytest.mark.parametrize(
    ("address", "split"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:8443", ("::1", 8443)),
        ("[fe80::1%eth0]:8443", ("fe80::1%eth0", 8443)),
    ],
)
def test_addresses_are_told_as_they_are_written(tmp_path, address, split):
    settings = load(data=tmp_path, https=address)
    assert settings.https == address
    assert split_address(settings.https) == split


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "taskhouse.example:8080"])
def test_a_plain_listener_for_other_machines_is_refused(tmp_path, address):
    with pytest.raises(BadSettings, match=rf"^http: must be a loopback address or off, not {re.escape(address)}: "):
        load(data=tmp_path, http=address)
    for loopback in ("127.0.0.1:8080", "[::1]:8080", "localhost:8080"):
        assert load(data=tmp_path, http=loopback).http == loopback


@pytest.mark.parametrize(
    "address", ["", "8080", "host", ":8080", "::1:8080", "[::1]", "[::1:8080", "h:0", "h:65536", "h:-1", "a b:1"]
)
def test_what_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(BadSettings) as refused:
        load(data=tmp_path, https=address)
    assert str(refused.value) == f"https: {ADDRESS}"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("processes", "0", "must be at least 1"),
        ("processes", "65", "must be at most 64"),
        ("processes", "some", "must be a whole number"),
        ("processes", "1.5", "must be a whole number"),
        ("drain_seconds", "long", "must be a number"),
        ("drain_seconds", "601", "must be at most 600"),
        ("reflection", "maybe", "must be true or false"),
        ("log_level", "LOUD", "must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(tmp_path, name, value, told):
    with pytest.raises(BadSettings) as refused:
        load(data=tmp_path, **{name: value})
    assert str(refused.value) == f"{name}: {told}"


def test_an_unknown_name_in_the_file_is_told(tmp_path):
    (tmp_path / "config.toml").write_text("procesess = 2\n")
    with pytest.raises(BadSettings) as refused:
        load(data=tmp_path)
    assert str(refused.value) == "procesess: is no setting"


def test_both_listeners_at_one_address_are_refused(tmp_path):
    with pytest.raises(BadSettings) as refused:
        load(data=tmp_path, http="localhost:8443", https="localhost:8443")
    assert str(refused.value) == "http and https must be different addresses, not both localhost:8443"


def test_web_origins_are_a_list_or_stand_between_commas(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKHOUSE_WEB_ORIGINS", "https://a.example, http://localhost:5173")
    assert load(data=tmp_path).web_origins == ("https://a.example", "http://localhost:5173")
    assert load(data=tmp_path, web_origins=["http://[::1]:80"]).web_origins == ("http://[::1]:80",)


@pytest.mark.parametrize("origin", ["*", "null", "a.example", "https://a.example/", "https://A.example", "ftp://a"])
def test_what_no_browser_sends_as_an_origin_is_refused(tmp_path, origin):
    with pytest.raises(BadSettings, match=r"^web_origins\.1: must be the origin of a web page .*$"):
        load(data=tmp_path, web_origins=["https://a.example", origin])


def test_the_plain_listener_can_be_off_and_the_tls_listener_cannot(tmp_path):
    assert load(data=tmp_path, http="off").http == "off"
    with pytest.raises(BadSettings, match=f"^https: {re.escape(ADDRESS)}$"):
        load(data=tmp_path, https="off")


def test_a_certificate_needs_its_key(tmp_path):
    with pytest.raises(BadSettings, match=r"^https_certificate and https_key go together: give both or neither$"):
        load(data=tmp_path, https_certificate="a.pem")


def test_further_names_are_names_or_addresses(tmp_path):
    assert load(data=tmp_path, https_names="a.example, ::1").https_names == ("a.example", "::1")
    with pytest.raises(BadSettings, match=r"^https_names\.0: must be a host's name or address, .*$"):
        load(data=tmp_path, https_names="https://a.example/")


def test_a_public_url_is_the_beginning_of_addresses(tmp_path, monkeypatch):
    assert load(data=tmp_path).public_url == ""
    assert load(data=tmp_path, public_url="https://Tasks.example:81/").public_url == "https://Tasks.example:81"
    monkeypatch.setenv("TASKHOUSE_PUBLIC_URL", "http://[::1]:80")
    assert load(data=tmp_path).public_url == "http://[::1]:80"


@pytest.mark.parametrize("url", ["tasks.example", "ftp://a", "https://a/b", "https://a b", "https://", "https://a?b"])
def test_what_no_address_begins_with_is_refused(tmp_path, url):
    with pytest.raises(BadSettings, match=r"^public_url: must be the beginning of all addresses, .*$"):
        load(data=tmp_path, public_url=url)


def test_deprecated_versions_of_rudder_are_days_by_numbers(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[rudder_deprecated]\n2 = 2026-01-31\n")
    assert load(data=tmp_path).rudder_deprecated == {2: date(2026, 1, 31)}
    monkeypatch.setenv("TASKHOUSE_RUDDER_DEPRECATED", '{"3": "2027-02-01"}')
    assert load(data=tmp_path / "elsewhere").rudder_deprecated == {3: date(2027, 2, 1)}
    monkeypatch.setenv("TASKHOUSE_RUDDER_DEPRECATED", '{"7": "2027-02-01"}')
    with pytest.raises(BadSettings, match=r"rudder_deprecated.*must be at most 4"):
        load(data=tmp_path / "elsewhere")
