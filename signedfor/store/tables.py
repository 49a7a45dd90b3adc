"""The tables. A change here needs a migration; a test compares both."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    literal_column,
    text,
    true,
)

from signedfor.consent import (
    MAX_ADDRESS,
    MAX_CHANGED_BY,
    MAX_EVIDENCE,
    MAX_LABEL,
    Reason,
    Scope,
    Source,
)
from signedfor.contract import CampaignState


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, returned in UTC; SQLite has no time zones and stores UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Reject a time without a time zone, which is ambiguous."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError("A time in the database must have a time zone.")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the current time: the default clock of every class in the store."""
    return datetime.now(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite generates ids only for a column whose type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, values: type[Scope | Reason | Source | CampaignState]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


suppressions = Table(
    "suppressions",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("recipient", String(MAX_ADDRESS), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("scope_value", String(MAX_ADDRESS), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("evidence", String(MAX_EVIDENCE), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Of ours, to which the person wrote; empty for everything but what they said themselves.
    Column("to_sender", String(MAX_ADDRESS), nullable=False, server_default=text("''")),
    Column("expires_at", UtcDateTime),
    # The recipient comes first: `Suppressions.find` uses this index too. Named, because the
    # convention's name would be too long for PostgreSQL.
    UniqueConstraint(
        *("recipient", "scope", "scope_value", "reason", "source", "to_sender"),
        name="uq_suppressions_key",
    ),
    _one_of("scope", Scope),
    _one_of("reason", Reason),
    _one_of("source", Source),
    CheckConstraint("(scope = 'everything') = (scope_value = '')", name="scope_value"),
    # For the purge of those that are over.
    Index(
        "ix_suppressions_expires_at",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,  # ids are never reused, so paging by id is safe
)
"""`recipient` is an address, or the pseudonym of an erased person (`signedfor.store.people`); so it
is in the next two tables and in `inbound_messages`."""

suppression_history = Table(
    "suppression_history",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("recipient", String(MAX_ADDRESS), nullable=False),
    Column("action", String(16), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("scope_value", String(MAX_ADDRESS), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("evidence", String(MAX_EVIDENCE), nullable=False),
    Column("changed_by", String(MAX_CHANGED_BY), nullable=False),
    Column("to_sender", String(MAX_ADDRESS), nullable=False, server_default=text("''")),
    CheckConstraint("action IN ('recorded', 'lifted')", name="action"),
    Index(None, "recipient", "id"),
    sqlite_autoincrement=True,
)
"""Append-only. Triggers, which only the migrations create, refuse every change but two: that a
pseudonym takes the place of an erased person's address, and that a row is deleted which is older
than a year."""

opt_ins = Table(
    "opt_ins",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("recipient", String(MAX_ADDRESS), nullable=False),
    Column("category", String(MAX_LABEL), nullable=False),
    Column("source", String(MAX_LABEL), nullable=False),
    Column("evidence", String(MAX_EVIDENCE), nullable=False),
    Column("wording", String(MAX_LABEL), nullable=False),
    Column("opted_in_at", UtcDateTime, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("recorded_by", String(MAX_CHANGED_BY), nullable=False),
    Column("withdrawn_at", UtcDateTime),
    Column("withdrawn_by", String(MAX_CHANGED_BY)),
    Column("withdrawn_because", String(MAX_EVIDENCE)),
    CheckConstraint("(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name="withdrawn_by"),
    Index(None, "recipient", "id"),
    # For the purge.
    Index(
        "ix_opt_ins_withdrawn_at",
        "withdrawn_at",
        sqlite_where=text("withdrawn_at IS NOT NULL"),
        postgresql_where=text("withdrawn_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""A row is not deleted while it stands, nor for years after it was withdrawn: it is evidence."""
STANDS: Final = opt_ins.c.withdrawn_at.is_(None)
"""The opt-ins that were not withdrawn."""
# An import that is repeated adds none; and the check before each message of a category that
# demands one.
Index(
    "uq_opt_ins_standing",
    *(opt_ins.c[name] for name in ("recipient", "category", "opted_in_at", "evidence")),
    unique=True,
    sqlite_where=STANDS,
    postgresql_where=STANDS,
)

held_back_messages = Table(
    "held_back_messages",
    metadata,
    Column("message_id", String(255), primary_key=True),
    Column("recipient", String(MAX_ADDRESS), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("sender", String(MAX_ADDRESS), nullable=False),
    Column("category", String(MAX_LABEL)),
    Column("reason", String(16), nullable=False),  # of the suppression, or `no_opt_in`
    Column("evidence", String(MAX_EVIDENCE), nullable=False),  # the suppression's
    # The first shows a person's, the second is for the purge.
    Index(None, "recipient", "at"),
    Index(None, "at"),
)
"""Messages that ended as suppressed: evidence that what a person said was kept."""

inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("message_sid", String(64), primary_key=True),
    Column("from_address", String(MAX_ADDRESS), nullable=False),
    Column("to_address", String(MAX_ADDRESS), nullable=False),
    Column("messaging_service_sid", String(64)),
    Column("kind", String(16), nullable=False),
    # Both NULL if they are not stored, or no longer.
    Column("body", Text),
    Column("media", Text),  # JSON
    Column("received_at", UtcDateTime, nullable=False),
    Column("reviewed_at", UtcDateTime),
    Column("reviewed_by", String(MAX_CHANGED_BY)),
    # When to start the service's workflow for it; NULL: it is started, or there is none.
    Column("dispatch_at", UtcDateTime),
    Column("dispatched_at", UtcDateTime),
    CheckConstraint("media IS NULL OR body IS NOT NULL", name="media"),
    # The first is for the reviews, the second for a person's later keywords.
    Index(None, "kind", "received_at", "message_sid"),
    Index(None, "from_address", "kind", "received_at"),
    # Both are small, whatever the table's size: what awaits its dispatch, and what can be purged.
    Index(
        "ix_inbound_messages_dispatch_at",
        "dispatch_at",
        sqlite_where=text("dispatch_at IS NOT NULL"),
        postgresql_where=text("dispatch_at IS NOT NULL"),
    ),
    Index(
        "ix_inbound_messages_with_body",
        "received_at",
        sqlite_where=text("body IS NOT NULL"),
        postgresql_where=text("body IS NOT NULL"),
    ),
)
# Literals: with a parameter, PostgreSQL does not use the index below.
IS_REVIEW: Final = inbound_messages.c.kind == literal_column("'review'")
IS_PENDING: Final = and_(IS_REVIEW, inbound_messages.c.reviewed_at.is_(None))
"""The messages that an operator must read, and those among them that none has."""
# With the columns of the condition, or SQLite prefers the first index.
Index(
    "ix_inbound_messages_pending",
    *(inbound_messages.c[name] for name in ("kind", "reviewed_at", "received_at", "message_sid")),
    sqlite_where=IS_PENDING,
    postgresql_where=IS_PENDING,
)

ERASED: Final = 2**31 - 1
"""The submission in the record of a message to a person who was erased. It is later than any other,
and not refused: no submission of the message can be claimed any more."""
UNNUMBERED: Final = 0
"""The submission in a record that was written again after a restore, where it is not known. It
holds whichever submission the message attempts next, and then gets its number."""

send_attempts = Table(
    "send_attempts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("message_id", String(255), nullable=False),
    Column("submission", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("is_refused", Boolean, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("recipient_hash", String(64), nullable=False),
    # Of ours; NULL in the records of an older version.
    Column("sender", String(MAX_ADDRESS)),
    Column("person_reference", String(32)),  # NULL in the records of an older version
    Column("content_hash", String(64)),  # NULL if the duplicate guard was off
    # At most one POST of a submission can be in flight or accepted.
    UniqueConstraint("message_id", "submission"),
    # The first is for the search for candidate duplicates, the second for the purge.
    Index(None, "recipient_hash", "started_at"),
    Index(None, "started_at"),
    Index(
        "ix_send_attempts_content_hash",
        *("content_hash", "started_at"),
        sqlite_where=text("content_hash IS NOT NULL"),
        postgresql_where=text("content_hash IS NOT NULL"),
    ),
)

limit_usage = Table(
    "limit_usage",
    metadata,
    Column("limit_key", String(160), primary_key=True),
    Column("person_reference", String(32)),  # NULL if the limit is not a person's
    Column("counts", Text, nullable=False),  # JSON
    Column("expires_at", UtcDateTime, nullable=False),
    # The first is for erasing a person, the second for the purge.
    Index(None, "person_reference"),
    Index(None, "expires_at"),
)
"""How many messages have begun of late, for each limit of MESSAGE_LIMITS."""

inbox = Table(
    "inbox",
    metadata,
    # The order of arrival, which is the order of delivery.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("message_id", String(200), nullable=False),
    Column("message_sid", String(64), nullable=False),
    Column("message_status", String(40), nullable=False),
    Column("error_code", Integer),
    Column("received_at", UtcDateTime, nullable=False),
    Column("failed_attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),  # later than its arrival once it was postponed
    Column("leased_until", UtcDateTime),
    # Also the index for the receipts of one message.
    UniqueConstraint("message_id", "message_sid", "message_status"),
    CheckConstraint("failed_attempts >= 0", name="failed_attempts"),
    sqlite_autoincrement=True,
)
"""Verified receipts that could not be signaled yet; a row is deleted once it is delivered."""

watermarks = Table(
    "watermarks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    CheckConstraint("name <> ''", name="name"),
)
"""The time up to which something has been processed."""

senders = Table(
    "senders",
    metadata,
    Column("sender", String(MAX_ADDRESS), primary_key=True),
    Column("rate", Double),  # segments per second; NULL: the default of its kind
    Column("is_paused", Boolean(create_constraint=False), nullable=False),
    # Seconds since the epoch: SQL computes with them, in the same way in both databases.
    Column("normal_reserved_until", Double, nullable=False),
    Column("expedited_reserved_until", Double, nullable=False),
    Column("urgent_reserved_until", Double, nullable=False),
    Column("busy_until", Double, nullable=False),
    # A worker of an older version writes none of these.
    Column("normal_reserved_since", Double, nullable=False, server_default="0"),
    Column("expedited_reserved_since", Double, nullable=False, server_default="0"),
    Column("urgent_reserved_since", Double, nullable=False, server_default="0"),
    CheckConstraint("rate > 0", name="rate"),
)
"""Each sender's rate limiter: the end of each priority class's reservations, and the time until
which the segments sent so far keep the sender busy. `since` is when a writer, by its clock, last
found no reservation of the class ahead: what is reserved for longer than from there is no backlog.
"""

sender_results = Table(
    "sender_results",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("sender", String(MAX_ADDRESS), nullable=False),
    Column("minute", UtcDateTime, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),
    Column("spent_micros", BigInteger, nullable=False),  # millionths of the currency
    UniqueConstraint("sender", "minute"),
    # For the senders that sent lately, and the purge.
    Index("ix_sender_results_minute", "minute", "sender"),
)
"""What became of each sender's messages, by the minute in which it was counted."""

sender_breakers = Table(
    "sender_breakers",
    metadata,
    Column("sender", String(MAX_ADDRESS), primary_key=True),
    # All three NULL while it is closed.
    Column("reason", String(16)),
    Column("opened_at", UtcDateTime),
    Column("because", String(255)),  # the reason in words
    Column("counts_from", UtcDateTime),  # when its pause was last lifted
    CheckConstraint(
        "(reason IS NULL) = (opened_at IS NULL) AND (reason IS NULL) = (because IS NULL)",
        name="reason",
    ),
)
"""Each sender's breaker: why it has paused the sender, and from when on messages count."""

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest_program", String(4), nullable=False),
    CheckConstraint("id = 1", name="id"),
)
"""The newest migration of the oldest version that may use this database: `signedfor migrate` writes
it, and a version that does not know all migrations reads it."""

account_hold = Table(
    "account_hold",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("error_code", Integer),
    Column("since", UtcDateTime, nullable=False),
    Column("next_try_at", UtcDateTime, nullable=False),
    CheckConstraint("id = 1", name="id"),
)
"""Has a row while Twilio refuses the account's requests: nothing is sent but a try now and then."""

campaigns = Table(
    "campaigns",
    metadata,
    Column("campaign_id", String(64), primary_key=True),
    Column("message", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),
    Column("state_since", UtcDateTime, nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("segments", BigInteger, nullable=False),
    Column("file_columns", Text),  # JSON; NULL if the caller's cells are not stored
    Column("last_row", Integer, nullable=False),  # its rows were dispatched up to here
    Column(
        "skipped", Integer, nullable=False
    ),  # rows among them for which no message could be started
    Column("created_at", UtcDateTime, nullable=False),
    _one_of("state", CampaignState),
    Index(None, "created_at"),
)

campaign_rows = Table(
    "campaign_rows",
    metadata,
    Column("campaign_id", String(64), ForeignKey(campaigns.c.campaign_id), nullable=False),
    Column("number", Integer, nullable=False),
    Column("recipient", String(MAX_ADDRESS), nullable=False),
    Column("fields", Text, nullable=False),  # JSON
    Column("segments", Integer, nullable=False),
    Column("cells", Text),  # JSON: the whole line of the file, for the report
    # Also the index for paging through a campaign.
    PrimaryKeyConstraint("campaign_id", "number"),
    CheckConstraint("number >= 1", name="number"),
)
"""The recipients in a campaign's file; Temporal has the outcome of each message."""

campaign_uploads = Table(
    "campaign_uploads",
    metadata,
    Column("upload_id", String(43), primary_key=True),
    Column("uploaded_by", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("message", Text, nullable=False),  # JSON
    Column("to_column", Text, nullable=False),
    Column("campaign_id", String(64)),  # NULL: derived from the content
    Column("size", BigInteger, nullable=False),
    Index(None, "created_at"),
)
"""Files that were checked on the operations page and whose campaign was not started yet."""

campaign_upload_parts = Table(
    "campaign_upload_parts",
    metadata,
    Column("upload_id", String(43), ForeignKey(campaign_uploads.c.upload_id), nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("upload_id", "number"),
)
"""Their contents, piece by piece."""

ops_sessions = Table(
    "ops_sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""Who is signed in to the operations page."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", _Id, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", String(100), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("why", String(500)),
    Column("details", Text),
    Index(None, "subject"),
    Index(None, "who"),
    Index(None, "action"),
    sqlite_autoincrement=True,
)
"""What people did. A trigger refuses to change a row, and to delete one of the last year."""

hash_keys = Table(
    "hash_keys",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("key", String(64), nullable=False),  # hexadecimal
)
"""Random keys, made at the first use; see `signedfor.store.people`."""

message_index = Table(
    "message_index",
    metadata,
    Column("message_id", String(255), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("status", String(40), nullable=False),
    Column("sender", String(MAX_ADDRESS)),  # masked, as in the search attribute
    Column("tenant", String(MAX_LABEL)),
    Column("campaign_id", String(64)),
    Column("message_sid", String(64)),
    Column("error_code", Integer),
    Column("person", String(32)),  # a reference; NULL until it is known
    Column("closed_hour", UtcDateTime),  # `closed_at`, rounded down
    # False if its workflow ended without one
    Column("has_report", Boolean, nullable=False, server_default=true()),
    Index(None, "started_at", "message_id"),
    Index(None, "person", "started_at", "message_id"),
    Index(None, "status", "started_at", "message_id"),
    # With the status, which most filters have too: a row that has another one need not be read.
    Index(None, "sender", "started_at", "message_id", "status"),
    Index(None, "tenant", "started_at", "message_id", "status"),
    Index(None, "campaign_id", "started_at", "message_id"),
    Index(None, "error_code", "started_at", "message_id"),
    Index(None, "message_sid"),
    # All that counts need: of an hour, of longer times, and of campaigns. Of the latter two the
    # order is that of the groups: sorting 100,000 rows takes five times as long as reading them.
    Index(None, "closed_at", "status", "sender", "started_at"),
    Index(None, "closed_hour", "status", "sender"),
    Index(None, "campaign_id", "status", "started_at", "message_id"),
)
"""What Temporal shows of each message, for searching and counting; it can be made again."""
# A literal: with a parameter, neither database uses the index below.
IS_RETRY: Final = message_index.c.message_id.like(literal_column("'%.retry-%'"))
"""The messages that retry another one, and a few whose ids only look so."""
Index(
    "ix_message_index_retries",
    *(message_index.c[name] for name in ("campaign_id", "message_id")),
    sqlite_where=IS_RETRY,
    postgresql_where=IS_RETRY,
)
HAS_NO_REPORT: Final = message_index.c.has_report.is_(False)
Index(
    "ix_message_index_no_report",
    *(message_index.c[name] for name in ("campaign_id", "has_report")),
    sqlite_where=HAS_NO_REPORT,
    postgresql_where=HAS_NO_REPORT,
)

dead_letter_index = Table(
    "dead_letter_index",
    metadata,
    Column("message_id", String(255), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("status", String(40), nullable=False),
    Column("failure_class", String(40)),
    Column("error_code", Integer),
    Column("may_have_arrived", Boolean, nullable=False),
    Column("sender", String(MAX_ADDRESS)),  # masked, as in the search attribute
    Column("tenant", String(MAX_LABEL)),
    Column("campaign_id", String(64)),
    Column("message_sid", String(64)),
    Index(None, "closed_at"),
)
"""What Temporal shows of each dead letter; it can be made again, too."""
IS_OPEN: Final = dead_letter_index.c.closed_at.is_(None)
Index(
    "ix_dead_letter_index_open",
    dead_letter_index.c.started_at,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
# A literal, as above.
IS_DELIVERED_LATE: Final = dead_letter_index.c.status == literal_column("'delivered_late'")
Index(
    "ix_dead_letter_index_delivered_late",
    *(dead_letter_index.c[name] for name in ("campaign_id", "message_id")),
    sqlite_where=IS_DELIVERED_LATE,
    postgresql_where=IS_DELIVERED_LATE,
)
