"""Alembic's entry: runs the migrations on the connection that `server.store.migrate` opened."""

from alembic import context

from server.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
