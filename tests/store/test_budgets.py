"""What the migrations of budgets make of a database that has answers."""

import math
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from alembic import command
from alembic.config import Config
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import create_engine

from server.store import migrate


def test_what_was_answered_before_there_were_budgets_is_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "taskhouse.db"
    engine = create_engine(f"sqlite:///{path}", module=sqlite)
    with engine.connect() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()
    with closing(sqlite.connect(str(path))) as old:
        old.execute("INSERT INTO organizations (id, name, create_time) VALUES (1, 'acme', 0)")
        for number in (1, 2):
            old.execute(
                "INSERT INTO datasets (id, organization_id, name, columns, buckets_per_user, version, secret,"
                " create_time) VALUES (?, 1, ?, '[]', 1, 3, x'00', 0)",
                (number, f"d{number}"),
            )
        answer = '{"buckets": [], "epsilon": 0.5, "delta": 0.00003}'
        for version in (1, 2, 3):
            old.execute(
                "INSERT INTO answers (dataset_id, version, question, answer) VALUES (1, ?, '{}', ?)", (version, answer)
            )
        old.commit()
    migrate.upgrade(path)
    with closing(sqlite.connect(str(path))) as new:
        budgets = new.execute("SELECT budget_epsilon, spent_epsilon, spent_delta FROM datasets ORDER BY id").fetchall()
        answers = new.execute("SELECT answer FROM answers").fetchall()
    delta = math.ceil(90_000_000 * math.exp(0.5))  # They were drawn when the stated one was too small.
    assert budgets == [(20_000_000, 1_500_000, delta), (20_000_000, 0, 0)]
    for (answer,) in answers:
        assert orjson.loads(answer) == {"buckets": [], "epsilon": 0.5, "delta": pytest.approx(0.00003 * math.exp(0.5))}
