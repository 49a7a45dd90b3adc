"""What is old enough can be deleted, and the history of an erased person pseudonymised."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_PURGED = (
    ("suppressions", "expires_at", "expires_at IS NOT NULL"),
    ("opt_ins", "withdrawn_at", "withdrawn_at IS NOT NULL"),
    ("held_back_messages", "at", None),
)
_DAYS = 365
"""Within so many days no row of the append-only tables is deleted, whatever the settings say."""
_KEPT = (
    "id",
    "at",
    "action",
    "scope",
    "scope_value",
    "reason",
    "source",
    "changed_by",
    "to_sender",
)
"""The columns of the history that never change."""
_EVIDENCE = "NEW.evidence IN (OLD.evidence, '[erased]')"


def upgrade() -> None:
    for table, column, condition in _PURGED:
        where = None if condition is None else sa.text(condition)
        op.create_index(
            f"ix_{table}_{column}", table, [column], sqlite_where=where, postgresql_where=where
        )
    if op.get_bind().dialect.name == "postgresql":
        _loosen_on_postgresql()
    else:
        _loosen_on_sqlite()


def _loosen_on_sqlite() -> None:
    reference = "[0-9a-f]" * 32
    glob = (
        "({0}.recipient GLOB '" + reference + "' OR {0}.recipient GLOB '[a-z]*:" + reference + "')"
    )
    pseudonymised = " AND ".join(
        (
            f"NOT ({glob.format('OLD')})",
            f"({glob.format('NEW')})",
            _EVIDENCE,
            *(f"NEW.{each} IS OLD.{each}" for each in _KEPT),
        )
    )
    is_new = f"OLD.at >= datetime('now', '-{_DAYS} days')"
    for table, text, update_unless in (
        ("suppression_history", "suppression_history is append-only", pseudonymised),
        ("audit_log", "the audit log is append-only", None),
    ):
        refuse = f"BEGIN SELECT RAISE(ABORT, '{text}'); END"
        prefix = f"{table}_append_only" if table == "suppression_history" else f"{table}_no"
        op.execute(f"DROP TRIGGER {prefix}_delete")
        op.execute(
            f"CREATE TRIGGER {prefix}_delete BEFORE DELETE ON {table} WHEN {is_new} {refuse}"
        )
        if update_unless is not None:
            op.execute(f"DROP TRIGGER {prefix}_update")
            op.execute(
                f"CREATE TRIGGER {prefix}_update BEFORE UPDATE ON {table} "
                f"WHEN NOT ({update_unless}) {refuse}"
            )


def _loosen_on_postgresql() -> None:
    kept = " AND ".join(f"NEW.{each} IS NOT DISTINCT FROM OLD.{each}" for each in _KEPT)
    pattern = "'^([a-z]+:)?[0-9a-f]{32}$'"
    pseudonymised = (
        f"OLD.recipient !~ {pattern} AND NEW.recipient ~ {pattern} AND {_EVIDENCE} AND {kept}"
    )
    old = f"OLD.at < now() - interval '{_DAYS} days'"
    for table, function, name, allowed in (
        (
            "suppression_history",
            "suppression_history_refuse",
            "suppression_history_append_only",
            {"UPDATE": pseudonymised, "DELETE": old},
        ),
        (
            "audit_log",
            "audit_log_is_append_only",
            "audit_log_append_only",
            {"UPDATE": "false", "DELETE": old},
        ),
    ):
        op.execute(f"DROP TRIGGER {name} ON {table}")
        op.execute(
            f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )
        for change, condition in allowed.items():
            op.execute(
                f"CREATE TRIGGER {name}_{change.lower()} BEFORE {change} ON {table} "
                f"FOR EACH ROW WHEN (NOT ({condition})) EXECUTE FUNCTION {function}()"
            )


def downgrade() -> None:
    history, log = "suppression_history", "audit_log"
    if op.get_bind().dialect.name == "postgresql":
        for table, name, function in (
            (history, f"{history}_append_only", f"{history}_refuse"),
            (log, f"{log}_append_only", f"{log}_is_append_only"),
        ):
            for each in (name, f"{name}_update", f"{name}_delete"):
                op.execute(f"DROP TRIGGER {each} ON {table}")
            op.execute(
                f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
    else:
        for table, prefix, change, text in (
            (history, f"{history}_append_only", "update", history),
            (history, f"{history}_append_only", "delete", history),
            (log, f"{log}_no", "delete", "the audit log"),
        ):
            op.execute(f"DROP TRIGGER {prefix}_{change}")
            op.execute(
                f"CREATE TRIGGER {prefix}_{change} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{text} is append-only'); END"
            )
    for table, column, _ in _PURGED:
        op.drop_index(f"ix_{table}_{column}", table)
