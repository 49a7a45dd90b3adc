"""An index of dead letters, and which messages ended without a report."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

_WATERMARKS = "DELETE FROM watermarks WHERE name LIKE 'message_index_%'"
_NO_REPORT = sa.text("has_report IS 0"), sa.text("has_report IS false")
_OPEN = sa.text("closed_at IS NULL")
_LATE = sa.text("status = 'delivered_late'")


def upgrade() -> None:
    op.add_column(
        "message_index",
        sa.Column("has_report", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    sqlite_where, postgresql_where = _NO_REPORT
    op.create_index(
        "ix_message_index_no_report",
        "message_index",
        ["campaign_id", "has_report"],
        sqlite_where=sqlite_where,
        postgresql_where=postgresql_where,
    )
    # All messages are read again, with what the index did not know of them.
    op.execute(_WATERMARKS)
    op.create_table(
        "dead_letter_index",
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("failure_class", sa.String(40)),
        sa.Column("error_code", sa.Integer()),
        sa.Column("may_have_arrived", sa.Boolean(), nullable=False),
        sa.Column("sender", sa.String(128)),
        sa.Column("tenant", sa.String(64)),
        sa.Column("campaign_id", sa.String(64)),
        sa.Column("message_sid", sa.String(64)),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_dead_letter_index")),
    )
    op.create_index("ix_dead_letter_index_closed_at", "dead_letter_index", ["closed_at"])
    for name, columns, where in (
        ("open", ["started_at"], _OPEN),
        ("delivered_late", ["campaign_id", "message_id"], _LATE),
    ):
        op.create_index(
            f"ix_dead_letter_index_{name}",
            "dead_letter_index",
            columns,
            sqlite_where=where,
            postgresql_where=where,
        )


def downgrade() -> None:
    op.drop_table("dead_letter_index")
    op.drop_index("ix_message_index_no_report", "message_index")
    op.drop_column("message_index", "has_report")
