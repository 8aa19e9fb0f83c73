"""What Alembic executes to take the steps: on the connection, and in the transaction, that `migrate.py` hands over."""

from alembic import context

from arable.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_version",
)
with context.begin_transaction():
    context.run_migrations()
