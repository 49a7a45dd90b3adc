"""Exporting and importing suppressions as CSV: lossless, and all or nothing."""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.store.csv_files import InvalidCsv
from signedfor.store.database import open_engine
from signedfor.store.migrate import upgrade
from signedfor.store.suppression_csv import COLUMNS, REQUIRED, export_csv, import_csv
from signedfor.store.suppressions import Suppressions

HEADER = ",".join(REQUIRED)
NUMBER = "+15558675309"
AT = datetime(2026, 11, 21, 20, 0, 0, 123456, tzinfo=UTC)


def _file(*lines: str) -> io.StringIO:
    return io.StringIO("\r\n".join(lines) + "\r\n", newline="")


@pytest.fixture
def other_engine(tmp_path: Path) -> Iterator[Engine]:
    """A second database."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade(url)
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_export_and_import_are_lossless(engine: Engine, other_engine: Engine) -> None:
    """Every field of every row is the same in the other database."""
    evidences = [
        "",
        "SM1",
        "=1+1",
        "+1",
        "-1",
        "@x",
        "'quoted'",
        "'=1",
        " =1",
        'a "b", c',
        "ümlaut",
    ]
    rows = [
        Suppression(
            recipient=f"{NUMBER}{number}",
            reason=Reason.OPTED_OUT,
            source=Source.TWILIO_CODE,
            scope=Scope.SENDER,
            scope_value="+15005550006",
            evidence=evidence,
            created_at=AT,
        )
        for number, evidence in enumerate(evidences)
    ]
    rows += [
        Suppression(
            recipient=f"whatsapp:{NUMBER}",
            reason=Reason.MANUAL,
            source=Source.OPERATOR,
            created_at=AT,
        )
    ]
    Suppressions(engine).record_all(rows, by="test")
    file = io.StringIO(newline="")

    assert export_csv(engine, file) == (len(rows), 0)
    file.seek(0)
    assert import_csv(other_engine, file, by="ops") == len(rows)
    assert Suppressions(other_engine).list_() == rows
    assert [e.changed_by for e in Suppressions(other_engine).history(f"{NUMBER}0")] == ["ops"]
    file.seek(0)
    assert import_csv(other_engine, file, by="ops") == 0


def test_long_lists_are_complete(engine: Engine, other_engine: Engine) -> None:
    """Lists longer than a page or batch are exported and imported completely."""
    rows = [
        Suppression(
            recipient=f"+1555{number:07}",
            reason=Reason.UNDELIVERABLE,
            source=Source.TWILIO_CODE,
            created_at=AT,
        )
        for number in range(1201)
    ]
    Suppressions(engine).record_all(rows, by="test")
    file = io.StringIO(newline="")
    exported = export_csv(engine, file).written
    file.seek(0)

    assert (exported, import_csv(other_engine, file, by="test")) == (1201, 1201)


def test_an_export_contains_no_formulas(engine: Engine) -> None:
    """No cell, and no phone number either, is a formula in a spreadsheet."""
    row = Suppression(
        recipient=NUMBER, reason=Reason.MANUAL, source=Source.OPERATOR, evidence="=cmd()"
    )
    Suppressions(engine).record(row, by="test")
    file = io.StringIO(newline="")
    export_csv(engine, file)
    file.seek(0)
    header, cells = csv.reader(file)

    assert tuple(header) == COLUMNS
    assert (cells[0], cells[5]) == (f"'{NUMBER}", "'=cmd()")
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_file_can_be_written_by_hand(engine: Engine) -> None:
    """It may have plain numbers, separators, empty cells and a byte order mark."""
    text = f"{HEADER}\n+1 (555) 867-5309,,,opted_out,,,\n\nwhatsapp:{NUMBER},,,Manual,,a note,\n"
    file = io.TextIOWrapper(io.BytesIO(text.encode("utf-8-sig")), encoding="utf-8-sig", newline="")
    new = import_csv(engine, file, by="ops")
    rows = Suppressions(engine).list_()

    assert new == 2
    assert [(r.recipient, r.scope, r.reason, r.source, r.evidence) for r in rows] == [
        (NUMBER, Scope.EVERYTHING, Reason.OPTED_OUT, Source.IMPORT, ""),
        (f"whatsapp:{NUMBER}", Scope.EVERYTHING, Reason.MANUAL, Source.IMPORT, "a note"),
    ]


def test_repeated_rows_count_once(engine: Engine) -> None:
    """A number that occurs twice, even if written differently, is one suppression."""
    file = _file(HEADER, f"{NUMBER},,,opted_out,,,", "+1 555 867 5309,,,opted_out,,,")

    assert import_csv(engine, file, by="test") == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("5558675309,,,opted_out,,,", "line 3: recipient"),
        ("15558675309,,,opted_out,,,", "line 3: recipient"),
        (",,,opted_out,,,", "line 3: recipient"),
        (f"{NUMBER},galaxy,,opted_out,,,", "line 3: scope: must be one of everything, sender"),
        (f"{NUMBER},sender,,opted_out,,,", "line 3: scope_value: "),
        (f"{NUMBER},,x5558675309,opted_out,,,", "line 3: scope_value: "),
        (f"{NUMBER},,,,,,", "line 3: reason: must be one of opted_out"),
        (f"{NUMBER},,,x5558675309,,,", "line 3: reason: "),
        (f"{NUMBER},,,opted_out,x5558675309,,", "line 3: source: "),
        (f"{NUMBER},,,opted_out,,{'5558675309' * 51},", "line 3: evidence: at most 500"),
        (f"{NUMBER},,,opted_out,,,x5558675309", "line 3: created_at: must be like"),
        (f"{NUMBER},,,opted_out,,,2026-11-21T20:00:00", "line 3: created_at: "),
        (f"{NUMBER},,,opted_out", "line 3: 7 cells expected, 4 found"),
        (f"{NUMBER},,,opted_out,,,,", "line 3: 7 cells expected, 8 found"),
        (f'{NUMBER},,,opted_out,,"a"5558675309,', "line 3: not valid CSV"),
    ],
)
def test_nothing_is_imported_if_a_row_is_bad(engine: Engine, row: str, problem: str) -> None:
    """The error names the line and field, but not the content."""
    file = _file(HEADER, f"{NUMBER},,,opted_out,,,", row, f"{NUMBER}1,,,opted_out,,,")
    with pytest.raises(InvalidCsv) as caught:
        import_csv(engine, file, by="test")

    assert str(caught.value.problems.listed[0]).startswith(problem)
    assert "5558675309" not in str(caught.value)
    assert not Suppressions(engine).list_()


@pytest.mark.parametrize("header", ["", "recipient", HEADER.replace("scope,", ""), f"{HEADER},x"])
def test_other_headers_are_refused(engine: Engine, header: str) -> None:
    """The error names the columns that the file should have."""
    with pytest.raises(InvalidCsv, match=f"line 1: the header must be {HEADER}"):
        import_csv(engine, _file(header, NUMBER), by="test")


def test_only_the_first_problems_are_shown(engine: Engine) -> None:
    """The error shows the first twenty problems and counts the others."""
    with pytest.raises(InvalidCsv, match="and 5 more") as caught:
        import_csv(engine, _file(HEADER, *["x,,,opted_out,,,"] * 25), by="test")

    assert (len(caught.value.problems.listed), caught.value.problems.total) == (20, 25)


def test_other_encodings_are_refused(engine: Engine) -> None:
    """A file must be UTF-8; the error contains nothing of it."""
    data = f"{HEADER}\n{NUMBER},,,opted_out,,caf\u00e9,\n".encode("latin-1")
    file = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    with pytest.raises(InvalidCsv, match="not UTF-8") as caught:
        import_csv(engine, file, by="test")

    assert caught.value.__context__ is None


def test_pipes_are_refused(engine: Engine) -> None:
    """A file that cannot be read twice is refused before anything is read."""

    class Pipe(io.StringIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(ValueError, match="file: "):
        import_csv(engine, Pipe(HEADER), by="test")


def test_a_file_that_changes_is_refused(engine: Engine) -> None:
    """If it becomes bad between validating and importing, nothing is imported."""

    class Changing(io.StringIO):
        def seek(self, cookie: int, whence: int = 0, /) -> int:
            super().seek(0, io.SEEK_END)
            self.write("not a number,,,opted_out,,,\r\n")
            return super().seek(cookie, whence)

    with pytest.raises(InvalidCsv, match="line 3: recipient"):
        import_csv(engine, Changing(f"{HEADER}\r\n{NUMBER},,,opted_out,,,\r\n"), by="test")

    assert not Suppressions(engine).list_()


def test_a_file_that_becomes_shorter_is_refused(engine: Engine) -> None:
    """Nothing of it is imported: the rest may be what matters most."""
    rows = [f"{NUMBER}{n},,,opted_out,,,\r\n" for n in range(1200)]

    class Shrinking(io.StringIO):
        def seek(self, cookie: int, whence: int = 0, /) -> int:
            self.truncate(len(self.getvalue()) - 3 * len(rows[-1]))
            return super().seek(cookie, whence)

    with pytest.raises(InvalidCsv, match="line 1199: the file became shorter or longer"):
        import_csv(engine, Shrinking(f"{HEADER}\r\n{''.join(rows)}"), by="test")

    assert not Suppressions(engine).list_()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 20_000_000, id="one line"),
        pytest.param(f'{HEADER}\n"a' + '\n","a' * 4_000_000, id="many lines"),
    ],
)
def test_a_long_line_is_refused_in_little_memory(engine: Engine, text: str) -> None:
    """Also a row of many lines; it is named by its line."""
    file = io.StringIO(text, newline="")
    tracemalloc.start()
    try:
        with pytest.raises(InvalidCsv, match="longer than 1,048,576 characters"):
            import_csv(engine, file, by="test")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 60_000_000
