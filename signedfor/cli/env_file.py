"""The file of variables: `.env`, or the one that `--env-file` names."""

import os
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from signedfor.errors import BadInput

_ENV_FILE: Final = Path(".env")


def read_env_file(path: Path | None) -> None:
    """Add the variables of `path`, or of `.env` if there is one; variables already set win.

    They go into the process's environment because Temporal's own reader looks there.

    Raises:
        BadInput: the file cannot be read.
    """
    chosen = path or _ENV_FILE
    try:
        if path is None and not chosen.is_file():
            return
        with chosen.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file)
    except OSError as error:
        raise BadInput([(_name(path), f"cannot be read ({error.strerror})")]) from None
    except UnicodeDecodeError:
        raise BadInput([(_name(path), "is not UTF-8 text")]) from None
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)


def _name(path: Path | None) -> str:
    return f"the file {_ENV_FILE} in this folder" if path is None else "--env-file"
