"""The whole file is checked; each problem is found, named by line and column, and never shown."""

import csv
import io
import time
import tracemalloc
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import pytest

from signedfor.campaigns.checks import (
    CheckedRow,
    LateWindows,
    RowChecks,
    Tally,
    check_file,
)
from signedfor.campaigns.recipients import Line, RecipientsFile
from signedfor.campaigns.staging import StagedRows
from signedfor.contract import CampaignMessage
from signedfor.csv_problems import BadRows, CsvProblems, SkippedRows
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.errors import BadInput
from signedfor.store.campaigns import CampaignRow
from signedfor.twilio.segments import Encoding
from tests.signedfor.campaigns.support import good_rows, message, number
from tests.workflows.fakes import RECIPIENT, SENDER


class OptedOut:
    """A fake lookup that records the size of each request."""

    def __init__(self, *recipients: str) -> None:
        self._recipients = frozenset(recipients)
        self.asked: list[int] = []

    def find_suppressed(
        self, recipients: Collection[str], *, sender: str | None, category: str | None
    ) -> frozenset[str]:
        """See base class."""
        assert sender is not None
        assert category == "news"
        self.asked.append(len(recipients))
        return self._recipients.intersection(recipients)


@pytest.fixture
def staged() -> Iterator[StagedRows]:
    """An empty staging file."""
    with StagedRows() as rows:
        yield rows


def _check(
    lines: Collection[str],
    staged: StagedRows,
    *,
    opted_out: OptedOut | None = None,
    text: CampaignMessage | None = None,
    problems: CsvProblems | None = None,
    skipped: SkippedRows | None = None,
    destinations: Destinations = EVERYWHERE,
) -> Tally:
    raw = "".join(f"{line}\n" for line in lines).encode()
    return check_file(
        RecipientsFile(io.BytesIO(raw), size=len(raw)),
        text or message(category="news"),
        to_column="to",
        suppressions=opted_out or OptedOut(),
        staged=staged,
        destinations=destinations,
        problems=problems,
        skipped=skipped,
    )


def test_rows_are_counted_and_staged(staged: StagedRows) -> None:
    """The tally covers the whole file and its opted-out recipients; every row is staged."""
    opted_out = OptedOut(number(3), number(2100), number(9999))
    lines = [*good_rows(2101), f"{number(5000)},Zoë…,{'x' * 70}"]

    tally = _check(lines, staged, opted_out=opted_out)

    assert (2102, 2103, 2) == (tally.rows, tally.segments, tally.suppressed)
    assert 2101 == tally.segments_to_send
    assert {Encoding.GSM7: 2101, Encoding.UCS2: 1} == tally.encodings
    assert [1000, 1000, 102] == opted_out.asked
    rows = [row for batch in staged.batches() for row in batch]
    assert list(range(1, 2103)) == [row.number for row in rows]
    assert "Zoë…" == rows[-1].fields["name"]


def test_the_first_twenty_problems_are_shown_and_all_counted(staged: StagedRows) -> None:
    """Also those of a file that cannot be read to its end."""
    lines = ["to,name,code", *(f"{index},private," for index in range(15)), '"x" private']

    with pytest.raises(BadRows) as caught:
        _check(lines, staged)

    error = caught.value
    assert (20, 31) == (len(error.problems), error.total)
    assert "and 11 more problems" in str(error)
    assert "private" not in str(error)
    assert ("line 2", "code: is empty, and the text needs it") == error.problems[1]
    assert 31 == error.document()["error"]["total"]


def test_rows_beyond_the_allowed_countries_are_named(staged: StagedRows) -> None:
    """With the country, the setting and the line, and without the number."""
    lines = ["to,name,code", f"{number(1)},Zoë,1", "+18765550123,Ada,2"]

    with pytest.raises(BadRows) as caught:
        _check(lines, staged, destinations=Destinations(["US"]))

    assert (("line 3", "to: is in JM, which ALLOWED_COUNTRIES does not have"),) == (
        caught.value.problems
    )


