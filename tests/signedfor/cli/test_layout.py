"""Tables of any width: nothing that is there to be copied is broken."""

import io

import pytest
from rich.console import Console

from signedfor.cli.layout import Listing, Sentences
from signedfor.cli.output import Output, facts, listing, printable
from signedfor.cli.wrapping import wrapped

SID = "SMf3b044c880be47baa1c3dc0c3792f48c"
ID = "30e55203-56e1-451c-8985-74e1c14875b4"
COMMAND = f"`signedfor dead-letters show {ID}`"
TIME = "2026-11-29 18:05:00 UTC"


def printed(table: object, width: int) -> list[str]:
    """Its lines, as the command line prints them."""
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    console.print(table, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def table() -> Listing:
    """Two rows, the second with a text in several words."""
    return listing(
        ("Message", "Since", "Nothing", "What"),
        [(SID, TIME, None, "short"), (ID, TIME, "", f"Nobody knows why; see {COMMAND}.")],
    )


@pytest.mark.parametrize("width", [10, 40, 80, 120, 200, 100_000])
def test_no_piece_is_broken(width: int) -> None:
    """IDs, times and commands are in one line at any width, and no word is lost."""
    text = f"Opened at {TIME}; see {COMMAND}, then wait.\n  {SID}\nName  {ID}"
    for shown in (
        table(),
        facts([("Message", SID), ("Since", f"at {TIME}"), ("What to do", f"see {COMMAND}, wait")]),
        Sentences(printable(text)),
    ):
        lines = printed(shown, width)

        text = "\n".join(lines)
        assert SID in text
        assert COMMAND in text
        assert TIME in text
        too_wide = [line for line in lines if len(line) > width]
        # Alone in its line: the terminal wraps it, and it is copied in one piece.
        assert all(line.strip(" .,") in {SID, ID, TIME, COMMAND} for line in too_wide) or width < 40


def test_a_wide_terminal_has_columns() -> None:
    """Each row is one line below the header; a column without any cell is left out."""
    lines = printed(table(), 200)

    assert 3 == len(lines)
    assert ["Message", "Since", "What"] == lines[0].split()
    assert lines[1].split("  ")[0] == SID


def test_a_narrow_terminal_has_blocks() -> None:
    """The cells of a row come below each other with their names, and rows are apart."""
    lines = printed(table(), 60)

    assert [f"Message  {SID}", f"Since    {TIME}", "What     short", ""] == lines[:4]
    assert "Nothing" not in "".join(lines)


def test_a_text_is_broken_between_words() -> None:
    """In a column that is wide enough to be read."""
    lines = printed(listing(("No.", "Text"), [(1, "one two three four five six seven eight")]), 30)

    assert ["No.  Text", "1    one two three four five", "     six seven eight"] == lines


def test_lines_of_a_text_stay_lines() -> None:
    """A message may have line breaks; control characters are escaped."""
    assert ["Text  one", "      two\\x1b"] == printed(facts([("Text", "one\ntwo\x1b")]), 80)


def test_wide_characters_are_counted_as_two() -> None:
    """As a terminal does."""
    lines = printed(listing(("Name", "Since"), [("日本", "x"), ("ab", "y")]), 80)

    assert ["Name  Since", "日本  x", "ab    y"] == lines


def test_a_sentence_is_wrapped_between_words() -> None:
    """Each of its lines goes on below its text: after its indent, or after a first column."""
    text = (
        "Correct this and try again:\n  --reason: must not contain it\n  0  done, delivered to all"
    )

    lines = wrapped(text, 25).splitlines()

    assert [
        *("Correct this and try", "again:"),
        *("  --reason: must not", "  contain it"),
        *("  0  done, delivered to", "     all"),
    ] == lines
    assert lines == printed(Sentences(printable(text)), 25)
    assert text == wrapped(text, None)


def test_an_address_is_below_its_name() -> None:
    """Where it does not fit beside it; and not indented, if it fits only so."""
    address = "http://127.0.0.1:8233/namespaces/default"

    assert ["Failed  soon", "Open", address] == printed(
        facts([("Failed", "soon"), ("Open", address)]), len(address)
    )


def test_a_long_name_does_not_move_the_others() -> None:
    """One that takes more than half of the width has its value right after it, or below."""
    rows = [("Dead letters", "3"), ("Rows of the index of dead letters", "5"), ("x" * 36, "70")]

    assert [
        "Dead letters  3",
        "Rows of the index of dead letters  5",
        *("x" * 36, "  70"),
    ] == printed(facts(rows), 38)


def test_two_tables_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A text belongs to the table beside it."""
    tables = [facts([(name, "x")]) for name in "abc"]

    Output(as_json=False).result({}, tables[0], "More below.", *tables[1:])

    assert "a  x\nMore below.\nb  x\n\nc  x\n" == capsys.readouterr().out
