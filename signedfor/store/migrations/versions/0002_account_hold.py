"""The account's hold, while Twilio refuses its requests."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_hold",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("error_code", sa.Integer()),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_hold")),
        sa.CheckConstraint("id = 1", name=op.f("ck_account_hold_id")),
    )


def downgrade() -> None:
    op.drop_table("account_hold")
