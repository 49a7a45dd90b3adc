"""One row of a campaign's file: who it goes to and with which text, or all that is wrong with it.

What is said of a row names its columns and never shows a cell.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cli.campaigns.recipients import Line
from cli.output import BadInput
from messaging.consent import person
from messaging.contract import CampaignMessage
from messaging.fields import MAX_BODY_CHARACTERS
from messaging.masks import holds_number_of
from messaging.number_ranges import range_problem
from messaging.phone import InvalidAddress, normalize_recipient
from messaging.rates import paced_as
from messaging.segments import Encoding, count_segments
from messaging.spreadsheets import number_damage, text_damage
from messaging.template import InvalidTemplate, placeholders, render
from messaging.windows import window_problem
from store.campaigns import CampaignRow

_MAY_HOLD_A_NUMBER = re.compile(r"\d{7}", re.ASCII)


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
        own: Collection[str] = (),
        public_names: Mapping[str, str] | None = None,
    ) -> None:
        """`own` are addresses of ours; `public_names` what shows in clear, by the option's name.

        Raises:
            BadInput: the text is no template, or asks for columns that the file does not have.
        """
        self._body = message.body
        self._window = message.send_window
        self._width = len(columns)
        self._to = columns.index(to_column)
        self._to_column = to_column
        self._fields = _columns_of(message.body, columns)
        self._own = {person(each) for each in (message.sender, *own)}
        self._public_names = {
            option: name
            for option, name in (public_names or {}).items()
            if _MAY_HOLD_A_NUMBER.search(re.sub(r"[^0-9A-Za-z]", "", name))
        }
        self._first_lines: dict[int | str, int] = {}
        self._number = 0

    def check(self, line: Line) -> CheckedRow | list[str]:
        """The row, or everything that is wrong with it."""
        if len(line.cells) != self._width:
            found = "1 cell" if len(line.cells) == 1 else f"{len(line.cells)} cells"
            return [f"has {found} where the header has {self._width}"]
        problems: list[str] = []
        to = self._recipient(line, problems)
        fields = {name: line.cells[index].strip() for name, index in self._fields.items()}
        text = self._text(fields, problems)
        if problems:
            return problems
        segments = count_segments(text)
        self._number += 1
        row = CampaignRow(
            number=self._number, to=to, fields=fields, segments=paced_as(to, segments.count)
        )
        return CheckedRow(row=row, text=text, encoding=segments.encoding)

    def _recipient(self, line: Line, problems: list[str]) -> str:
        cell = line.cells[self._to]
        try:
            to = normalize_recipient(cell)
        except InvalidAddress as error:
            damage = number_damage(cell)
            problems.append(f"{self._to_column}: {damage.value if damage else error}")
            return ""
        behind = person(to)
        if behind in self._own:
            problems.append(f"{self._to_column}: is a number of your own")
        elif behind.startswith("+") and (unsuitable := range_problem(behind)):
            problems.append(f"{self._to_column}: {unsuitable}")
        if self._window and (fault := window_problem(self._window, to)):
            problems.append(f"--between: {fault}")
        first_line = self._first_lines.setdefault(_key(behind), line.number)
        if first_line != line.number:
            problems.append(f"{self._to_column}: stands in line {first_line} already")
        problems += [
            f"{option}: holds this recipient's number, and it shows in clear; choose another"
            for option, name in self._public_names.items()
            if holds_number_of(name, to)
        ]
        return to

    def _text(self, fields: dict[str, str], problems: list[str]) -> str:
        broken = len(problems)
        for name, value in fields.items():
            if not value:
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


def _key(recipient: str) -> int | str:
    """A number as an integer, a quarter of the memory."""
    return int(recipient[1:]) if recipient.startswith("+") else recipient
