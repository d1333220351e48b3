"""`taskhouse edge`: Envoy alone, in front of server processes that run already."""

import os
import shlex
from pathlib import Path

import click

from server import edge as envoy
from server.cli.house import house_options, need_house
from server.identity.authority import Authority
from server.settings import Settings, split_address
from server.sockets import admin_socket, existing, folder


def config_for(settings: Settings, sockets: list[Path]) -> envoy.EdgeConfig:
    """Return what Envoy needs to stand in front of these sockets; issues the edge's certificate if it is due."""
    host, _ = split_address(settings.https)
    authority = Authority.open(settings.data)
    certificate, private_key = authority.server_certificate(hosts=(host,))
    return envoy.EdgeConfig(
        http=split_address(settings.http),
        https=split_address(settings.https),
        sockets=tuple(sockets),
        certificate=certificate,
        private_key=private_key,
        authority=authority.certificate_path,
        admin_socket=admin_socket(settings.data),
        folder=folder(settings.data),
        web_origins=settings.web_origins,
        concurrency=settings.envoy_concurrency,
    )


@click.command()
@house_options
@click.option("--validate", is_flag=True, help="Only have Envoy check its configuration.")
def edge(settings: Settings, *, validate: bool) -> None:
    """Run Envoy in front of the server processes of the house in DIR that run now."""
    need_house(settings)
    sockets = existing(settings.data)
    if not sockets:
        start = f"taskhouse serve --data {shlex.quote(str(settings.data))}"
        raise click.ClickException(f"no server process runs on {settings.data}: start one with `{start}`")
    configuration = config_for(settings, sockets)
    envoy.write(configuration)
    if validate:
        envoy.validate(configuration)
        return
    command = envoy.command(configuration)
    os.execv(command[0], command)  # noqa: S606 - our own command, with no shell.
