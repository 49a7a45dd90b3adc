"""Counts of messages without sorting, and filters that read only what has the status."""

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
_NEW: tuple[tuple[str, ...], ...] = (
    ("closed_hour", "status", "sender"),
    ("campaign_id", "status", "started_at", "message_id"),
    ("sender", "started_at", "message_id", "status"),
    ("tenant", "started_at", "message_id", "status"),
)
_REPLACED: tuple[tuple[str, ...], ...] = (
    ("sender", "started_at", "message_id"),
    ("tenant", "started_at", "message_id"),
)


def upgrade() -> None:
    op.add_column("message_index", sa.Column("closed_hour", sa.DateTime(timezone=True)))
    hour = _HOUR[op.get_bind().dialect.name]
    op.execute(f"UPDATE message_index SET closed_hour = {hour} WHERE closed_at IS NOT NULL")  # noqa: S608 - our own words
    for columns in _REPLACED:
        op.drop_index(_name(columns), "message_index")
    for columns in _NEW:
        op.create_index(_name(columns), "message_index", list(columns))
    op.create_index(
        "ix_message_index_retries",
        "message_index",
        ["campaign_id", "message_id"],
        sqlite_where=_IS_RETRY,
        postgresql_where=_IS_RETRY,
    )


def downgrade() -> None:
    op.drop_index("ix_message_index_retries", "message_index")
    for columns in _NEW:
        op.drop_index(_name(columns), "message_index")
    for columns in _REPLACED:
        op.create_index(_name(columns), "message_index", list(columns))
    op.drop_column("message_index", "closed_hour")


def _name(columns: tuple[str, ...]) -> str:
    return "ix_message_index_" + "_".join(columns)