def test_every_problem_can_be_listed(staged: StagedRows) -> None:
    """For people or for programs, each with line, column and a sentence, and no cell."""
    lines = ["to,name,code", *(f"{index},private," for index in range(15))]
    problems = CsvProblems(in_text=None, in_document=None)

    with pytest.raises(BadRows) as caught:
        _check(lines, staged, problems=problems)

    error = caught.value.document()["error"]
    assert (30, 30) == (len(caught.value.problems), len(error["fields"]))
    assert {
        "field": "line 2",
        "line": 2,
        "column": "code",
        "problem": "is empty, and the text needs it",
    } == error["fields"][1]
    assert "more problems" not in str(caught.value)
    assert "private" not in str(error)


def test_bad_rows_are_skipped_and_none_is_lost(staged: StagedRows) -> None:
    """What is not sent is in the other file, complete; corrected, it is a file to start."""
    first, second, third = (number(index) for index in range(3))
    lines = [
        "Line,to,name,code,note",
        f"L1,{first},Ann,C1,=1+1",
        f"L2,{second},Ben,,x",
        "L3,5558675309,Cleo,C3,y",
        f"L4,{third},Dan",
        f"L5,{first},Eve,C5,z",
        f"L6,{third},Fay,C6,w",
    ]
    file = io.StringIO(newline="")
    skipped = SkippedRows(file)

    tally = _check(lines, staged, skipped=skipped)

    rows = [row for batch in staged.batches() for row in batch]
    assert [(1, first), (2, third)] == [(row.number, row.to) for row in rows]
    assert (2, 4, 4) == (tally.rows, tally.skipped, skipped.count)
    assert ("L1", first, "Ann", "C1", "=1+1") == rows[0].cells
    found = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert ["line_2", "problems", "Line", "to", "name", "code", "note"] == found[0]
    assert ["3", "code: is empty, and the text needs it", "L2", f"'{second}"] == found[1][:4]
    assert ["4", "5", "6"] == [each[0] for each in found[2:]]
    assert ["L4", f"'{third}", "Dan"] == found[3][2:]
    assert "to: is already in line 2" == found[4][1]

    again = io.StringIO(newline="")
    csv.writer(again).writerows([found[0], [*found[1][:5], "C2", "x"]])
    with StagedRows() as corrected:
        assert 1 == _check(again.getvalue().splitlines(), corrected).rows


@pytest.mark.parametrize(
    "lines",
    [
        ["to,name,code", f"{number(1)},Ann,C1", '"x" broken'],
        ["to,name,code", "bad,Ann,C1"],
        ["name,code", "Ann,C1"],
    ],
)
def test_what_cannot_be_skipped_is_refused(lines: list[str], staged: StagedRows) -> None:
    """What cannot be read on, and a file with no row that can be sent."""
    with pytest.raises(BadRows):
        _check(lines, staged, skipped=SkippedRows(io.StringIO()))


def test_a_file_without_rows_is_refused(staged: StagedRows) -> None:
    """A header alone has no recipients."""
    with pytest.raises(BadRows, match="line 1: has a header and no rows"):
        _check(["to,name,code", "", ",,"], staged)


def test_a_quote_left_open_is_found_by_the_files_own_separator(staged: StagedRows) -> None:
    """The row that it swallowed begins with a recipient."""
    lines = ["to\tname\tcode", f'{number(1)}\t"Ann', f'{number(2)}\tBen"\tC2']

    with pytest.raises(BadRows) as caught:
        _check(lines, staged)

    (problem,) = caught.value.problems
    assert (
        "line 2",
        "name: contains what looks like another row; is a quote left open?",
    ) == problem


@pytest.mark.parametrize("body", ["Hi {name}, your code is {code}.", "😀 {name}…" + " {code}" * 20])
def test_a_hundred_thousand_rows_take_less_than_ten_seconds(body: str) -> None:
    """CPU time, measured on a tenth of the rows: other work on the machine hardly counts."""
    lines = list(good_rows(10_000))

    def seconds() -> float:
        with StagedRows() as staged:
            began = time.process_time()
            _check(lines, staged, text=message(body, category="news"))
            return time.process_time() - began

    assert any(seconds() < 1 for _ in range(3))


