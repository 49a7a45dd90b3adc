"""Writing a file atomically."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from signedfor.errors import Unavailable


@contextmanager
def atomic_write(file: Path) -> Iterator[TextIO]:
    """Write to a temporary file, readable by its owner only, that replaces `file` at the end.

    A pipe, a device or `/dev/stdout` is not replaced but written to.

    Raises:
        Unavailable: it cannot be written.
    """
    with _file_errors():
        is_special = file.exists() and not file.is_file()
    if is_special:
        with _file_errors():
            descriptor = os.open(file, os.O_WRONLY)
        with _text(descriptor) as opened:
            yield opened
        return
    target = file.resolve()
    with _file_errors():
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with _text(descriptor) as temporary:
            yield temporary
            temporary.flush()
            with _file_errors():
                os.fsync(temporary.fileno())
        with _file_errors():
            partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _File(io.FileIO):
    """A file that reports its own errors; those of the code that writes to it pass unchanged."""

    def write(self, data: Any, /) -> int:
        with _file_errors():
            return super().write(data)


def _text(descriptor: int) -> TextIO:
    raw = _File(descriptor, "w")
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", newline="")


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The file cannot be written ({error.strerror}).") from None
