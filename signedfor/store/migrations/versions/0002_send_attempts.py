"""Notes of what was about to be submitted to Twilio."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "send_attempts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )
    op.create_index(
        op.f("ix_send_attempts_fingerprint_started_at"),
        "send_attempts",
        ["fingerprint", "started_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_send_attempts_started_at"), "send_attempts", ["started_at"], unique=False
    )


def downgrade() -> None:
    op.drop_table("send_attempts")
