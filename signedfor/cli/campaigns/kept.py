"""Rows that were checked, put aside on disk.

What is loaded later is then what was checked, whatever becomes of the file meanwhile.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import islice
from types import TracebackType
from typing import Final

from signedfor.cli.output import Trouble
from signedfor.store.campaigns import CampaignRow

BATCH: Final = 1000


class KeptRows(AbstractContextManager["KeptRows"]):
    """Rows in a file without a name: numbers and fields, which go with the process.

    Raises `Trouble` when the disk cannot take them.
    """

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise _trouble(error) from None
        self._digest = hashlib.sha256()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget them."""
        with suppress(OSError):  # what it could not write it tries once more here
            self._file.close()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of whom it goes to and with which fields, in order; however the file is saved."""
        return self._digest.hexdigest()

    def add(self, row: CampaignRow) -> None:
        """Keep one more; they must come in order."""
        line = json.dumps([row.to, row.fields])
        self._digest.update(f"{line}\n".encode())
        try:
            self._file.write(f"{row.segments} {line}\n")
        except OSError as error:
            raise _trouble(error) from None

    def batches(self) -> Iterator[list[CampaignRow]]:
        """All rows, in order."""
        rows = self._rows()
        while batch := list(islice(rows, BATCH)):
            yield batch

    def _rows(self) -> Iterator[CampaignRow]:
        try:
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                segments, _, kept = line.partition(" ")
                to, fields = json.loads(kept)
                yield CampaignRow(number=number, to=to, fields=fields, segments=int(segments))
        except OSError as error:
            raise _trouble(error) from None


def _trouble(error: OSError) -> Trouble:
    return Trouble(
        "The rows cannot be kept in the folder for temporary files, which TMPDIR names "
        f"({error.strerror})."
    )
