"""Find a person's later STOP or START without reading those of everybody."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_inbound_messages_from_address_kind_received_at"),
        "inbound_messages",
        ["from_address", "kind", "received_at"],
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_inbound_messages_from_address_kind_received_at"), "inbound_messages")
