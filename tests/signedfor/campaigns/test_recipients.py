"""Files of recipients as they come from spreadsheets and scripts, and those that are none."""

import io
import os
from pathlib import Path

import pytest

from signedfor.campaigns.recipients import (
    STANDARD_INPUT,
    RecipientsFile,
    UnreadableFile,
    opened,
)
from signedfor.errors import BadInput


def _file(content: str | bytes) -> RecipientsFile:
    raw = content.encode() if isinstance(content, str) else content
    return RecipientsFile(io.BytesIO(raw), size=len(raw))


def _read(content: str | bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    file = _file(content)
    return file.header("to"), [(line.number, list(line.cells)) for line in file.lines()]


def _refusal(content: str | bytes) -> tuple[int, str]:
    with pytest.raises(UnreadableFile) as caught:
        _read(content)
    assert "private" not in str(caught.value)
    assert caught.value.__context__ is None
    return caught.value.line, str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_forms_of_csv(delimiter: str, mark: bytes, end: str) -> None:
    """Any separator and line end, with or without a byte order mark."""
    text = end.join(delimiter.join(row) for row in (["Name", " To "], ["Zoë", "+1"], ["", "+2"]))

    assert (["name", "to"], [(2, ["Zoë", "+1"]), (3, ["", "+2"])]) == _read(mark + text.encode())


def test_line_numbers_are_those_of_an_editor() -> None:
    """A row has the line of its first cell; blank rows and line breaks in cells count."""
    text = 'to,name\n\n,\n"+1","two\nlines"\n , \n+2,x\n'

    assert [(4, ["+1", "two\nlines"]), (7, ["+2", "x"])] == _read(text)[1]


def test_the_separator_is_detected_in_the_header() -> None:
    """Cells may contain the others."""
    assert [(2, ["+1", "a,b;c"])] == _read("to\tname\n+1\ta,b;c\n")[1]


def test_our_own_masks_are_removed() -> None:
    """Cells that our reports mask for spreadsheets are read unmasked."""
    assert [(2, ["+15558675309", "'s"])] == _read("to,name\n'+15558675309,'s\n")[1]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("", 1, "is empty"),
        ("\n\n", 1, "is empty"),
        ("+15558675309,private\n", 1, "has no column to"),
        ("to,name,NAME\n", 1, "a name twice"),
        ("to\n+1\n".encode("utf-16"), 1, "is UTF-16"),
        ("to\n+1\n".encode("utf-16-le"), 1, "NUL character"),
        ("to,name\n+1,Zo\xeb private\n".encode("latin-1"), 2, "is not UTF-8"),
        (b"to,name\n" + b"+1,private\n" * 5000 + b"+1,\xff\n", 5002, "is not UTF-8"),
        (b"PK\x03\x04private", 1, "is a workbook"),
        ("to,name\n+1,a\0private\n", 2, "NUL character"),
        ('to,name\n+1,a\n+2,"private\n+3,b\n', 3, "not valid CSV; is a quote left open?"),
        ('to,name\n+1,"a" private\n', 2, "not valid CSV"),
        ("to,name\n+1," + "x" * 200_000 + "\n", 2, "too long"),
        ("to," + "x" * 200_000 + "\n+1,private\n", 1, "too long"),
        ("to,name\n+1," + "x" * 2_000_000, 2, "longer than 1,048,576 characters"),
    ],
)
def test_a_file_that_is_not_such_a_csv(content: str | bytes, line: int, said: str) -> None:
    """The error names the line and what to do, and no contents."""
    found, text = _refusal(content)

    assert (line, True) == (found, said in text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The error names the argument."""
    with pytest.raises(BadInput, match="FILE: cannot be read"), opened(tmp_path / "none.csv"):
        pass


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process can be started without one."""
    monkeypatch.setattr("sys.stdin", None)

    with pytest.raises(BadInput, match="FILE: standard input is closed"), opened(STANDARD_INPUT):
        pass


def _many_rows(path: Path) -> Path:
    path.write_text("to,name\n" + "".join(f"+1555{n:07d},Ann\n" for n in range(20_000)))
    return path


@pytest.mark.parametrize("change", ["cut off", "appended to", "written again", "removed rows"])
def test_a_file_that_is_changed_while_it_is_read(tmp_path: Path, change: str) -> None:
    """What was read is not all of it, so it is refused."""
    path = _many_rows(tmp_path / "to.csv")
    content = path.read_bytes()
    with opened(path) as file:
        file.header("to")
        lines = file.lines()
        next(lines)
        match change:
            case "cut off":
                os.truncate(path, 200_000)
            case "removed rows":
                os.truncate(path, content.index(b"\n", 100_000) + 1)
            case "appended to":
                path.write_bytes(content + b"+15558675309,Zoe\n")
            case _:
                path.write_bytes(content)
                os.utime(path, (0, 0))
        with pytest.raises(UnreadableFile, match="changed while it was read"):
            list(lines)


def test_a_file_that_is_not_changed_is_read_to_its_end(tmp_path: Path) -> None:
    """All of its rows."""
    with opened(_many_rows(tmp_path / "to.csv")) as file:
        file.header("to")

        assert 20_000 == len(list(file.lines()))


def test_a_row_over_many_lines_has_the_same_limit() -> None:
    """Each line closes a quote and opens another, so the reader takes them for one row."""
    endless = 'to,name\n+1,"a' + '\n","a' * 400_000

    line, text = _refusal(endless)

    assert "longer than 1,048,576 characters" in text
    assert line < 400_000
