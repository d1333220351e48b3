"""Alembic's entry: runs the migrations on the connection that `server.store.migrate` opened."""

from alembic import context

from server.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # Alembic thinks that SQLite's is not.
)
with context.begin_transaction():
    context.run_migrations()
