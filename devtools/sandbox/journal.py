"""The journal: what happened, as JSON lines, so that the books survive a kill of the process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class Journal:
    """Appends to a file, or keeps nothing when there is no path.

    Every event is handed to the operating system at once: it survives a kill of the process, not
    a crash of the machine.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield the events in the file, oldest first; a line torn by a kill is left out."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                yield event

    def open(self) -> None:
        """Start to append."""
        if self._path is None:
            return
        written = self._path.read_bytes() if self._path.exists() else b""
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        if written and not written.endswith(b"\n"):
            self._file.write("\n")

    @property
    def is_kept(self) -> bool:
        """Whether events are written anywhere."""
        return self._file is not None

    def append(self, event: str, **fields: Any) -> None:
        """Write one event."""
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
