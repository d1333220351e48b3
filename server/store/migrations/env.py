"""Alembic's entry: runs the migrations on the connection that `server.store.migrate` opened."""

from alembic import context
from sqlalchemy import Column, String, event

from server.store.tables import METADATA


def _order_by_code_points(column: Column[str], _: object) -> None:
    """Have PostgreSQL compare texts as SQLite does, whatever the language of the database is; it is quicker too."""
    if isinstance(column.type, String):
        column.type = String(column.type.length, collation="C")


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    transactional_ddl=True,  # Alembic thinks that SQLite's is not.
)
on_postgres = connection.dialect.name == "postgresql"
if on_postgres:
    event.listen(Column, "after_parent_attach", _order_by_code_points)
try:
    with context.begin_transaction():
        context.run_migrations()
finally:
    if on_postgres:
        event.remove(Column, "after_parent_attach", _order_by_code_points)
