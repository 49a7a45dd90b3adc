"""Writing a file that is whole or not there."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from signedfor.cli.output import Trouble


@contextmanager
def whole_file(file: Path) -> Iterator[TextIO]:
    """Write beside `file`, readable by its owner only, and replace it when the block has ended.

    What is no regular file, such as a pipe or `/dev/stdout`, is not replaced but written to.

    Raises:
        Trouble: it cannot be written.
    """
    with _trouble():
        is_special = file.exists() and not file.is_file()
    if is_special:
        with _trouble():
            descriptor = os.open(file, os.O_WRONLY)
        with _text(descriptor) as opened:
            yield opened
        return
    target = file.resolve()
    with _trouble():
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with _text(descriptor) as beside:
            yield beside
            beside.flush()
            with _trouble():
                os.fsync(beside.fileno())
        with _trouble():
            partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _File(io.FileIO):
    """A file whose own errors can be told from those of whoever writes to it."""

    def write(self, data: Any, /) -> int:
        with _trouble():
            return super().write(data)


def _text(descriptor: int) -> TextIO:
    raw = _File(descriptor, "w")
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", newline="")


@contextmanager
def _trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Trouble(f"The file cannot be written ({error.strerror}).") from None
