"""Writing a file that is whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cli.output import Trouble


@contextmanager
def whole_file(file: Path) -> Iterator[TextIO]:
    """Write beside `file`, readable by its owner only, and replace it when the block has ended.

    Raises:
        Trouble: it cannot be written.
    """
    target = file.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as beside:
                yield beside
                beside.flush()
                os.fsync(beside.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Trouble(f"The file cannot be written ({error.strerror}).") from None
