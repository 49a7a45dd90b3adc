"""Writing plain text to standard output and standard error."""

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from signedfor.errors import CommandError
from signedfor.process import end_unread


def write(text: str, stream: TextIO | None) -> None:
    """Write a line at once; the process ends quietly if nobody reads it."""
    if stream is None:  # started with `>&-`
        return
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        end_unread(stream)


def write_document(document: Mapping[str, Any]) -> None:
    """Write a JSON document to standard output."""
    write(json.dumps(document, indent=2), sys.stdout)


def write_failure(error: CommandError, *, as_json: bool, hint: str | None = None) -> None:
    """Write why a command failed; `hint` replaces its text for people."""
    if as_json:
        write_document(error.document())
    write(escaped(hint or str(error)), sys.stderr)


def escaped(text: str) -> str:
    """`text` with its control characters escaped: a message may contain escape sequences."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )
