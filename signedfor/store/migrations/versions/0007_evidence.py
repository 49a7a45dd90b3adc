"""Opt-ins with their evidence, and the messages that were held back."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_STANDS = sa.text("withdrawn_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "opt_ins",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("recipient", sa.String(128), nullable=False),
        sa.Column("category", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("evidence", sa.String(500), nullable=False),
        sa.Column("wording", sa.String(64), nullable=False),
        sa.Column("opted_in_at", _TIME, nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("recorded_by", sa.String(100), nullable=False),
        sa.Column("withdrawn_at", _TIME),
        sa.Column("withdrawn_by", sa.String(100)),
        sa.Column("withdrawn_because", sa.String(500)),
        sa.CheckConstraint(
            "(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name=op.f("ck_opt_ins_withdrawn_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_ins")),
        sqlite_autoincrement=True,
    )
    # An import that is repeated, and the check before each message of a category that demands one.
    op.create_index(
        "uq_opt_ins_standing",
        "opt_ins",
        ["recipient", "category", "opted_in_at", "evidence"],
        unique=True,
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    )
    op.create_index(op.f("ix_opt_ins_recipient_id"), "opt_ins", ["recipient", "id"])
    op.create_table(
        "held_back_messages",
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("recipient", sa.String(128), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("sender", sa.String(128), nullable=False),
        sa.Column("category", sa.String(64)),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("evidence", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_held_back_messages")),
    )
    op.create_index(
        op.f("ix_held_back_messages_recipient_at"), "held_back_messages", ["recipient", "at"]
    )


def downgrade() -> None:
    op.drop_table("held_back_messages")
    op.drop_table("opt_ins")
