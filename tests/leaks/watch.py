"""What everybody on a machine can see of its processes, as long as they run."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.leaks.places import ARGUMENTS, COMMANDS, ENVIRONMENTS, TEMPORARY, UNNAMED, Piece

_EVERY_SECONDS: Final = 0.1
_FIRST_LOOKS: Final = 3
"""A new process shows its parent's arguments for a moment; hardly any changes its own later."""
_EVERY_LOOKS: Final = 20
_OURS: Final = tuple(
    f"\0{each}\0".encode() for each in ("worker", "webhook", "ops", "ops.codec_server")
)
_PROC = Path("/proc")


class Watch:
    """Looks at the processes again and again, and keeps what it saw, each thing once.

    Arguments and environments of every process are seen, as `ps` shows them, and the temporary
    files that they have open, with those that have no name any more.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._seen: set[Piece] = set()
        self._files: set[tuple[int, int]] = set()
        self._looks: Counter[str] = Counter()
        self._ours: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def pieces(self) -> Iterator[Piece]:
        """Everything that was seen."""
        yield from self._seen.copy()

    def look(self) -> None:
        """Look once."""
        for process in _PROC.iterdir():
            if not process.name.isdigit() or int(process.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                self._look_at(process)

    def _look_at(self, process: Path) -> None:
        self._looks[process.name] += 1
        looks = self._looks[process.name]
        if looks <= _FIRST_LOOKS or looks % _EVERY_LOOKS == 0:
            self._look_at_arguments(process)
        if process.name in self._ours:
            self._look_at_files(process)

    def _look_at_arguments(self, process: Path) -> None:
        arguments = (process / "cmdline").read_bytes()
        if not arguments:
            return  # the kernel's own
        is_ours = any(each in arguments for each in _OURS)
        self._seen.add(Piece(ARGUMENTS if is_ours else COMMANDS, "", arguments))
        environment = (process / "environ").read_bytes()
        self._seen.add(Piece(ENVIRONMENTS, "", environment))
        if str(self._temporary).encode() in environment:
            self._ours.add(process.name)

    def _look_at_files(self, process: Path) -> None:
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                is_unnamed = target.endswith(" (deleted)")
                if not (is_unnamed or target.startswith(str(self._temporary))):
                    continue
                found = link.stat()
                if (found.st_ino, found.st_size) not in self._files:
                    self._files.add((found.st_ino, found.st_size))
                    place = UNNAMED if is_unnamed else TEMPORARY
                    self._seen.add(Piece(place, target, link.read_bytes()))

    def _watch(self) -> None:
        while not self._end.is_set():
            self.look()
            self._end.wait(_EVERY_SECONDS)
