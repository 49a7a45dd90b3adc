"""Alembic's entry point: runs the migrations in the transaction of `signedfor.store.migrate`."""

from alembic import context

from signedfor.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Run the migrations with `signedfor migrate`.")

context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter most of a table; Alembic then copies it.
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
