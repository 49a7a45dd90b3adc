"""The database says which versions of the program may use it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
# Versions before know nothing of it, and refuse every newer database.
oldest_program = "0015"


def upgrade() -> None:
    op.create_table(
        "schema_compatibility",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_program", sa.String(4), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_compatibility")),
        sa.CheckConstraint("id = 1", name=op.f("ck_schema_compatibility_id")),
    )


def downgrade() -> None:
    op.drop_table("schema_compatibility")
