"""Alembic's entry: runs the migrations in the transaction that `signedfor.store.migrate` opened."""

from alembic import context

from signedfor.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Run the migrations with `python -m signedfor.store upgrade`.")

context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter most of a table; Alembic then copies it.
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
