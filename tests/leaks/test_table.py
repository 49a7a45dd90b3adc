"""The search reports what is planted, and what the table says and is not there."""

import re
from pathlib import Path

import pytest

from devtools.leaks.search import Searcher
from tests.leaks import places
from tests.leaks.canaries import Canaries, Kind
from tests.leaks.places import Piece
from tests.leaks.table import PAGE, Found, Row, read
from tests.worker_process import ROOT

_WITHOUT_DATA = (
    *(places.METRICS, places.TRACES, places.ARGUMENTS, places.TEMPORARY, places.OTHER_FILES),
    places.VISIBILITY,
)
_ROWS = {
    row.place: row
    for row in (
        Row(places.LOGS, frozenset(), frozenset(), ""),
        Row("`suppressions.recipient`", frozenset({Kind.NUMBERS}), frozenset(), ""),
        Row(places.UNNAMED, frozenset(), frozenset({Kind.CELLS}), ""),
        Row(places.COLUMNS, frozenset(), frozenset(), ""),
        *(Row(each, frozenset(), frozenset(), "") for each in _WITHOUT_DATA),
    )
}


@pytest.fixture
def canaries() -> Canaries:
    """Values of this test."""
    return Canaries()


def _found(canaries: Canaries, *pieces: Piece) -> Found:
    """What is found in these, besides what belongs in the places of the table."""
    number = canaries.number()
    found = Found(Searcher(canaries.values), _ROWS)
    found.search(
        [
            Piece(places.LOGS, "worker.log", b"worker ready"),
            Piece("`suppressions.recipient`", "", number.encode()),
            Piece("`senders.rate`", "", b"1.5"),
            Piece(places.UNNAMED, "", b"nothing"),
            *(Piece(each, "", b"harmless") for each in _WITHOUT_DATA),
            *pieces,
        ]
    )
    return found


def test_what_the_table_allows_is_no_problem(canaries: Canaries) -> None:
    """Also what is there at times only."""
    cell = canaries.word(Kind.CELLS)

    assert not _found(canaries).problems()
    assert not _found(canaries, Piece(places.UNNAMED, "", cell.encode())).problems()


@pytest.mark.parametrize(
    ("kind", "place", "said"),
    [
        (Kind.NUMBERS, places.LOGS, "Logs of worker, webhook, operations page and codec server"),
        (Kind.CELLS, places.LOGS, "Logs of worker, webhook, operations page and codec server"),
        *(
            (kind, place, place)
            for kind in (Kind.NUMBERS, Kind.TEXTS, Kind.GIVEN)
            for place in _WITHOUT_DATA
        ),
        (Kind.FILES, "`suppressions.recipient`", "`suppressions.recipient`"),
        (Kind.NUMBERS, places.UNNAMED, "Files without a name"),
        (Kind.NUMBERS, "`senders.reason`", "Every other column"),
    ],
)
def test_a_leak_is_named_by_kind_and_place(
    canaries: Canaries, kind: Kind, place: str, said: str
) -> None:
    """But not by its value."""
    value = canaries.number(kind) if kind is Kind.NUMBERS else canaries.word(kind)

    problems = _found(canaries, Piece(place, "line 7", f"to={value}".encode())).problems()

    assert f"{said}: {kind} in clear, which the table does not allow" in problems
    assert "line 7" in problems
    assert value[-4:] not in problems


def test_what_the_table_has_must_be_there(canaries: Canaries) -> None:
    """So the table stays true; a place that was not searched is a problem too."""
    found = Found(Searcher(canaries.values), _ROWS)
    found.add(Piece("`suppressions.recipient`", "", b"nobody"))
    found.add(Piece(places.COLUMNS, "", b""))

    assert [
        "Every other column: nothing was searched there",
        "Files without a name: nothing was searched there",
        "`suppressions.recipient`: no numbers found, which the table has",
    ] == found.problems(absent=[places.LOGS, *_WITHOUT_DATA]).splitlines()


def test_a_place_must_be_in_the_table(canaries: Canaries) -> None:
    """Whether or not something is found there."""
    problems = _found(canaries, Piece("Nowhere", "", b"x")).problems()

    assert "Nowhere: is not in the table" == problems


def test_the_page_says_what_each_kind_is() -> None:
    """Each kind of its tables is one that the search knows, or a secret of a local stack."""
    of_a_stack = {"CSRF tokens", "payload keys", "codec server's token", "page passwords"}
    kinds = {kind for row in read().values() for kind in row.always | row.at_times}

    assert set() == kinds - {*Kind} - of_a_stack
    for kind in kinds & {*Kind} - {Kind.FILES, Kind.GIVEN}:
        assert f"*{kind}*" in PAGE.read_text()


def test_the_page_agrees_with_the_retention_of_each_table() -> None:
    """The settings that it names are those of the table."""
    retention = (ROOT / "docs/reference/retention.md").read_text()
    settings: dict[str, set[str]] = {}
    for table, setting in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", retention, re.MULTILINE):
        settings.setdefault(table, set()).update(re.findall(r"\w+_DAYS", setting))
    wrong = [
        row.place
        for row in read().values()
        if (column := re.fullmatch(r"`(\w+)\.\w+`", row.place)) and column[1] in settings
        if not set(re.findall(r"\w+_DAYS", row.kept)) <= settings[column[1]]
    ]

    assert [] == wrong


def test_files_are_told_apart(tmp_path: Path) -> None:
    """Logs, databases, temporary files, and those that nobody expects."""
    given, temporary = tmp_path / "given", tmp_path / "tmp"
    for name in (
        *("given/people.csv", "tmp/left-behind", "logs/worker.log", "logs/temporal.log"),
        *("signedfor.db-wal", "payload-keys", "core", "logs/worker.log.1"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    found = places.folder(tmp_path, given=given, temporary=temporary)

    assert {
        "left-behind": places.TEMPORARY,
        "worker.log": places.LOGS,
        "temporal.log": places.OTHER_LOGS,
        "signedfor.db-wal": places.SQLITE,
        "payload-keys": "`payload-keys`",
        "core": places.OTHER_FILES,
        "worker.log.1": places.OTHER_FILES,
    } == {piece.detail: piece.place for piece in found}


def test_new_files_are_found_wherever_they_are(tmp_path: Path) -> None:
    """A value at the seam of two parts of a large file, too; what was there before is not read."""
    (tmp_path / "old").write_text("old")
    before = places.files_in(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "new").write_bytes(b"x" * (2**24 - 5) + b"quokka1234567890")

    found = list(places.new_files(tmp_path, before=before))

    assert {str(tmp_path / "deep" / "er" / "new")} == {each.detail for each in found}
    assert any(b"quokka1234567890" in each.data for each in found)
