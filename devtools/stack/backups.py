"""Backups of the SQLite files of a local stack: Temporal's, and ours."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_database(source: Path, target: Path) -> None:
    """Take a consistent copy of a SQLite database that is in use, as a backup does."""
    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(target)) as to:
        from_.backup(to)


def restore_database(backup: Path, database: Path) -> None:
    """Replace a SQLite database that no process uses by a copy of it."""
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(backup, database)
