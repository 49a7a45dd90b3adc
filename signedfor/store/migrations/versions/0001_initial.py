"""All tables of the first release."""

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
_STATES = "state IN ('loading', 'running', 'paused', 'canceled', 'finished')"


def upgrade() -> None:
    _create_suppressions()
    _create_inbound_messages()
    _create_send_attempts()
    _create_inbox()
    _create_senders()
    _create_campaigns()


def _create_suppressions() -> None:
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
        sa.Column("changed_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression_history")),
        sa.CheckConstraint(
            "action IN ('recorded', 'lifted')", name=op.f("ck_suppression_history_action")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_suppression_history_recipient_id"), "suppression_history", ["recipient", "id"]
    )
    if op.get_bind().dialect.name == "postgresql":
        _make_history_append_only_on_postgresql()
    else:
        _make_history_append_only_on_sqlite()


def _make_history_append_only_on_postgresql() -> None:
    # 23001 (restrict_violation): both databases then report an integrity error.
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
    # INSERT OR REPLACE deletes the old row without firing the DELETE trigger.
    exists = "WHEN EXISTS (SELECT id FROM suppression_history WHERE id = NEW.id)"
    for action, condition in (("update", ""), ("delete", ""), ("insert", exists)):
        op.execute(
            f"CREATE TRIGGER suppression_history_append_only_{action} "
            f"BEFORE {action} ON suppression_history {condition} {refuse}"
        )


def _create_inbound_messages() -> None:
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
    op.create_table(
        "watermarks",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_watermarks")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_watermarks_name")),
    )


def _create_send_attempts() -> None:
    op.create_table(
        "send_attempts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recipient_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_send_attempts")),
    )
    op.create_index(
        op.f("ix_send_attempts_recipient_hash_started_at"),
        "send_attempts",
        ["recipient_hash", "started_at"],
    )
    op.create_index(op.f("ix_send_attempts_started_at"), "send_attempts", ["started_at"])


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(200), nullable=False),
        sa.Column("message_sid", sa.String(64), nullable=False),
        sa.Column("message_status", sa.String(40), nullable=False),
        sa.Column("error_code", sa.Integer()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed_attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint(
            "message_id",
            "message_sid",
            "message_status",
            name=op.f("uq_inbox_message_id_message_sid_message_status"),
        ),
        sa.CheckConstraint("failed_attempts >= 0", name=op.f("ck_inbox_failed_attempts")),
        sqlite_autoincrement=True,
    )


def _create_senders() -> None:
    op.create_table(
        "senders",
        sa.Column("sender", sa.String(128), nullable=False),
        sa.Column("rate", sa.Double()),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("normal_reserved_until", sa.Double(), nullable=False),
        sa.Column("expedited_reserved_until", sa.Double(), nullable=False),
        sa.Column("urgent_reserved_until", sa.Double(), nullable=False),
        sa.Column("busy_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_senders")),
        sa.CheckConstraint("rate > 0", name=op.f("ck_senders_rate")),
    )


def _create_campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("campaign_id", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("segments", sa.BigInteger(), nullable=False),
        sa.Column("last_row", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaigns")),
        sa.CheckConstraint(_STATES, name=op.f("ck_campaigns_state")),
    )
    op.create_index(op.f("ix_campaigns_created_at"), "campaigns", ["created_at"])
    op.create_table(
        "campaign_rows",
        sa.Column("campaign_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(128), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", name=op.f("pk_campaign_rows")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_campaign_rows_campaign_id")
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_campaign_rows_number")),
    )


def downgrade() -> None:
    for table in (
        "campaign_rows",
        "campaigns",
        "senders",
        "inbox",
        "send_attempts",
        "watermarks",
        "inbound_messages",
        "suppression_history",
        "suppressions",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION suppression_history_refuse()")
