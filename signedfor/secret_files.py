"""Secrets in files: `NAME_FILE` names a file that has the value of the variable NAME.

So a secret is neither in the environment that `docker inspect` shows nor in a file of variables.
It works for each of our secrets, also for those that libraries read: PostgreSQL's, Temporal's and
OpenTelemetry's. This module imports nothing that takes time: every command calls it.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from signedfor.errors import InvalidSettings

SECRETS: Final = (
    "CODEC_SERVER_TOKEN",
    "DATABASE_URL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "PGPASSWORD",
    "TEMPORAL_API_KEY",
    "TWILIO_API_KEY_SECRET",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_PREVIOUS_AUTH_TOKEN",
    "TWILIO_WEBHOOK_SHARED_KEYS",
)
_MAX_BYTES: Final = 65_536


class BadSecretFiles(InvalidSettings):
    """Files of secrets cannot be used; `problems` are pairs of a variable and what is wrong."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {variable}: {what}" for variable, what in problems)
        super().__init__(
            f"The environment is incomplete or wrong; .env.example explains each variable.\n{lines}"
        )
        self.problems = problems


def read_secret_files(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set each secret from the file that its `NAME_FILE` names, without the line break at its end.

    `NAME_FILE` is removed then. An empty file, like an empty variable, is none.

    Raises:
        BadSecretFiles: names every variable whose file cannot be used, never a value or a path.
    """
    problems = []
    for name in SECRETS:
        variable = f"{name}_FILE"
        path = environment.get(variable)
        if not path:
            continue
        value, problem = _read(Path(path))
        if environment.get(name):
            problem = f"is set, and so is {name}: set one of them"
        if problem:
            problems.append((variable, problem))
            continue
        del environment[variable]
        if value:
            environment[name] = value
    if problems:
        raise BadSecretFiles(problems)


def _read(path: Path) -> tuple[str, str | None]:
    """The file's value, and what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        value = content.decode().rstrip("\r\n")
    except OSError as error:
        return "", f"the file cannot be read ({error.strerror})"
    except ValueError:  # not UTF-8; a path with a NUL
        return "", "the file is not text in UTF-8"
    if len(content) > _MAX_BYTES:
        return "", f"the file is larger than {_MAX_BYTES} bytes"
    if any(each in value for each in "\n\r\0"):
        return "", "the file must have one line, with nothing but the secret"
    return value, None
