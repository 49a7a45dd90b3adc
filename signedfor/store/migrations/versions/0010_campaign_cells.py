"""A campaign's rows keep all cells of the caller's file, for the report."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable: a command line of the version before leaves them out of what it inserts.
    op.add_column("campaigns", sa.Column("file_columns", sa.Text()))
    op.add_column("campaign_rows", sa.Column("cells", sa.Text()))


def downgrade() -> None:
    op.drop_column("campaign_rows", "cells")
    op.drop_column("campaigns", "file_columns")
