"""Lines that fit a width, broken between words only.

An address, an ID, a time or a `command` in backquotes stays in one piece: it is there to be copied
or compared. A piece that is longer than the width has a line of its own, which the terminal wraps.
"""

import os
import re
from collections.abc import Iterator
from typing import Final, TextIO

# A command in backquotes or a time, with what punctuation follows, or a word.
_PIECE = re.compile(
    r"[^\s`]*`[^`\n]*`\S*|\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)? UTC[^\s\w]*|\S+", re.ASCII
)
# Where a line's text begins: after its indent and, if a gap follows, its first word.
_HEAD = re.compile(r" *(?:\S+ {2,})?")
_MIN_TEXT: Final = 20


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - help needs nothing of Rich

    return cell_len(text)


def longest_piece(text: str) -> int:
    """The columns of its longest piece."""
    return max((cells(piece[0]) for piece in _PIECE.finditer(text)), default=0)


def breaks(line: str, width: int) -> Iterator[tuple[int, int]]:
    """Where each of the lines begins and ends that a line becomes at this width."""
    begin, end = 0, 0
    for piece in _PIECE.finditer(line):
        if end and cells(line[begin : piece.end()]) > width:
            yield begin, end
            begin = piece.start()
        end = piece.end()
    yield begin, end


def hanging(line: str, width: int) -> tuple[int, list[tuple[int, int]]]:
    """The breaks of a line whose further lines begin below its text; how far that is indented."""
    start = match.end() if (match := _HEAD.match(line)) else 0
    if width - cells(line[:start]) < max(_MIN_TEXT, longest_piece(line[start:])):
        start = len(line) - len(line.lstrip(" "))
    indent = cells(line[:start])
    spans = breaks(line[start:], width - indent)
    (_, end), *others = [(start + begin, start + end) for begin, end in spans]
    return indent, [(0, end), *others]


def wrapped(text: str, width: int | None) -> str:
    """The text with each of its lines wrapped; None: with none of them."""
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        indent, spans = hanging(line, width)
        lines += [
            " " * (indent if number else 0) + line[begin:end]
            for number, (begin, end) in enumerate(spans)
        ]
    return "\n".join(lines)


def width_of(stream: TextIO) -> int | None:
    """The width for a stream: the terminal's, or that of COLUMNS; None for a pipe or a file."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
