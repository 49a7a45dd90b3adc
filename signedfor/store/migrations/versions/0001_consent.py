"""Suppressions, their history, and inbound messages."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_REASONS = "reason IN ('opted_out', 'undeliverable', 'manual')"
_SCOPES = "scope IN ('everything', 'sender', 'category')"
_SOURCES = "source IN ('inbound', 'twilio_code', 'operator', 'import')"


def upgrade() -> None:
    op.create_table(
        "suppressions",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("recipient", sa.String(128), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("scope_value", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("evidence", sa.String(500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
        sa.UniqueConstraint(
            "recipient",
            "scope",
            "scope_value",
            "reason",
            name=op.f("uq_suppressions_recipient_scope_scope_value_reason"),
        ),
        sa.CheckConstraint(_SCOPES, name=op.f("ck_suppressions_scope")),
        sa.CheckConstraint(_REASONS, name=op.f("ck_suppressions_reason")),
        sa.CheckConstraint(_SOURCES, name=op.f("ck_suppressions_source")),
        sa.CheckConstraint(
            "(scope = 'everything') = (scope_value = '')",
            name=op.f("ck_suppressions_scope_value"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "suppression_history",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recipient", sa.String(128), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("scope_value", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("evidence", sa.String(500), nullable=False),
        sa.Column("who", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression_history")),
        sa.CheckConstraint(
            "action IN ('recorded', 'lifted')", name=op.f("ck_suppression_history_action")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_suppression_history_recipient_id"), "suppression_history", ["recipient", "id"]
    )
    op.create_table(
        "inbound_messages",
        sa.Column("message_sid", sa.String(64), nullable=False),
        sa.Column("from_address", sa.String(128), nullable=False),
        sa.Column("to_address", sa.String(128), nullable=False),
        sa.Column("messaging_service_sid", sa.String(64)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.Text()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True)),
        sa.Column("reviewed_by", sa.String(100)),
        sa.PrimaryKeyConstraint("message_sid", name=op.f("pk_inbound_messages")),
        sa.CheckConstraint(
            "body IS NULL OR kind = 'review'", name=op.f("ck_inbound_messages_body")
        ),
    )
    op.create_index(
        op.f("ix_inbound_messages_kind_received_at_message_sid"),
        "inbound_messages",
        ["kind", "received_at", "message_sid"],
    )
    if op.get_bind().dialect.name == "postgresql":
        _make_history_append_only_on_postgresql()
    else:
        _make_history_append_only_on_sqlite()


def _make_history_append_only_on_postgresql() -> None:
    # 23001 (restrict_violation), so that both databases report it as an integrity error.
    op.execute(
        """
        CREATE FUNCTION suppression_history_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'suppression_history is append-only' USING ERRCODE = '23001';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER suppression_history_append_only
        BEFORE UPDATE OR DELETE OR TRUNCATE ON suppression_history
        FOR EACH STATEMENT EXECUTE FUNCTION suppression_history_refuse()
        """
    )


def _make_history_append_only_on_sqlite() -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'suppression_history is append-only'); END"
    # INSERT OR REPLACE removes the old row without firing the trigger for DELETE.
    is_there = "WHEN EXISTS (SELECT id FROM suppression_history WHERE id = NEW.id)"
    for action, condition in (("update", ""), ("delete", ""), ("insert", is_there)):
        op.execute(
            f"CREATE TRIGGER suppression_history_append_only_{action} "
            f"BEFORE {action} ON suppression_history {condition} {refuse}"
        )


def downgrade() -> None:
    op.drop_table("inbound_messages")
    op.drop_table("suppression_history")
    op.drop_table("suppressions")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION suppression_history_refuse()")
