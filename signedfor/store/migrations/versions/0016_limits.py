"""Limits on messages, and the duplicate guard."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "limit_usage",
        sa.Column("limit_key", sa.String(160), nullable=False),
        sa.Column("person_reference", sa.String(32)),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("limit_key", name=op.f("pk_limit_usage")),
    )
    op.create_index("ix_limit_usage_person_reference", "limit_usage", ["person_reference"])
    op.create_index("ix_limit_usage_expires_at", "limit_usage", ["expires_at"])
    op.add_column("send_attempts", sa.Column("content_hash", sa.String(64)))
    op.create_index(
        "ix_send_attempts_content_hash",
        "send_attempts",
        ["content_hash", "started_at"],
        sqlite_where=sa.text("content_hash IS NOT NULL"),
        postgresql_where=sa.text("content_hash IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_send_attempts_content_hash", "send_attempts")
    op.drop_column("send_attempts", "content_hash")
    op.drop_table("limit_usage")
