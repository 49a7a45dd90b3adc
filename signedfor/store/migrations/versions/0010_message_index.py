"""An index of messages, and references to people."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEXES = (
    ("started_at", "message_id"),
    ("person", "started_at", "message_id"),
    ("status", "started_at", "message_id"),
    ("sender", "started_at", "message_id"),
    ("tenant", "started_at", "message_id"),
    ("campaign_id", "started_at", "message_id"),
    ("error_code", "started_at", "message_id"),
    ("message_sid",),
    ("closed_at", "status", "sender", "started_at"),
)


def upgrade() -> None:
    op.create_table(
        "hash_keys",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hash_keys")),
    )
    op.add_column("send_attempts", sa.Column("person_reference", sa.String(32)))
    op.create_table(
        "message_index",
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("sender", sa.String(128)),
        sa.Column("tenant", sa.String(64)),
        sa.Column("campaign_id", sa.String(64)),
        sa.Column("message_sid", sa.String(64)),
        sa.Column("error_code", sa.Integer()),
        sa.Column("person", sa.String(32)),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_index")),
    )
    for columns in _INDEXES:
        op.create_index("ix_message_index_" + "_".join(columns), "message_index", list(columns))


def downgrade() -> None:
    op.drop_table("message_index")
    op.drop_column("send_attempts", "person_reference")
    op.drop_table("hash_keys")
