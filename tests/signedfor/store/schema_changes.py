"""What a migration takes away from the versions before it: the difference of two schemas."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Inspector, inspect


@dataclass(frozen=True)
class Column:
    """A column, as far as a version that reads and writes its table depends on it."""

    type: str
    nullable: bool
    has_default: bool


@dataclass(frozen=True)
class Table:
    """A table with its columns and with what it demands of rows."""

    columns: dict[str, Column]
    unique: frozenset[tuple[str, ...]]
    demands: frozenset[str]
    """Checks and foreign keys."""


Schema = dict[str, Table]


def schema_of(connection: Connection) -> Schema:
    """The tables of the database but Alembic's own."""
    inspector = inspect(connection)
    return {
        name: Table(
            columns={each["name"]: _column(each) for each in inspector.get_columns(name)},
            unique=frozenset(_unique_keys(inspector, name)),
            demands=frozenset(_demands(inspector, name)),
        )
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def _column(found: Any) -> Column:
    has_default = found["default"] is not None or found.get("autoincrement") is True
    return Column(str(found["type"]), found["nullable"], has_default)


def _unique_keys(inspector: Inspector, table: str) -> Iterator[tuple[str, ...]]:
    yield tuple(inspector.get_pk_constraint(table)["constrained_columns"])
    for constraint in inspector.get_unique_constraints(table):
        yield tuple(constraint["column_names"])
    for index in inspector.get_indexes(table):
        if index["unique"]:
            yield tuple(str(column) for column in index["column_names"])


def _demands(inspector: Inspector, table: str) -> Iterator[str]:
    for check in inspector.get_check_constraints(table):
        yield f"check {check['sqltext']}"
    for key in inspector.get_foreign_keys(table):
        yield f"foreign key {key['constrained_columns']}"


def contractions(before: Schema, after: Schema) -> list[str]:
    """What a version that knows the schema before can no longer rely on.

    It reads and writes every table, leaves out the columns that it does not know, and relies on
    unique keys (ON CONFLICT). A new demand may refuse what it writes. Triggers are not compared.
    """
    return [
        what for name in sorted(before) for what in _of_table(name, before[name], after.get(name))
    ]


def _has_default(column: Any) -> bool:
    return column["default"] is not None or bool(column.get("autoincrement") is True)


def _of_table(name: str, before: Table, after: Table | None) -> Iterator[str]:
    if after is None:
        yield f"table {name} is gone"
        return
    for column, was in before.columns.items():
        now = after.columns.get(column)
        if now is None:
            yield f"column {name}.{column} is gone"
        elif now.type != was.type:
            yield f"column {name}.{column} has another type"
        elif was.nullable and not now.nullable:
            yield f"column {name}.{column} must not be NULL now"
        elif was.has_default and not now.has_default:
            yield f"column {name}.{column} has no default any more"
    for column in after.columns.keys() - before.columns.keys():
        now = after.columns[column]
        if not now.nullable and not now.has_default:
            yield f"column {name}.{column} is new, and NOT NULL without a default"
    yield from (f"unique key {name}{key} is gone" for key in sorted(before.unique - after.unique))
    yield from (f"unique key {name}{key} is new" for key in sorted(after.unique - before.unique))
    yield from (f"{name} demands more: {each}" for each in sorted(after.demands - before.demands))
