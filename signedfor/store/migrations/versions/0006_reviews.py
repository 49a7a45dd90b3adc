"""A pending review suppresses; the reviews that are pending now suppress marketing messages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

from signedfor.consent import addresses_of, person

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REASON = "ck_suppressions_reason"
_SCOPE = "ck_suppressions_scope"
_PENDING = sa.text("kind = 'review' AND reviewed_at IS NULL")
_OPT_IN_MARGIN = timedelta(seconds=5)
_TIME = sa.DateTime(timezone=True)

_inbound = sa.table(
    "inbound_messages",
    *(sa.column(name) for name in ("message_sid", "from_address", "to_address")),
    *(sa.column(name) for name in ("messaging_service_sid", "kind")),
    *(sa.column(name, _TIME) for name in ("received_at", "reviewed_at")),
)
_SUPPRESSION = ("recipient", "scope", "scope_value", "reason", "source", "evidence", "to_sender")
_suppressions = sa.table(
    "suppressions", *map(sa.column, _SUPPRESSION), sa.column("created_at", _TIME)
)
_history = sa.table(
    "suppression_history",
    *map(sa.column, (*_SUPPRESSION, "action", "changed_by")),
    sa.column("at", _TIME),
)
_to_sender = sa.func.coalesce(_inbound.c.messaging_service_sid, _inbound.c.to_address)


def upgrade() -> None:
    _constrain(
        "reason IN ('opted_out', 'undeliverable', 'manual', 'review')",
        "scope IN ('everything', 'sender', 'category', 'sender_category')",
    )
    op.create_index(
        "ix_inbound_messages_pending",
        "inbound_messages",
        ["kind", "reviewed_at", "received_at", "message_sid"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    _suppress_until_reviewed()


def downgrade() -> None:
    op.drop_index("ix_inbound_messages_pending", "inbound_messages")
    # The version before knows neither.
    op.execute("DELETE FROM suppressions WHERE reason = 'review' OR scope = 'sender_category'")
    _constrain(
        "reason IN ('opted_out', 'undeliverable', 'manual')",
        "scope IN ('everything', 'sender', 'category')",
    )


def _constrain(reason: str, scope: str) -> None:
    # SQLite copies the table.
    with op.batch_alter_table("suppressions", table_kwargs={"sqlite_autoincrement": True}) as table:
        for name, condition in ((_REASON, reason), (_SCOPE, scope)):
            table.drop_constraint(op.f(name), type_="check")
            table.create_check_constraint(op.f(name), condition)


def _suppress_until_reviewed() -> None:
    """As with the default settings; which ones will be used is not known here."""
    connection = op.get_bind()
    pending = connection.execute(
        sa.select(_inbound, _to_sender.label("to_sender"))
        .where(_PENDING)
        .order_by(_inbound.c.received_at.desc(), _inbound.c.message_sid)
    ).all()
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for review in pending:
        key = person(review.from_address), review.to_sender
        if key in newest or _has_opted_in_since(connection, review):
            continue
        newest[key] = {
            "recipient": key[0],
            "scope": "category",
            "scope_value": "marketing",
            "reason": "review",
            "source": "inbound",
            "evidence": review.message_sid,
            "to_sender": review.to_sender,
            "created_at": review.received_at,
        }
    if not newest:
        return
    connection.execute(_suppressions.insert(), list(newest.values()))
    changes = {"action": "recorded", "changed_by": "migration 0006", "at": datetime.now(UTC)}
    connection.execute(
        _history.insert(),
        [{name: row[name] for name in _SUPPRESSION} | changes for row in newest.values()],
    )


def _has_opted_in_since(connection: sa.Connection, review: sa.Row[Any]) -> bool:
    later = sa.select(_inbound.c.message_sid).where(
        _inbound.c.from_address.in_(addresses_of(person(review.from_address))),
        _inbound.c.kind.in_(["start", "yes"]),
        _inbound.c.received_at >= review.received_at + _OPT_IN_MARGIN,
        (_inbound.c.kind == "start") | (_to_sender == review.to_sender),
    )
    return connection.execute(later.limit(1)).first() is not None
