"""`python -m ops`: the operations page as a process; `python -m ops add-user`: who may use it."""

import argparse
import asyncio
import contextlib
import getpass
import logging
import os
import sys
from pathlib import Path
from typing import Final

import uvloop
from sqlalchemy import Engine

from ops.access import InvalidUsers, Role, write_user
from ops.app import create_app
from ops.settings import OpsSettings, load_ops_settings
from signedfor.errors import InvalidSettings
from signedfor.http_server import Limits, Server
from signedfor.logging import configure_logging
from signedfor.process import end_process, keep_memory_private
from signedfor.secret_files import read_secret_files
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.migrate import SchemaMismatch, require_usable
from signedfor.temporal import TemporalUnavailable, connect_temporal
from signedfor.trace_export import exporting_traces

_logger = logging.getLogger(__name__)

POOL_SIZE = 8
_LIMITS: Final = Limits(body_seconds=120, answer_seconds=300, connections=200)
"""The body may be a campaign's file, over a slow line."""


def main() -> int:
    """Run the page, or add a user: 0 after a clean end, 1 with a one-line error."""
    keep_memory_private()
    arguments = _arguments()
    try:
        if arguments.command == "add-user":
            return _add_user(arguments)
        read_secret_files()
        settings = load_ops_settings()
        configure_logging(settings.log_level, settings.log_format)
        with exporting_traces("signedfor-ops"):
            return uvloop.run(_serve(settings))
    except (
        InvalidSettings,
        InvalidUsers,
        InvalidDatabaseUrl,
        SchemaMismatch,
        TemporalUnavailable,
    ) as error:
        sys.stderr.write(f"signedfor ops: {error}\n")
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops", description="The operations page.")
    commands = parser.add_subparsers(dest="command")
    add_user = commands.add_parser(
        "add-user", help="add a person to OPS_USERS_FILE, or change role and password"
    )
    add_user.add_argument("name")
    add_user.add_argument("--role", choices=list(Role), type=Role, default=Role.LOOK)
    return parser.parse_args()


def _add_user(arguments: argparse.Namespace) -> int:
    """Ask for the password, or read it from standard input if that is no terminal."""
    file = os.environ.get("OPS_USERS_FILE")
    if not file:
        raise InvalidUsers("OPS_USERS_FILE must be set to the path of the users file.")
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise InvalidUsers("The two passwords differ; nothing was written.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    write_user(Path(file), arguments.name, arguments.role, password)
    sys.stdout.write(f"{arguments.name} can sign in now, with the role {arguments.role}.\n")
    return 0


async def _serve(settings: OpsSettings) -> int:
    engine = open_engine(settings.database_url, pool_size=POOL_SIZE)
    try:
        await asyncio.to_thread(_check_schema, engine)
        client = await connect_temporal(lazy=True, logs_here=True)
        server = Server(
            create_app(settings, client=client, engine=engine),
            host=settings.ops_host,
            port=settings.ops_port,
            limits=_LIMITS,
        )
        return 0 if await server.run_to_end() else 1
    finally:
        engine.dispose()


def _check_schema(engine: Engine) -> None:
    """Warn of a newer schema; SchemaMismatch if this version cannot use it.

    A database that is away is no reason not to start: the pages say so until it is back.
    """
    with contextlib.suppress(DatabaseUnavailable):
        schema = require_usable(engine)
        if schema.warning is not None:
            _logger.warning("%s", schema.warning)


if __name__ == "__main__":
    end_process(main())
