"""The addresses of PostgreSQL databases: what is told of them, and whether the way there is safe."""

import pytest

from server.store.address import PostgresAddress


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://u:secret@db.example:5433/house", "postgresql://u@db.example:5433/house"),
        ("postgres://u:secret@[::1]:5433/house", "postgresql://u@[::1]:5433/house"),
        ("postgresql://u:secret@/house?host=/run/postgresql", "postgresql://u@/house?host=/run/postgresql"),
        ("postgresql:///house", "postgresql:///house"),
    ],
)
def test_an_address_is_told_as_a_url_without_its_password(url, text):
    assert str(PostgresAddress.parse(url)) == text


def test_several_hosts_are_refused_for_what_they_are():
    with pytest.raises(ValueError, match="must name one host"):
        PostgresAddress.parse("postgresql://u:a,b@h1:5432,h2:5432/house")


@pytest.mark.parametrize("where", ["db.example", "10.0.0.7", "[2001:db8::7]"])
def test_across_a_network_only_a_verified_server_is_safe(where):
    url = f"postgresql://u:secret@{where}/house"
    assert PostgresAddress.parse(url).is_exposed
    assert PostgresAddress.parse(f"{url}?sslmode=require").is_exposed
    assert not PostgresAddress.parse(f"{url}?sslmode=verify-full&sslrootcert=/ca.pem").is_exposed


@pytest.mark.parametrize("where", ["localhost", "127.0.0.1", "[::1]", ""])
def test_on_one_machine_nobody_stands_between(where):
    assert not PostgresAddress.parse(f"postgresql://u:secret@{where}/house").is_exposed
    assert not PostgresAddress.parse("postgresql://u:secret@/house?host=/run/postgresql").is_exposed
