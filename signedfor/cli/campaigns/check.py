"""The whole file, checked: every row is read and looked at before anything is done."""

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from signedfor.cli.campaigns.expiry import Lateness
from signedfor.cli.campaigns.kept import BATCH, KeptRows
from signedfor.cli.campaigns.preview import Tally
from signedfor.cli.campaigns.recipients import RecipientsFile, UnreadableFile
from signedfor.cli.campaigns.rows import CheckedRow, RowChecks
from signedfor.cli.output import BadInput
from signedfor.contract import CampaignMessage
from signedfor.store.campaigns import CampaignRow

PROBLEMS_SHOWN: Final = 20


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


def check_file(
    file: RecipientsFile,
    message: CampaignMessage,
    *,
    to_column: str,
    suppressed: Suppressed,
    kept: KeptRows,
    own: Collection[str] = (),
    campaign_id: str | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Check every row, keep it and count it; `on_progress` hears how many bytes have been read.

    Raises:
        BadRows: a row or the file is not right; names lines and columns, never what they hold.
        BadInput: the text does not go with the file.
    """
    problems, tally = Problems(), Tally()
    opt_outs, lateness = _OptOuts(tally, suppressed, message), Lateness(message)
    try:
        columns = file.header(to_column)
        checks = RowChecks(
            message,
            columns,
            to_column=to_column,
            delimiter=file.delimiter,
            own=own,
            campaign_id=campaign_id,
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
                tally.too_late += lateness.holds_for(found.row.to)
                opt_outs.add(found.row)
    except UnreadableFile as error:
        problems.add(error.line, str(error))
    if not (tally.rows or problems.total):
        problems.add(1, "has a header and no rows below it")
    if problems.total:
        raise BadRows(problems)
    opt_outs.count()
    return tally


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
        found = self._suppressed.find_suppressed(
            [row.to for row in self._batch],
            sender=self._message.sender,
            category=self._message.category,
        )
        self._tally.suppressed += len(found)
        self._tally.suppressed_segments += sum(
            row.segments for row in self._batch if row.to in found
        )
        self._batch.clear()
