"""Notes of POSTs by their recipient."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Notes from before have none: what they were made from is not kept.
    op.add_column("posts", sa.Column("recipient_hash", sa.String(64)))
    op.drop_index(op.f("ix_posts_fingerprint_begun_at"), "posts")
    op.create_index(
        op.f("ix_posts_recipient_hash_begun_at"), "posts", ["recipient_hash", "begun_at"]
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_posts_recipient_hash_begun_at"), "posts")
    op.create_index(op.f("ix_posts_fingerprint_begun_at"), "posts", ["fingerprint", "begun_at"])
    op.drop_column("posts", "recipient_hash")
