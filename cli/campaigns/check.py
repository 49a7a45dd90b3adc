"""The whole file, checked: every row is read and looked at before anything is done.

The rows that are right are put aside on disk as they are checked, so that what is loaded later is
what was checked, whatever becomes of the file meanwhile.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol

from cli.campaigns.preview import Tally
from cli.campaigns.recipients import RecipientsFile, UnreadableFile
from cli.campaigns.rows import CheckedRow, RowChecks
from cli.output import BadInput
from messaging.contract import CampaignMessage
from store.campaigns import CampaignRow

PROBLEMS_SHOWN: Final = 20
BATCH: Final = 1000


class BadRows(BadInput):
    """What is wrong with the file: the first problems, and how many there are."""

    def __init__(self, problems: "Problems") -> None:
        super().__init__(problems.shown)
        self.total = problems.total

    def __str__(self) -> str:
        more = self.total - len(self.problems)
        return super().__str__() + (f"\n  and {more:,} more problems" if more else "")

    def document(self) -> dict[str, Any]:
        """See base class."""
        document = super().document()
        document["error"]["total"] = self.total
        return document


class Problems:
    """The problems found so far; only the first are kept."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.total = 0

    def add(self, line: int, *found: str) -> None:
        """More of them, in this line."""
        self.total += len(found)
        for what in found[: PROBLEMS_SHOWN - len(self.shown)]:
            self.shown.append((f"line {line}", what))


class Suppressed(Protocol):
    """Whom of many nothing may be sent to: `Suppressions.among`."""

    def among(
        self, recipients: Collection[str], *, sender: str | None, category: str | None
    ) -> frozenset[str]:
        """Those of them."""


class KeptRows(AbstractContextManager["KeptRows"]):
    """Rows on disk in a file without a name: numbers and fields, which go with the process."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by __exit__

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget them."""
        self._file.close()

    def add(self, row: CampaignRow) -> None:
        """Keep one more; they must come in order."""
        self._file.write(json.dumps([row.to, row.fields, row.segments]) + "\n")

    def batches(self) -> Iterator[list[CampaignRow]]:
        """All rows, in order."""
        self._file.seek(0)
        batch: list[CampaignRow] = []
        for number, line in enumerate(self._file, 1):
            to, fields, segments = json.loads(line)
            batch.append(CampaignRow(number=number, to=to, fields=fields, segments=segments))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A file all of whose rows can be sent."""

    tally: Tally
    fingerprint: str
    """SHA-256 of its bytes."""


def check_file(
    file: RecipientsFile,
    message: CampaignMessage,
    *,
    to_column: str,
    suppressed: Suppressed,
    kept: KeptRows,
    own: Collection[str] = (),
    public_names: Mapping[str, str] | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> CheckedFile:
    """Check every row and keep it; `on_progress` hears how many bytes have been read.

    Raises:
        BadRows: a row or the file is not right; names lines and columns, never what they hold.
        BadInput: the text does not go with the file.
    """
    problems, tally = Problems(), Tally()
    opt_outs = _OptOuts(tally, suppressed, message)
    try:
        checks = RowChecks(
            message,
            file.header(to_column),
            to_column=to_column,
            own=own,
            public_names=public_names,
        )
        for count, line in enumerate(file.lines(), 1):
            if count % BATCH == 0:
                on_progress(file.read)
            found = checks.check(line)
            if not isinstance(found, CheckedRow):
                problems.add(line.number, *found)
            elif not problems.total:
                kept.add(found.row)
                tally.add(found)
                opt_outs.add(found.row)
    except UnreadableFile as error:
        problems.add(error.line, str(error))
    if not (tally.rows or problems.total):
        problems.add(1, "has a header and no rows below it")
    if problems.total:
        raise BadRows(problems)
    opt_outs.count()
    return CheckedFile(tally=tally, fingerprint=file.fingerprint)


class _OptOuts:
    """Counts who is not sent to, a batch at a time."""

    def __init__(self, tally: Tally, suppressed: Suppressed, message: CampaignMessage) -> None:
        self._tally = tally
        self._suppressed = suppressed
        self._message = message
        self._batch: list[CampaignRow] = []

    def add(self, row: CampaignRow) -> None:
        """One more to look up."""
        self._batch.append(row)
        if len(self._batch) == BATCH:
            self.count()

    def count(self) -> None:
        """Look up those that were not yet."""
        if not self._batch:
            return
        found = self._suppressed.among(
            [row.to for row in self._batch],
            sender=self._message.sender,
            category=self._message.category,
        )
        self._tally.suppressed += len(found)
        self._tally.suppressed_segments += sum(
            row.segments for row in self._batch if row.to in found
        )
        self._batch.clear()
