"""Opt-outs of different sources stand side by side, with the sender that the person wrote to."""

from contextlib import AbstractContextManager

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OLD = "uq_suppressions_recipient_scope_scope_value_reason"
_OLD_KEY = ["recipient", "scope", "scope_value", "reason"]
_NEW = "uq_suppressions_key"


def _to_sender() -> sa.Column[str]:
    # Workers of the version before insert rows without it.
    return sa.Column("to_sender", sa.String(128), nullable=False, server_default=sa.text("''"))


def _suppressions() -> AbstractContextManager[BatchOperations]:
    # SQLite copies the table.
    return op.batch_alter_table("suppressions", table_kwargs={"sqlite_autoincrement": True})


def upgrade() -> None:
    op.add_column("suppression_history", _to_sender())
    with _suppressions() as table:
        table.add_column(_to_sender())
        table.add_column(sa.Column("expires_at", sa.DateTime(timezone=True)))
        table.drop_constraint(_OLD, type_="unique")
        table.create_unique_constraint(_NEW, [*_OLD_KEY, "source", "to_sender"])
    op.execute(
        """
        UPDATE suppressions SET to_sender = coalesce(
            (SELECT coalesce(messaging_service_sid, to_address) FROM inbound_messages
             WHERE message_sid = evidence),
            CASE WHEN scope = 'sender' THEN scope_value ELSE '' END
        ) WHERE reason = 'opted_out' AND source IN ('inbound', 'twilio_code')
        """
    )


def downgrade() -> None:
    # The version before has room for one of each.
    op.execute(
        """
        DELETE FROM suppressions WHERE id NOT IN (
            SELECT min(id) FROM suppressions GROUP BY recipient, scope, scope_value, reason
        )
        """
    )
    with _suppressions() as table:
        table.drop_constraint(_NEW, type_="unique")
        table.create_unique_constraint(_OLD, _OLD_KEY)
        table.drop_column("expires_at")
        table.drop_column("to_sender")
    op.drop_column("suppression_history", "to_sender")
