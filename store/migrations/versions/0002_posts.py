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
        "posts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )
    op.create_index(
        op.f("ix_posts_fingerprint_begun_at"), "posts", ["fingerprint", "begun_at"], unique=False
    )
    op.create_index(op.f("ix_posts_begun_at"), "posts", ["begun_at"], unique=False)


def downgrade() -> None:
    op.drop_table("posts")
