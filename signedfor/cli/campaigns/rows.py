"""One row of a campaign's file: who it goes to and with which text, or all that is wrong with it.

What is said of a row names its columns and never shows a cell.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from signedfor.cli.campaigns.recipients import Line
from signedfor.cli.output import BadInput
from signedfor.consent import person
from signedfor.contract import CampaignMessage, campaign_message_id
from signedfor.contract.fields import MAX_BODY_CHARACTERS
from signedfor.masks import holds_number_of
from signedfor.send_windows import window_problem
from signedfor.spreadsheets import is_blank, number_damage, text_damage, unmasked
from signedfor.store.campaigns import CampaignRow
from signedfor.template import InvalidTemplate, placeholders, render
from signedfor.twilio.number_ranges import range_problem
from signedfor.twilio.phone import (
    InvalidAddress,
    channel_of,
    is_messaging_service,
    normalize_recipient,
)
from signedfor.twilio.rates import rate_limited_segments
from signedfor.twilio.segments import Encoding, count_segments

# With a row's number behind it, in the second case.
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


class RowChecks:
    """The checks of one file: they remember every recipient, to find whoever comes twice."""

    def __init__(
        self,
        message: CampaignMessage,
        columns: Sequence[str],
        *,
        to_column: str,
        delimiter: str = ",",
        own: Collection[str] = (),
        campaign_id: str | None = None,
    ) -> None:
        """`own` are addresses of ours; `campaign_id` is the one that the caller chose.

        Raises:
            BadInput: the text is no template, or asks for columns that the file does not have.
        """
        self._body = message.body
        self._window = message.send_window
        self._columns = [name or f"column {n}" for n, name in enumerate(columns, 1)]
        self._to = columns.index(to_column)
        self._to_column = to_column
        self._delimiter = delimiter
        self._fields = _columns_of(message.body, columns)
        self._own = {person(each) for each in (message.sender, *own)}
        self._channel: str | None = None
        if not is_messaging_service(message.sender):
            self._channel = channel_of(message.sender)
        self._campaign_id = campaign_id if _may_hold_a_number(campaign_id) else None
        self._tenant = message.tenant if _may_hold_a_number(message.tenant) else None
        self._first_lines: dict[int | str, int] = {}
        self._number = 0

    def check(self, line: Line) -> CheckedRow | list[str]:
        """The row, or everything that is wrong with it."""
        self._number += 1
        width = len(self._columns)
        if len(line.cells) != width:
            found = "1 cell" if len(line.cells) == 1 else f"{len(line.cells)} cells"
            return [f"has {found} where the header has {width}"]
        if swallowed := self._swallowed(line):
            return swallowed
        problems: list[str] = []
        to = self._recipient(line, problems)
        fields = {name: line.cells[index].strip() for name, index in self._fields.items()}
        text = self._text(fields, problems)
        if problems:
            return problems
        segments = count_segments(text)
        row = CampaignRow(
            number=self._number,
            to=to,
            fields=fields,
            segments=rate_limited_segments(to, segments.count),
        )
        return CheckedRow(row=row, text=text, encoding=segments.encoding)

    def _swallowed(self, line: Line) -> list[str]:
        """The cells that hold the beginning of another row: somebody would be sent its number."""
        return [
            f"{name}: holds what looks like another row; is a quote left open?"
            for name, cell in zip(self._columns, line.cells, strict=True)
            if ("\n" in cell or "\r" in cell) and _holds_a_row(cell, self._delimiter)
        ]

    def _recipient(self, line: Line, problems: list[str]) -> str:
        cell = line.cells[self._to]
        try:
            to = normalize_recipient(cell)
        except InvalidAddress as error:
            damage = number_damage(cell)
            problems.append(f"{self._to_column}: {damage.value if damage else error}")
            return ""
        behind, channel = person(to), channel_of(to)
        if self._channel not in {None, channel}:
            problems.append(
                f"{self._to_column}: is {_CHANNELS[channel]}, and --from is not; both must be of "
                "one channel"
            )
        if behind in self._own:
            problems.append(f"{self._to_column}: is a number of your own")
        elif behind.startswith("+") and (unsuitable := range_problem(behind)):
            problems.append(f"{self._to_column}: {unsuitable}")
        if self._window and (fault := window_problem(self._window, to)):
            problems.append(f"--between: {fault}")
        first_line = self._first_lines.setdefault(_key(behind), line.number)
        if first_line != line.number:
            problems.append(f"{self._to_column}: stands in line {first_line} already")
        # As the message's workflow will look for it.
        if self._campaign_id and holds_number_of(
            campaign_message_id(self._campaign_id, self._number), to
        ):
            problems.append(
                "--id: holds this recipient's number, alone or with the row's number behind it, "
                "and ids show in clear; choose another"
            )
        if self._tenant and holds_number_of(self._tenant, to):
            problems.append(
                "--tenant: holds this recipient's number, and it shows in clear; choose another"
            )
        return to

    def _text(self, fields: dict[str, str], problems: list[str]) -> str:
        broken = len(problems)
        for name, value in fields.items():
            if is_blank(value):
                problems.append(f"{name}: is empty, and the text needs it")
            elif damage := text_damage(value):
                problems.append(f"{name}: {damage.value}")
        if len(problems) > broken:
            return ""
        text = render(self._body, fields)
        if len(text) > MAX_BODY_CHARACTERS:
            problems.append(
                f"the text with its fields is longer than Twilio's {MAX_BODY_CHARACTERS} characters"
            )
        return text


def _columns_of(body: str, columns: Sequence[str]) -> dict[str, int]:
    """Where each placeholder's value stands; case aside, since headers are often capitalised."""
    try:
        names = sorted(placeholders(body))
    except InvalidTemplate as error:
        raise BadInput([("--body", str(error))]) from None
    missing = [
        (
            "--body",
            f"{{{name}}} is no column of the file; it has {', '.join(filter(None, columns))}",
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


def _holds_a_row(cell: str, delimiter: str) -> bool:
    """Whether a recipient stands by itself in a later line of the cell."""
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
    """A number as an integer, a quarter of the memory."""
    return int(recipient[1:]) if recipient.startswith("+") else recipient
