"""`taskhouse doctor`: finds what is wrong with a house, and says what to do."""

from collections.abc import Iterable
from pathlib import Path

import click

from server.cli.house import database_option, json_option, print_json
from server.doctor.examination import examine
from server.doctor.findings import Finding
from server.settings import BadSettings, load

WIDTH = 12


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the house; default: $TASKHOUSE_DATA, else ./data."
)
@database_option
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default: DIR/config.toml.")
@click.option("--http", metavar="HOST:PORT", help="Plain listener, as for `taskhouse up`.")
@click.option("--https", metavar="HOST:PORT", help="TLS listener, as for `taskhouse up`.")
@json_option
def doctor(
    data: Path | None, database: str | None, config: Path | None, http: str | None, https: str | None, *, as_json: bool
) -> int:
    """Look for mistakes, and say of each why it matters and what to do.

    Works before the first start, and while the house runs; changes nothing. The exit code is 0 if nothing is wrong, and
    1 if something is.
    """
    try:
        settings = load(config, data=data, database=database, http=http, https=https)
        findings: Iterable[Finding] = examine(settings, config=config)
    except BadSettings as error:
        why = "nothing can be started with them, and nothing else was looked at"
        remedy = "mend the settings file, the TASKHOUSE_… variables or the options"
        findings = [Finding("settings", fault, why, remedy) for fault in str(error).split("; ")]
    wrong = 0
    for finding in findings:
        wrong += finding.is_wrong
        if as_json:
            print_json([{"wrong": finding.is_wrong, **finding._asdict()}])
        else:
            click.echo(_line(finding))
    return 1 if wrong else 0


def _line(finding: Finding) -> str:
    told = f"{'WRONG' if finding.is_wrong else 'ok':6}{finding.check:{WIDTH}} {finding.what}"
    return f"{told}; {finding.why}. Remedy: {finding.remedy}" if finding.is_wrong else told
