"""The inbox of receipts, and watermarks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(200), nullable=False),
        sa.Column("message_sid", sa.String(64), nullable=False),
        sa.Column("message_status", sa.String(40), nullable=False),
        sa.Column("error_code", sa.Integer()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint(
            "message_id",
            "message_sid",
            "message_status",
            name=op.f("uq_inbox_message_id_message_sid_message_status"),
        ),
        sa.CheckConstraint("refusals >= 0", name=op.f("ck_inbox_refusals")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "watermarks",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_watermarks")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_watermarks_name")),
    )


def downgrade() -> None:
    op.drop_table("watermarks")
    op.drop_table("inbox")
