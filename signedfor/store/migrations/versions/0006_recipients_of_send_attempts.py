"""Notes of POSTs by their recipient."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Notes from before have none: what they were made from is not kept.
    op.add_column("send_attempts", sa.Column("recipient_hash", sa.String(64)))
    op.drop_index(op.f("ix_send_attempts_fingerprint_started_at"), "send_attempts")
    op.create_index(
        op.f("ix_send_attempts_recipient_hash_started_at"),
        "send_attempts",
        ["recipient_hash", "started_at"],
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_send_attempts_recipient_hash_started_at"), "send_attempts")
    op.create_index(
        op.f("ix_send_attempts_fingerprint_started_at"),
        "send_attempts",
        ["fingerprint", "started_at"],
    )
    op.drop_column("send_attempts", "recipient_hash")
