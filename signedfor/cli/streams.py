"""Standard output and standard error: who may have closed them, and writing plain text to them."""

import io
import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, TextIO

from signedfor.cli.wrapping import width_of, wrapped
from signedfor.errors import CommandError, ExitCode
from signedfor.process import NOT_READ
from signedfor.times import iso8601


def guard_streams() -> None:
    """Make standard output and standard error of this process end it quietly when nobody reads.

    That is what SIGPIPE does to other programs, as in `signedfor opt-outs list | head`; Python
    ignores it. An output that cannot be written, such as to a full disk, is said in a sentence.
    """
    sys.stdout = _guarded(sys.stdout) if sys.stdout is not None else _text(_Closed())
    # A program that runs without standard error does not want to know.
    sys.stderr = _guarded(sys.stderr) if sys.stderr is not None else open(os.devnull, "w")  # noqa: SIM115, PTH123 - open to the end


class _Guarded(io.FileIO):
    """A standard stream; its descriptor stays open."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is buffered is written once more when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            if isinstance(error, BrokenPipeError):
                raise SystemExit(NOT_READ) from None
            _end(str(error.strerror))


class _Closed(io.RawIOBase):
    """Standard output of a process that was started without it (`>&-`)."""

    _is_known = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if not self._is_known:
            self._is_known = True
            _end("standard output is closed")
        return len(data)


def _end(why: str) -> NoReturn:
    write(f"The output cannot be written ({why}).", sys.stderr)
    raise SystemExit(ExitCode.UNAVAILABLE)


def _guarded(stream: TextIO) -> TextIO:
    raw = _Guarded(stream.fileno(), "w", closefd=False)
    return _text(raw, encoding=stream.encoding, errors=stream.errors)


def _text(raw: io.RawIOBase, *, encoding: str | None = None, errors: str | None = None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=raw.isatty()
    )


def write(text: str, stream: TextIO) -> None:
    """Write a line at once."""
    stream.write(f"{text}\n")
    stream.flush()


def write_document(document: Mapping[str, Any]) -> None:
    """Write a JSON document to standard output; times in it become text here."""
    write(json.dumps(document, indent=2, default=_encoded), sys.stdout)


def _encoded(value: object) -> str:
    if isinstance(value, datetime):
        return iso8601(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def write_failure(error: CommandError, *, as_json: bool, hint: str | None = None) -> None:
    """Write why a command failed; `hint` replaces its text for people."""
    if as_json:
        write_document(error.document())
    write(wrapped(escaped(hint or str(error)), width_of(sys.stderr)), sys.stderr)


def escaped(text: str) -> str:
    """`text` with its control characters escaped: a message may contain escape sequences."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )
