"""The whole file, checked: every row is read and checked before anything is done.

Problems name lines and columns and never show a cell.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from signedfor.campaigns.recipients import Line, RecipientsFile, UnreadableFile
from signedfor.campaigns.staging import BATCH, StagedRows
from signedfor.consent import person
from signedfor.contract import CampaignMessage, campaign_message_id
from signedfor.contract.fields import MAX_BODY_CHARACTERS
from signedfor.csv_problems import BadRows, CsvProblem, CsvProblems, SkippedRows
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.errors import BadInput
from signedfor.masks import contains_number_of
from signedfor.recipient_rules import recipient_problem
from signedfor.send_windows import LocalHours, local_hours, window_problem
from signedfor.spreadsheets import is_blank, number_damage, text_damage, unmasked
from signedfor.store.campaigns import CampaignRow
from signedfor.template import InvalidTemplate, placeholders, render
from signedfor.twilio.phone import (
    InvalidAddress,
    channel_of,
    is_messaging_service,
    normalize_recipient,
)
from signedfor.twilio.rates import rate_limited_segments
from signedfor.twilio.segments import Encoding, count_segments

_MESSAGES_SHOWN = 3

# The second alternative: it may become one with the row's number appended.
_MAY_HOLD_A_NUMBER = re.compile(r"\d{7}|\d$", re.ASCII)
_CHANNELS = {
    "": "a phone number",
    "whatsapp": "a WhatsApp address",
    "rcs": "an RCS address",
    "messenger": "a Messenger address",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRow:
    """A row that can be sent."""

    row: CampaignRow
    text: str
    encoding: Encoding


@dataclass(kw_only=True)
class Tally:
    """Totals of the rows of a file."""

    rows: int = 0
    segments: int = 0
    encodings: Counter[Encoding] = field(default_factory=Counter)
    suppressed: int = 0
    suppressed_segments: int = 0
    too_late: int = 0
    """Rows whose send window does not open before they expire."""
    skipped: int = 0
    """Bad rows that were left out."""
    first: list[CheckedRow] = field(default_factory=list)

    def add(self, checked: CheckedRow, *, is_late: bool = False) -> None:
        """Count one row; `is_late`: its send window does not open before it expires."""
        self.rows += 1
        self.too_late += is_late
        self.segments += checked.row.segments
        self.encodings[checked.encoding] += 1
        if len(self.first) < _MESSAGES_SHOWN:
            self.first.append(checked)

    @property
    def to_send(self) -> int:
        """Rows without those of suppressed recipients."""
        return self.rows - self.suppressed

    @property
    def segments_to_send(self) -> int:
        """Without those of suppressed recipients."""
        return self.segments - self.suppressed_segments


class SuppressionLookup(Protocol):
    """Finds the recipients that must not be sent to: `Suppressions.find_suppressed`."""

    def find_suppressed(
        self, recipients: Collection[str], *, sender: str | None, category: str | None
    ) -> frozenset[str]:
        """Return those of them."""


def check_file(
    file: RecipientsFile,
    message: CampaignMessage,
    *,
    to_column: str,
    suppressions: SuppressionLookup,
    staged: StagedRows,
    own: Container[str] = (),
    destinations: Destinations = EVERYWHERE,
    campaign_id: str | None = None,
    problems: CsvProblems | None = None,
    skipped: SkippedRows | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Check every row, stage it and count it; `on_progress` gets how many bytes have been read.

    With `skipped`, bad rows are written there and left out. `problems` collects what is wrong, and
    says how much of it is listed.

    Raises:
        BadRows: a row or the file is wrong; names lines and columns, never their contents.
        BadInput: the text does not match the file.
    """
    problems = CsvProblems() if problems is None else problems
    tally, late, is_complete = Tally(), LateWindows(message), False
    try:
        checks = RowChecks(
            message,
            file.header(to_column),
            to_column=to_column,
            delimiter=file.delimiter,
            own=own,
            destinations=destinations,
            campaign_id=campaign_id,
        )
        staged.columns = file.columns
        if skipped is not None:
            skipped.header(file.columns)
        for line in _counted(file, on_progress):
            found = checks.check(line)
            if not isinstance(found, CheckedRow):
                problems.add(found)
                if skipped is not None:
                    skipped.add(line.number, line.cells, found)
                    tally.skipped += 1
            elif skipped is not None or not problems.total:
                staged.add(found.row)
                tally.add(found, is_late=late.includes(found.row.to))
        is_complete = True
    except UnreadableFile as error:
        problems.add([CsvProblem(line=error.line, problem=str(error))])
    _require_rows(tally, problems, may_skip=skipped is not None and is_complete)
    _count_suppressed(tally, staged, message, suppressions)
    return tally


def _counted(file: RecipientsFile, on_progress: Callable[[int], None]) -> Iterator[Line]:
    """The file's lines; says now and then how many bytes have been read."""
    for count, line in enumerate(file.lines(), 1):
        if count % BATCH == 0:
            on_progress(file.read)
        yield line


def _require_rows(tally: Tally, problems: CsvProblems, *, may_skip: bool) -> None:
    """Return if there are rows to send, and none is wrong or bad ones may be skipped.

    What follows a line that cannot be read is not known, so it cannot be skipped.
    """
    if not (tally.rows or problems.total):
        problems.add([CsvProblem(line=1, problem="has a header and no rows below it")])
    if problems.total and not (may_skip and tally.rows):
        raise BadRows(problems)


def _count_suppressed(
    tally: Tally, staged: StagedRows, message: CampaignMessage, suppressions: SuppressionLookup
) -> None:
    def suppressed_segments(rows: list[CampaignRow]) -> list[int]:
        found = suppressions.find_suppressed(
            [row.to for row in rows], sender=message.sender, category=message.category
        )
        return [row.segments for row in rows if row.to in found]

    for segments in map(suppressed_segments, staged.batches()):
        tally.suppressed += len(segments)
        tally.suppressed_segments += sum(segments)


class LateWindows:
    """Finds recipients whose send window opens only after the message has expired."""

    def __init__(self, message: CampaignMessage, *, now: datetime | None = None) -> None:
        self._window = message.send_window
        self._expires_at = message.expires_at
        self._now = now or datetime.now(UTC)
        self._cache: dict[LocalHours, bool] = {}

    def includes(self, recipient: str) -> bool:
        """Whether this recipient is one; the window must open for them at some time."""
        if self._window is None or self._expires_at is None:
            return False
        hours = local_hours(self._window, recipient)
        is_late = self._cache.get(hours)
        if is_late is None:
            is_late = hours.opening(self._now) >= self._expires_at
            self._cache[hours] = is_late
        return is_late


class RowChecks:
    """The checks of one file; it stores every recipient, to find duplicates."""

    def __init__(
        self,
        message: CampaignMessage,
        columns: Sequence[str],
        *,
        to_column: str,
        delimiter: str = ",",
        own: Container[str] = (),
        destinations: Destinations = EVERYWHERE,
        campaign_id: str | None = None,
    ) -> None:
        """`own` has your own senders, as `person`; `campaign_id` is the one that the caller chose.

        Raises:
            BadInput: the text is not a template, or needs columns that the file does not have.
        """
        self._body = message.body
        self._window = message.send_window
        self._columns = [name or f"column {n}" for n, name in enumerate(columns, 1)]
        self._to = columns.index(to_column)
        self._to_column = to_column
        self._delimiter = delimiter
        self._fields = _columns_of(message.body, columns)
        self._own = own
        self._destinations = destinations
        self._sender = message.sender
        self._channel: str | None = None
        if not is_messaging_service(message.sender):
            self._channel = channel_of(message.sender)
        self._campaign_id = campaign_id if _may_hold_a_number(campaign_id) else None
        self._tenant = message.tenant if _may_hold_a_number(message.tenant) else None
        self._first_lines: dict[int | str, int] = {}
        self._next_number = 1

    def check(self, line: Line) -> CheckedRow | list[CsvProblem]:
        """Return the row, or all its problems."""
        width = len(self._columns)
        problems = _LineProblems(line.number)
        if len(line.cells) != width:
            found = "1 cell" if len(line.cells) == 1 else f"{len(line.cells)} cells"
            problems.add(None, f"has {found} where the header has {width}")
            return problems.found
        self._find_merged_rows(line, problems)
        if problems.found:
            return problems.found
        to = self._recipient(line, problems)
        fields = {name: line.cells[index].strip() for name, index in self._fields.items()}
        text = self._text(fields, problems)
        if problems.found:
            return problems.found
        segments = count_segments(text)
        row = CampaignRow(
            number=self._next_number,
            to=to,
            fields=fields,
            segments=rate_limited_segments(to, segments.count),
            cells=tuple(line.cells),
        )
        self._next_number += 1
        return CheckedRow(row=row, text=text, encoding=segments.encoding)

    def _find_merged_rows(self, line: Line, problems: "_LineProblems") -> None:
        """The cells that contain another row: its number would be sent to this recipient."""
        for name, cell in zip(self._columns, line.cells, strict=True):
            if ("\n" in cell or "\r" in cell) and _contains_a_row(cell, self._delimiter):
                problems.add(name, "contains what looks like another row; is a quote left open?")

    def _recipient(self, line: Line, problems: "_LineProblems") -> str:
        column, cell = self._to_column, line.cells[self._to]
        try:
            to = normalize_recipient(cell)
        except InvalidAddress as error:
            damage = number_damage(cell)
            problems.add(column, damage.value if damage else str(error))
            return ""
        owner, channel = person(to), channel_of(to)
        if self._channel not in {None, channel}:
            problems.add(
                column,
                f"is {_CHANNELS[channel]}, and --from is not; both must be on the same channel",
            )
        if unsuitable := recipient_problem(
            to, sender=self._sender, own=self._own, destinations=self._destinations
        ):
            problems.add(column, unsuitable)
        if self._window and (unusable := window_problem(self._window, to)):
            problems.add("--between" if self._window.opens else "--quiet-hours", unusable)
        first_line = self._first_lines.setdefault(_key(owner), line.number)
        if first_line != line.number:
            problems.add(column, f"is already in line {first_line}")
        # The message's workflow checks the same.
        if self._campaign_id and contains_number_of(
            campaign_message_id(self._campaign_id, self._next_number), to
        ):
            problems.add(
                "--id",
                "contains this recipient's number, alone or with the row's number appended, "
                "and IDs are not masked; choose another",
            )
        if self._tenant and contains_number_of(self._tenant, to):
            problems.add(
                "--tenant",
                "contains this recipient's number, and tenants are not masked; choose another",
            )
        return to

    def _text(self, fields: dict[str, str], problems: "_LineProblems") -> str:
        is_complete = True
        for name, value in fields.items():
            if is_blank(value):
                problems.add(name, "is empty, and the text needs it")
            elif damage := text_damage(value):
                problems.add(name, damage.value)
            else:
                continue
            is_complete = False
        if not is_complete:
            return ""
        text = render(self._body, fields)
        if len(text) > MAX_BODY_CHARACTERS:
            problems.add(
                None,
                f"the text with its fields is longer than Twilio's {MAX_BODY_CHARACTERS} "
                "characters",
            )
        return text


class _LineProblems:
    """What is wrong with one line."""

    def __init__(self, line: int) -> None:
        self._line = line
        self.found: list[CsvProblem] = []

    def add(self, column: str | None, problem: str) -> None:
        """Something is wrong with this column's cell, or with the whole line."""
        self.found.append(CsvProblem(line=self._line, column=column, problem=problem))


def _columns_of(body: str, columns: Sequence[str]) -> dict[str, int]:
    """The column of each placeholder; case is ignored, since headers are often capitalized."""
    try:
        names = sorted(placeholders(body))
    except InvalidTemplate as error:
        raise BadInput([("--body", str(error))]) from None
    missing = [
        (
            "--body",
            f"{{{name}}} is not a column of the file; it has {', '.join(filter(None, columns))}",
        )
        for name in names
        if name.lower() not in columns
    ]
    if missing:
        raise BadInput(missing)
    return {name: columns.index(name.lower()) for name in names}


def _may_hold_a_number(name: str | None) -> bool:
    bare = re.sub(r"[^0-9A-Za-z]", "", name or "")
    return _MAY_HOLD_A_NUMBER.search(bare) is not None


def _contains_a_row(cell: str, delimiter: str) -> bool:
    """Whether a cell of a later line is a recipient."""
    _, *later = cell.splitlines()
    return any(
        _is_recipient(unmasked(piece.strip())) for line in later for piece in line.split(delimiter)
    )


def _is_recipient(text: str) -> bool:
    try:
        normalize_recipient(text)
    except InvalidAddress:
        return False
    return True


def _key(recipient: str) -> int | str:
    """A number as an integer, which takes a quarter of the memory."""
    return int(recipient[1:]) if recipient.startswith("+") else recipient
