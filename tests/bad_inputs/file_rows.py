"""Bad CSV files: of a campaign, of opt-outs and of opt-ins."""

from collections.abc import Sequence
from typing import Final

from tests.bad_inputs.rows import DIGITS, NUMBER, TEXT, Command

_COMMANDS: Final[dict[str, tuple[Sequence[str], str, str]]] = {
    "campaign start": (
        ("campaign", "start", "FILE", "--from", "+15005550006", "--body", "{name}", "--yes"),
        "to,name",
        f"{NUMBER},Ann",
    ),
    "opt-outs import": (
        ("opt-outs", "import", "FILE"),
        "recipient,scope,scope_value,reason,source,evidence,created_at",
        f"{NUMBER},everything,,opted_out,import,x,2026-01-01T00:00:00Z",
    ),
    "opt-ins import": (
        ("opt-ins", "import", "FILE"),
        "recipient,category,source,opted_in_at",
        f"{NUMBER},marketing,web-form,2026-01-01T00:00:00Z",
    ),
}
"""The arguments, the header of a good file and a good row of it."""


def _files(header: str, row: str) -> dict[str, tuple[bytes, str]]:
    """What is wrong with a file, the file, and what must be said of it."""
    first = header.partition(",")[0]
    text = f"{header}\n{row}\n"
    return {
        "an empty file": (b"", "line 1"),
        "a byte order mark alone": (b"\xef\xbb\xbf", "line 1"),
        "line ends alone": (b"\n\n\n", "line 1"),
        "a file in UTF-16": (text.encode("utf-16"), "UTF-8"),
        "a file in UTF-16 without a mark": (text.encode("utf-16-le"), "line 1"),
        "a file in UTF-32": (text.encode("utf-32"), "line 1"),
        "a workbook": (b"PK\x03\x04" + TEXT.encode(), "line 1"),
        "an old workbook": (b"\xd0\xcf\x11\xe0" + TEXT.encode(), "line 1"),
        "NUL in a row": (f"{text}\0{TEXT}\n".encode(), "line 3"),
        "bytes that are not UTF-8": (text.encode() + b"\xff\xfe,x\n", "line"),
        "Latin-1 in a row": (text.encode() + "ü,x\n".encode("latin-1"), "line"),
        "a header without the column": (f"phone,{TEXT}\n{row}\n".encode(), "line 1"),
        "no header": (f"{row}\n".encode(), "line 1"),
        "a column twice": (f"{header},{first}\n{row},{NUMBER}\n".encode(), "line 1"),
        "an open quote": (f'{header}\n"{TEXT}\n'.encode(), "line 2"),
        "a quote within a cell": (f'{header}\n"{TEXT}"x,{TEXT}\n'.encode(), "line 2"),
        "too many cells": (f"{header}\n{row},{TEXT},{TEXT}\n".encode(), "line 2"),
        "too few cells": (f"{header}\n{NUMBER}\n".encode(), "line 2"),
        "a recipient that is a word": (f"{header}\n{TEXT}{row[12:]}\n".encode(), f"{first}: "),
        "a recipient that is two": (
            f'{header}\n"{NUMBER},{NUMBER}"{row[12:]}\n'.encode(), f"{first}: ",
        ),
        "a recipient in a formula": (
            f'{header}\n"=HYPERLINK(""{NUMBER}"")"{row[12:]}\n'.encode(), f"{first}: ",
        ),
        "a damaged number": (f"{header}\n1.55587E+10{row[12:]}\n".encode(), f"{first}: "),
        "a recipient with half a number": (
            f"{header}\n+1{DIGITS[:3]}{row[12:]}\n".encode(), f"{first}: ",
        ),
        "a recipient with an invisible character": (
            f"{header}\n\u202e{TEXT}{NUMBER}{row[12:]}\n".encode(), f"{first}: ",
        ),
        "no recipient": (f"{header}\n{row[12:]}\n".encode(), f"{first}: "),
        "a cell of a megabyte": (f"{header}\n{row}{TEXT * 90_000}\n".encode(), "line 2"),
        "a quoted cell of two megabytes": (
            f'{header}\n{row},"{(TEXT + chr(10)) * 160_000}"\n'.encode(), "line",
        ),
        "a header of a megabyte": (f"{header},{TEXT * 90_000}\n{row}\n".encode(), "line 1"),
        "10,000 columns": (
            f"{header}{''.join(f',c{n}' for n in range(10_000))}\n{row}\n{TEXT}\n".encode(), "line",
        ),
        "1,000 bad rows": (f"{header}\n{f'{TEXT}{row[12:]}{chr(10)}' * 1_000}".encode(), "line 2"),
    }  # fmt: skip


