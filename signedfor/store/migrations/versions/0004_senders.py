"""The senders' pace."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "senders",
        sa.Column("sender", sa.String(128), nullable=False),
        sa.Column("rate", sa.Double()),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("tail", sa.Double(), nullable=False),
        sa.Column("overdue_tail", sa.Double(), nullable=False),
        sa.Column("urgent_tail", sa.Double(), nullable=False),
        sa.Column("busy_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_senders")),
        sa.CheckConstraint("rate > 0", name=op.f("ck_senders_rate")),
    )


def downgrade() -> None:
    op.drop_table("senders")
