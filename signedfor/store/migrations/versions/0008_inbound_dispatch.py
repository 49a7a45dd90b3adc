"""Inbound messages keep their text, and await the start of the service's workflow."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_inbound_messages_dispatch_at": ("dispatch_at", "dispatch_at IS NOT NULL"),
    "ix_inbound_messages_with_body": ("received_at", "body IS NOT NULL"),
}
_OLD_CHECK = "body IS NULL OR kind = 'review'"
_NEW_CHECK = "media IS NULL OR body IS NOT NULL"


def upgrade() -> None:
    # Each of them as workers of the version before leave it out of the rows that they insert.
    op.add_column("send_attempts", sa.Column("sender", sa.String(128)))
    with op.batch_alter_table("inbound_messages") as table:  # SQLite copies the table
        table.add_column(sa.Column("media", sa.Text()))
        table.add_column(sa.Column("dispatch_at", sa.DateTime(timezone=True)))
        table.add_column(sa.Column("dispatched_at", sa.DateTime(timezone=True)))
        table.drop_constraint(op.f("ck_inbound_messages_body"), type_="check")
        table.create_check_constraint(op.f("ck_inbound_messages_media"), _NEW_CHECK)
    for name, (column, where) in _INDEXES.items():
        op.create_index(
            name,
            "inbound_messages",
            [column],
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "inbound_messages")
    op.execute("UPDATE inbound_messages SET media = NULL")
    op.execute("UPDATE inbound_messages SET body = NULL WHERE kind <> 'review'")
    with op.batch_alter_table("inbound_messages") as table:
        table.drop_constraint(op.f("ck_inbound_messages_media"), type_="check")
        table.create_check_constraint(op.f("ck_inbound_messages_body"), _OLD_CHECK)
        table.drop_column("dispatched_at")
        table.drop_column("dispatch_at")
        table.drop_column("media")
    op.drop_column("send_attempts", "sender")
