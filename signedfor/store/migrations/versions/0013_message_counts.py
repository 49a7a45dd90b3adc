"""Counts in the index of messages without sorting: by hour, by campaign; and the retries."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_IS_RETRY = sa.text("message_id LIKE '%.retry-%'")
_HOUR = {
    "sqlite": "substr(closed_at, 1, 13) || ':00:00.000000'",
    "postgresql": "date_trunc('hour', closed_at, 'UTC')",
}


def upgrade() -> None:
    op.add_column("message_index", sa.Column("closed_hour", sa.DateTime(timezone=True)))
    hour = _HOUR[op.get_bind().dialect.name]
    op.execute(f"UPDATE message_index SET closed_hour = {hour} WHERE closed_at IS NOT NULL")  # noqa: S608 - our own words
    for columns in (("closed_hour", "status", "sender"), ("campaign_id", "status")):
        op.create_index("ix_message_index_" + "_".join(columns), "message_index", list(columns))
    op.create_index(
        "ix_message_index_retries",
        "message_index",
        ["campaign_id", "message_id"],
        sqlite_where=_IS_RETRY,
        postgresql_where=_IS_RETRY,
    )


def downgrade() -> None:
    for name in ("retries", "campaign_id_status", "closed_hour_status_sender"):
        op.drop_index(f"ix_message_index_{name}", "message_index")
    op.drop_column("message_index", "closed_hour")
