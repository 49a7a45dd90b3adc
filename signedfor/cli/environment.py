"""The database and its settings, from the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import Engine

from signedfor.cli.output import BadInput, Unavailable
from signedfor.contract.fields import problems_in
from signedfor.settings import CampaignSettings, DatabaseSettings
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.migrate import SchemaMismatch, missing_file, pending

_Settings = TypeVar("_Settings", bound=DatabaseSettings)


def database_settings() -> DatabaseSettings:
    """The settings of commands that need only the database.

    Raises:
        BadInput: names each variable that cannot be used.
    """
    return _settings(DatabaseSettings)


def campaign_settings() -> CampaignSettings:
    """The settings of the campaign commands.

    Raises:
        BadInput: names each variable that cannot be used.
    """
    return _settings(CampaignSettings)


def _settings(kind: type[_Settings]) -> _Settings:
    try:
        return kind()
    except ValidationError as error:
        raise BadInput([(name.upper(), what) for name, what in problems_in(error)]) from None


@contextmanager
def database() -> Iterator[Engine]:
    """The migrated database of DATABASE_URL; errors of the store become the command's.

    Raises:
        BadInput: DATABASE_URL cannot be used.
        Unavailable: the database cannot be used, or is not at this version's migrations.
    """
    url = database_settings().database_url
    with database_errors():
        if (path := missing_file(url)) is not None:
            raise Unavailable(_no_file(path))
        missing = pending(url)
        if missing:
            raise Unavailable(
                f"The database lacks these migrations: {', '.join(missing)}. "
                "Run `signedfor migrate` with the same DATABASE_URL first."
            )
        engine = open_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()


def _no_file(path: Path) -> str:
    create = "`signedfor migrate` creates a new database."
    if os.environ.get("DATABASE_URL"):
        return f"There is no file {path}, and DATABASE_URL names it. {create}"
    return (
        f"DATABASE_URL is not set, and there is no {path} in this folder. Set it, or name a file "
        f"that sets it: `signedfor --env-file FILE ...`. {create}"
    )


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn the store's errors into the command's."""
    try:
        yield
    except InvalidDatabaseUrl as error:
        raise BadInput([field_and_problem(error)]) from None
    except (DatabaseUnavailable, SchemaMismatch) as error:
        raise Unavailable(str(error)) from None


def field_and_problem(error: ValueError) -> tuple[str, str]:
    """The two parts of the store's `field: what is wrong`."""
    field, _, what = str(error).partition(": ")
    return field, what
