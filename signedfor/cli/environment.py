"""Where the commands' settings come from: the environment, then a `.env` file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values
from pydantic import ValidationError
from sqlalchemy import Engine

from signedfor.cli.output import BadInput, Trouble
from signedfor.payloads import problems_in
from signedfor.settings import CampaignSettings, DatabaseSettings
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.migrate import SchemaMismatch, pending

ENV_FILE = Path(".env")

_Settings = TypeVar("_Settings", bound=DatabaseSettings)


def read_env_file(path: Path | None) -> None:
    """Add the variables of `path`, or of `.env` if it is there; what is set already wins.

    They go into the process's environment because Temporal's own reader looks there.

    Raises:
        BadInput: the file was named and cannot be read.
    """
    chosen = path or ENV_FILE
    if path is None and not chosen.is_file():
        return
    try:
        with chosen.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file)
    except OSError as error:
        raise BadInput([("--env-file", f"cannot be read ({error.strerror})")]) from None
    except UnicodeDecodeError:
        raise BadInput([("--env-file", "is not UTF-8 text")]) from None
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)


def database_settings() -> DatabaseSettings:
    """The settings of those who need only the database.

    Raises:
        BadInput: one of them cannot be used.
    """
    return _settings(DatabaseSettings)


def campaign_settings() -> CampaignSettings:
    """What campaigns read from the environment.

    Raises:
        BadInput: names each variable that is not right.
    """
    return _settings(CampaignSettings)


def _settings(kind: type[_Settings]) -> _Settings:
    try:
        return kind()
    except ValidationError as error:
        raise BadInput([(name.upper(), what) for name, what in problems_in(error)]) from None


@contextmanager
def database() -> Iterator[Engine]:
    """The migrated database of DATABASE_URL.

    Raises:
        BadInput: DATABASE_URL is not one.
        Trouble: it cannot be used, or is not at this version's migrations.
    """
    url = database_settings().database_url
    with database_trouble():
        missing = pending(url)  # creates nothing, unlike opening a SQLite file that is not there
        if missing:
            raise Trouble(
                f"The database lacks these migrations: {', '.join(missing)}. "
                "Run `signedfor migrate` with the same DATABASE_URL first."
            )
        engine = open_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def database_trouble() -> Iterator[None]:
    """Turn the store's errors into the command's."""
    try:
        yield
    except InvalidDatabaseUrl as error:
        name, _, what = str(error).partition(": ")
        raise BadInput([(name, what)]) from None
    except (DatabaseUnavailable, SchemaMismatch) as error:
        raise Trouble(str(error)) from None