def test_memory_does_not_grow_with_the_file(staged: StagedRows) -> None:
    """Each row costs under 250 bytes: its number is stored to find duplicates."""
    lines = list(good_rows(4000))
    _check(lines[:100], staged)
    tracemalloc.start()
    try:
        _check(lines[:1001], staged)
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        _check(lines, staged)
        grown = tracemalloc.get_traced_memory()[1] - first
    finally:
        tracemalloc.stop()

    assert grown / 3000 < 250


COLUMNS = ["to", "name", "code"]
SERVICE = "MG0123456789abcdef0123456789abcdef"


def _checks(body: str = "Hi {Name}", **fields: object) -> RowChecks:
    return RowChecks(message(body, **fields), COLUMNS, to_column="to")


def _problems(checks: RowChecks, *cells: str, line: int = 2) -> list[str]:
    found = checks.check(Line(number=line, cells=cells))
    return [] if isinstance(found, CheckedRow) else [each.sentence for each in found]


def test_a_row_becomes_its_message() -> None:
    """The recipient is normalized; the row has only the fields that the text needs."""
    checks = _checks()
    first = checks.check(Line(number=2, cells=["+1 (555) 867-5309", " Zoë ", "secret"]))
    second = checks.check(Line(number=9, cells=[f"{RECIPIENT[:-1]}1", "…" * 71, ""]))

    assert isinstance(first, CheckedRow)
    assert isinstance(second, CheckedRow)
    assert CampaignRow(number=1, to=RECIPIENT, fields={"Name": "Zoë"}, segments=1) == first.row
    assert ("Hi Zoë", Encoding.UCS2) == (first.text, first.encoding)
    assert (2, 2) == (second.row.number, second.row.segments)
    checks = _checks(**{"from": "rcs:acme"})
    on_a_channel = checks.check(Line(number=10, cells=[f"rcs:{RECIPIENT}", "…" * 71, ""]))
    assert isinstance(on_a_channel, CheckedRow)
    assert 1 == on_a_channel.row.segments


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["", "Ann", ""], "to: is empty"),
        (["1.55587E+10", "Ann", ""], "to: was turned into scientific notation"),
        (["=A1", "Ann", ""], "to: is a formula"),
        (["15558675309", "Ann", ""], "to: has no plus and country code"),
        (["+1555867530x", "Ann", ""], "to: has a letter"),
        (["+19002345678", "Ann", ""], "to: is a premium-rate number"),
        ([SENDER, "Ann", ""], "to: is one of your own numbers"),
        (
            ["+155586753091", "Ann", ""],
            "to: has 11 digits after its country code, where numbers have",
        ),
        (
            ["+1 1 555 867 5309", "Ann", ""],
            "to: has digits after the country code that are dialled",
        ),
        ([RECIPIENT, " ", ""], "Name: is empty, and the text needs it"),
        ([RECIPIENT, "\u200b\u00a0", ""], "Name: is empty, and the text needs it"),
        ([RECIPIENT, "#REF!", ""], "Name: is a spreadsheet's error value"),
        ([RECIPIENT, "x" * 1598, ""], "longer than Twilio's 1600 characters"),
        ([RECIPIENT, "Ann"], "has 2 cells where the header has 3"),
        ([RECIPIENT, "Ann", "", ""], "has 4 cells where the header has 3"),
    ],
)
def test_bad_rows(cells: list[str], said: str) -> None:
    """Each problem is one sentence that begins with the column and repeats no cell."""
    (problem,) = _problems(_checks(), *cells)

    assert said in problem
    assert not [cell for cell in cells if cell.strip() and cell in problem]


def test_every_problem_of_a_row_is_found() -> None:
    """All can be fixed at once."""
    said = _problems(_checks("{name} {code}"), "5", "", "=A1")

    assert ["to", "code", "name"] == [problem.partition(":")[0] for problem in said]


@pytest.mark.parametrize(
    "again", [RECIPIENT, "+1 (555) 867-5309", f"whatsapp:{RECIPIENT}", f"rcs:{RECIPIENT}"]
)
def test_a_recipient_is_found_twice_in_any_spelling(again: str) -> None:
    """Duplicates are found across channels; the error names the first line."""
    checks = _checks(**{"from": SERVICE})

    assert [] == _problems(checks, RECIPIENT, "Ann", "", line=7)
    assert ["to: is already in line 7"] == _problems(checks, again, "Ann", "", line=9)
    assert ["to: is already in line 7"] == _problems(checks, again, "Ann", "", line=10)


