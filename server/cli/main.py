"""`taskhouse …`: finds the command, and tells every failure that was foreseen in one line."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

COMMANDS = {
    "up": ("server.cli.up:up", "Run the whole house on this machine."),
    "serve": ("server.cli.serve:serve", "Run one server process."),
    "edge": ("server.cli.edge:edge", "Run Envoy in front of the server processes."),
    "work": ("server.cli.work:work", "Run a worker."),
    "tour": ("server.cli.tour:tour", "Show the demonstration, against a running house."),
    "orgs": ("server.cli.orgs:orgs", "Create and list organizations."),
    "tokens": ("server.cli.tokens:tokens", "Create, list, renew and revoke tokens."),
    "keys": ("server.cli.keys:keys", "Issue, list and revoke client certificates."),
    "catalogue": ("server.cli.catalogue:catalogue", "Declare and show what can be asked."),
    "datasets": ("server.cli.datasets:datasets", "Declare and list datasets."),
    "events": ("server.cli.events:events", "Show the event logs, and verify them."),
    "db": ("server.cli.db:db", "Create, migrate and check the database."),
    "doctor": ("server.cli.doctor:doctor", "Find what is wrong, and say what to do."),
}
"""Where each command is, and what it does. Only the one that is asked for is imported: that takes most of a start."""


class _Commands(click.Group):
    """The commands of COMMANDS, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is no such one."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)  # noqa: S101 - for the type checker; COMMANDS is ours.
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Commands)
def taskhouse() -> None:
    """Work that is asked for now and done later."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's) and return its exit code: 1 for a failure, 2 for wrong usage."""
    try:
        code = taskhouse.main(arguments, prog_name="taskhouse", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_:
        help_.show()
        return help_.exit_code
    except click.ClickException as failure:
        _tell(failure.format_message())
        return failure.exit_code
    except click.Abort:  # Ctrl-C.
        return 130
    except _failures() as failure:
        from server.cli.house import remedy

        _tell(remedy(failure))
        return 1
    except OSError as failure:
        if failure.errno == errno.EPIPE:  # Whoever read our output has gone, for example `head`.
            sys.stdout = None
            return 1
        _tell(": ".join(str(part) for part in (failure.filename, failure.strerror or failure) if part))
        return 1
    return code if isinstance(code, int) else 0


def main() -> None:
    """Be the program `taskhouse`."""
    os.umask(0o077)  # Uploaded rows are people's: whatever the house writes is for its owner alone.
    sys.exit(run())


def _failures() -> tuple[type[Exception], ...]:
    """Return what may go wrong in ways that were foreseen. Asked for only once something has: it is slow."""
    from server.core.errors import Refusal
    from server.edge import ConfigurationRefused, EnvoyMissing
    from server.identity.authority import AuthorityUnavailable
    from server.settings import BadSettings
    from server.sockets import SocketFolderUnsafe, SocketTaken
    from server.store.engine import SchemaMismatch, StoreUnavailable
    from server.supervisor import PartFailed

    return (
        Refusal,
        StoreUnavailable,
        SchemaMismatch,
        BadSettings,
        AuthorityUnavailable,
        SocketFolderUnsafe,
        SocketTaken,
        EnvoyMissing,
        ConfigurationRefused,
        PartFailed,
    )


def _tell(text: str) -> None:
    """Write one line, whatever the text."""
    line = " ".join(text.split()).encode(errors="backslashreplace").decode()  # Arguments may hold what is not UTF-8.
    try:
        click.echo(f"taskhouse: {line}", err=True)
    except OSError:  # Nobody reads it.
        sys.stderr = None


if __name__ == "__main__":
    main()
