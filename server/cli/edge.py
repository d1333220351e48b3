"""`taskhouse edge`: Envoy alone, in front of the server processes of this machine."""

import os
import resource
from pathlib import Path

import click

from server import edge as envoy
from server.cli.house import house_options, need_house
from server.identity.authority import Authority
from server.settings import OFF, Settings, split_address
from server.sockets import admin_socket, existing, folder, server_socket

SPARE_FILES = 1000
"""Files that Envoy opens besides its clients' connections: to servers, for uploads on their way, of its own."""


def config_for(settings: Settings, sockets: list[Path]) -> envoy.EdgeConfig:
    """Return what Envoy needs to stand in front of these sockets; issues the edge's certificate if it is due."""
    host, _ = split_address(settings.https)
    authority = Authority.open(settings.data)
    if settings.https_certificate and settings.https_key:
        certificate, private_key = settings.https_certificate.absolute(), settings.https_key.absolute()
    else:
        certificate, private_key = authority.server_certificate(hosts=(host, *settings.https_names))
    return envoy.EdgeConfig(
        http=None if settings.http == OFF else split_address(settings.http),
        https=split_address(settings.https),
        sockets=tuple(sockets),
        certificate=certificate,
        private_key=private_key,
        authority=authority.certificate_path,
        admin_socket=admin_socket(settings.data),
        folder=folder(settings.data),
        max_connections=_connections(settings.max_connections),
        heap_mb=settings.envoy_heap_mb,
        web_origins=settings.web_origins,
        concurrency=settings.envoy_concurrency,
    )


def _connections(wanted: int) -> int:
    """Let this process and those it starts open as many files as these connections need; return how many may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        wanted, needed = max(hard - SPARE_FILES, hard // 2), hard
        click.echo(
            f"taskhouse: at most {wanted} connections: this user may open {hard} files;"
            " raise that (ulimit -n, LimitNOFILE=) or lower max_connections",
            err=True,
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return wanted


@click.command()
@house_options
@click.option("--validate", is_flag=True, help="Only have Envoy check its configuration.")
def edge(settings: Settings, *, validate: bool) -> None:
    """Run Envoy in front of the server processes of the house in DIR, as many as the setting `processes` says.

    They may come and go: calls get 503 while none runs.
    """
    need_house(settings)
    running = existing(settings.data)
    if not running and not validate:
        click.echo(f"taskhouse: no server process runs on {settings.data} yet; calls get 503 until one does", err=True)
    expected = [server_socket(settings.data, number) for number in range(settings.processes)]
    configuration = config_for(settings, sorted({*expected, *running}))
    envoy.write(configuration)
    if validate:
        envoy.validate(configuration)
        return
    command = envoy.command(configuration)
    os.execv(command[0], command)  # noqa: S606 - our own command, with no shell.