def test_unused_columns_may_hold_anything() -> None:
    """Only columns that are sent are checked."""
    assert [] == _problems(_checks("Hello"), RECIPIENT, "", "=A1")


def test_a_window_must_open_for_the_recipient() -> None:
    """A recipient whose number does not show its location needs a time zone."""
    sender = {"from": SERVICE}
    hours = {"from": "09:00", "until": "20:00"}
    cells = ["messenger:1234567", "Ann", ""]

    (problem,) = _problems(_checks(send_window=hours, **sender), *cells)
    assert problem.startswith("--between: needs a time_zone")
    hours["time_zone"] = "Europe/Berlin"
    assert [] == _problems(_checks(send_window=hours, **sender), *cells)


def test_quiet_hours_must_open_for_the_recipient() -> None:
    """A toll-free number may be anywhere from Guam to Newfoundland; the option is named."""
    cells = ["+18005550100", "Ann", ""]
    quiet_hours = {"quiet_hours": ["us"]}

    (problem,) = _problems(_checks(send_window=quiet_hours), *cells)
    assert problem.startswith("--quiet-hours: does not open")
    assert [] == _problems(_checks(send_window=quiet_hours | {"time_zone": "UTC"}), *cells)


def test_other_senders_are_own_numbers_too() -> None:
    """Other senders of the account are refused as recipients."""
    checks = RowChecks(message("Hi"), COLUMNS, to_column="to", own=[RECIPIENT])

    assert ["to: is one of your own numbers"] == _problems(checks, RECIPIENT, "", "")


def test_own_numbers_are_found_on_every_channel() -> None:
    """A WhatsApp address and its number are the same phone."""
    checks = RowChecks(message("Hi", **{"from": SERVICE}), COLUMNS, to_column="to", own=[SENDER])

    assert ["to: is one of your own numbers"] == _problems(checks, f"whatsapp:{SENDER}", "", "")


@pytest.mark.parametrize(
    ("sender", "recipient", "said"),
    [
        (SENDER, f"whatsapp:{RECIPIENT}", "is a WhatsApp address, and --from is not"),
        ("12345", f"rcs:{RECIPIENT}", "is an RCS address, and --from is not"),
        ("Acme", "messenger:1234567", "is a Messenger address, and --from is not"),
        (f"whatsapp:{SENDER}", RECIPIENT, "is a phone number, and --from is not"),
        (f"whatsapp:{SENDER}", f"rcs:{RECIPIENT}", "is an RCS address, and --from is not"),
        (f"whatsapp:{SENDER}", f"whatsapp:{RECIPIENT}", None),
        ("Acme", RECIPIENT, None),
        (SERVICE, RECIPIENT, None),
        (SERVICE, f"whatsapp:{RECIPIENT}", None),
    ],
)
def test_sender_and_recipient_are_of_one_channel(
    sender: str, recipient: str, said: str | None
) -> None:
    """Twilio refuses all others (21910), unless a Messaging Service chooses the sender."""
    problems = _problems(_checks(**{"from": sender}), recipient, "Ann", "")

    assert ([f"to: {said}; both must be on the same channel"] if said else []) == problems


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ([RECIPIENT, f"Ann\n{RECIPIENT[:-1]}0,Bob", ""], "name"),
        ([RECIPIENT, "Ann", f"C\r\nBob,'{RECIPIENT[:-1]}0"], "code"),
        ([f"{RECIPIENT}\n{RECIPIENT[:-1]}0", "Ann", ""], "to"),
        ([RECIPIENT, "Ann\nLee", f"two\nlines, and {RECIPIENT} in a text"], None),
    ],
)
def test_a_cell_that_contains_another_row(cells: list[str], column: str | None) -> None:
    """With a quote left open, one recipient's number would be sent to another."""
    said = f"{column}: contains what looks like another row; is a quote left open?"

    assert ([said] if column else []) == _problems(_checks(), *cells)