def _rows(command: str) -> tuple[Command, ...]:
    arguments, header, row = _COMMANDS[command]
    return tuple(
        Command(name=f"{command}: {what}", arguments=arguments, says=says, file=file)
        for what, (file, says) in _files(header, row).items()
    )


def _cell(command: str, name: str, says: str, header: str, row: str) -> Command:
    return Command(name=f"{command}: {name}", arguments=_COMMANDS[command][0], says=says,
                   file=f"{header}\n{row}\n".encode())  # fmt: skip


FILE_ROWS: Final = (
    *(row for command in _COMMANDS for row in _rows(command)),
    _cell("campaign start", "a column that the text needs", "name", "to,other", f"{NUMBER},x"),
    _cell("campaign start", "a text that is too long", "longer than Twilio's", "to,name",
          f"{NUMBER},{TEXT * 200}"),
    _cell("campaign start", "a header alone", "no rows below it", "to,name", ""),
    *(
        _cell("opt-outs import", f"{column} that is {what}", f"{column}: ",
              _COMMANDS["opt-outs import"][1], f"{NUMBER},{cells}")
        for column, what, cells in (
            ("scope", "none", f"{TEXT},,opted_out,import,x,2026-01-01T00:00:00Z"),
            ("scope_value", "no sender", f"sender,{TEXT}!,opted_out,import,x,2026-01-01T00:00:00Z"),
            ("scope_value", "no name",
             f"category,{TEXT} x,opted_out,import,x,2026-01-01T00:00:00Z"),
            ("reason", "none", f"everything,,{TEXT},import,x,2026-01-01T00:00:00Z"),
            ("source", "none", f"everything,,opted_out,{TEXT},x,2026-01-01T00:00:00Z"),
            ("created_at", "none", f"everything,,opted_out,import,x,{TEXT}"),
            ("created_at", "before all time",
             f"everything,,opted_out,import,{TEXT},0001-01-01T00:00:00+23:59"),
        )
    ),
    *(
        _cell("opt-ins import", f"{column} that is {what}", f"{column}: ",
              _COMMANDS["opt-ins import"][1], f"{NUMBER},{cells}")
        for column, what, cells in (
            ("category", "no name", f"{TEXT} x,web-form,2026-01-01T00:00:00Z"),
            ("category", "empty", f",{TEXT},2026-01-01T00:00:00Z"),
            ("source", "no name", f"marketing,{TEXT}!,2026-01-01T00:00:00Z"),
            ("opted_in_at", "none", f"marketing,web-form,{TEXT}"),
            ("opted_in_at", "empty", "marketing,web-form,"),
            ("opted_in_at", "in the future", f"marketing,{TEXT},2099-01-01T00:00:00Z"),
            ("opted_in_at", "before all time", f"marketing,{TEXT},0001-01-01T00:00:00+23:59"),
        )
    ),
    *(
        Command(name=f"{command}: no such file", arguments=[
            each.replace("FILE", f"/{TEXT}") for each in arguments], says="FILE: ")
        for command, (arguments, _, _) in _COMMANDS.items()
    ),
    *(
        Command(name=f"{command}: a folder", arguments=[
            each.replace("FILE", "/") for each in arguments], says="FILE: ")
        for command, (arguments, _, _) in _COMMANDS.items()
    ),
    Command(name="campaign start: standard input that is not UTF-8", arguments=[
        each.replace("FILE", "-") for each in _COMMANDS["campaign start"][0]], says="line",
        stdin=f"to,name\n{TEXT}".encode() + b"\xff\n"),
)  # fmt: skip
