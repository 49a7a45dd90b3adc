"""Since when each priority class of a sender has a backlog."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = ("normal_reserved_since", "expedited_reserved_since", "urgent_reserved_since")


def upgrade() -> None:
    for name in _COLUMNS:
        # Workers of the version before insert rows without it.
        op.add_column("senders", sa.Column(name, sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("senders", name)
