"""What became of each sender's messages, by the minute, and the breaker that pauses a sender."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    time = sa.DateTime(timezone=True)
    op.create_table(
        "sender_results",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("sender", sa.String(128), nullable=False),
        sa.Column("minute", time, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("accepted", "ended", "failed", "filtered", "spent_micros")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_results")),
        sa.UniqueConstraint("sender", "minute", name=op.f("uq_sender_results_sender_minute")),
    )
    op.create_index(op.f("ix_sender_results_minute"), "sender_results", ["minute", "sender"])
    op.create_table(
        "sender_breakers",
        sa.Column("sender", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(16), nullable=True),
        sa.Column("opened_at", time, nullable=True),
        sa.Column("because", sa.String(255), nullable=True),
        sa.Column("counts_from", time, nullable=True),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_sender_breakers")),
        sa.CheckConstraint(
            "(reason IS NULL) = (opened_at IS NULL) AND (reason IS NULL) = (because IS NULL)",
            name=op.f("ck_sender_breakers_reason"),
        ),
    )


def downgrade() -> None:
    op.drop_table("sender_breakers")
    op.drop_table("sender_results")