def _clear(recipient: str, *, campaign_id: str = "c", tenant: str = "acme") -> list[str]:
    checks = RowChecks(
        message("Hi", tenant=tenant), COLUMNS, to_column="to", campaign_id=campaign_id
    )
    other = _problems(checks, "+15558670000", "", "")
    return other + _problems(checks, recipient, "", "", line=3)


@pytest.mark.parametrize(
    ("campaign_id", "recipient"),
    [
        (f"c-{RECIPIENT[1:]}", RECIPIENT),
        ("c-1.555.867.5309", RECIPIENT),
        ("sale-3725123456", "+37251234562"),
        ("sale-3725123456", "+3725123456"),
        ("c-5558675309", RECIPIENT),
        ("sale-5123456", "+37251234562"),
    ],
)
def test_an_id_that_contains_a_recipients_number(campaign_id: str, recipient: str) -> None:
    """By itself or with the row's number appended: message ids are not masked."""
    (problem,) = _clear(recipient, campaign_id=campaign_id)

    assert problem.startswith("--id: contains this recipient's number")
    assert recipient[1:] not in problem


def test_a_tenant_that_contains_a_recipients_number() -> None:
    """Tenants are not masked either; other names with digits are fine."""
    for tenant in (f"t{RECIPIENT[1:]}", "t-5558675309"):
        (problem,) = _clear(RECIPIENT, tenant=tenant)
        assert problem.startswith("--tenant: contains this recipient's number")
    assert [] == _clear("+37251234561", campaign_id="sale-3725123456")
    assert [] == _clear(RECIPIENT, campaign_id="spring-2026")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Hi {nmae} and {x}", "{nmae} is not a column of the file; it has to, name, code"),
        ("Hi {name", "has a brace that is not closed at character 4"),
    ],
)
def test_a_text_that_does_not_match_the_file(body: str, said: str) -> None:
    """The error names --body, once."""
    with pytest.raises(BadInput) as caught:
        _checks(body)

    assert {"--body"} == {field for field, _ in caught.value.problems}
    assert said in str(caught.value)


NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
HOURS = {"from": "09:00", "until": "20:00"}
BERLIN, NEW_YORK = "+4915112345678", "+12125550123"
"""Where the window opens at eight and at two in the afternoon, by UTC."""


@pytest.mark.parametrize(
    ("expires_at", "time_zone", "late"),
    [
        ("2026-11-21T07:30:00Z", None, [True, True]),
        ("2026-11-21T08:00:00Z", None, [True, True]),
        ("2026-11-21T08:01:00Z", None, [False, True]),
        ("2026-11-21T14:01:00Z", None, [False, False]),
        ("2026-11-21T08:01:00Z", "Europe/Berlin", [False, False]),
        ("2026-11-21T08:00:00Z", "Europe/Berlin", [True, True]),
    ],
)
def test_windows_are_in_each_recipients_local_time(
    expires_at: str, time_zone: str | None, late: list[bool]
) -> None:
    """Unless a time zone is given; the order makes no difference."""
    window = HOURS | ({"time_zone": time_zone} if time_zone else {})
    late_windows = LateWindows(message(send_window=window, expires_at=expires_at), now=NOW)

    assert late == [late_windows.includes(each) for each in (BERLIN, NEW_YORK)]
    assert late == [late_windows.includes(each) for each in (BERLIN, NEW_YORK)]


def test_quiet_hours_differ_within_a_time_zone() -> None:
    """At 20:30 in New York it is too late for Miami."""
    late_windows = LateWindows(
        message(send_window={"quiet_hours": ["us"]}, expires_at="2026-11-24T02:00:00Z"),
        now=datetime(2026, 11, 24, 1, 30, tzinfo=UTC),
    )

    assert [False, True] == [late_windows.includes(each) for each in (NEW_YORK, "+13055550123")]


def test_without_window_and_expiry_none_is_late() -> None:
    """Without an expiry the message waits for its window."""
    for fields in ({"send_window": HOURS}, {"expires_at": "2026-11-21T07:00:00Z"}):
        assert not LateWindows(message(**fields), now=NOW).includes(BERLIN)
