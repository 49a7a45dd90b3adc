"""The checks of a row: each fault is found, named by its column, and never shown."""

import pytest

from cli.campaigns.recipients import Line
from cli.campaigns.rows import CheckedRow, RowChecks
from cli.output import BadInput
from messaging.segments import Encoding
from store.campaigns import CampaignRow
from tests.cli.campaigns.support import message
from tests.workflows.courier import RECIPIENT, SENDER

COLUMNS = ["to", "name", "code"]


def _checks(body: str = "Hi {Name}", **fields: object) -> RowChecks:
    return RowChecks(message(body, **fields), COLUMNS, to_column="to")


def _problems(checks: RowChecks, *cells: str, line: int = 2) -> list[str]:
    found = checks.check(Line(number=line, cells=cells))
    return [] if isinstance(found, CheckedRow) else found


def test_a_row_becomes_its_message() -> None:
    """The recipient normalised, only the fields that the text needs, and the text's segments."""
    checks = _checks()
    first = checks.check(Line(number=2, cells=["+1 (555) 867-5309", " Zoë ", "secret"]))
    second = checks.check(Line(number=9, cells=[f"{RECIPIENT}0", "…" * 71, ""]))

    assert isinstance(first, CheckedRow)
    assert isinstance(second, CheckedRow)
    assert CampaignRow(number=1, to=RECIPIENT, fields={"Name": "Zoë"}, segments=1) == first.row
    assert ("Hi Zoë", Encoding.UCS2) == (first.text, first.encoding)
    assert (2, 2) == (second.row.number, second.row.segments)
    on_a_channel = checks.check(Line(number=10, cells=[f"rcs:{RECIPIENT}1", "…" * 71, ""]))
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
        ([SENDER, "Ann", ""], "to: is a number of your own"),
        ([f"whatsapp:{SENDER}", "Ann", ""], "to: is a number of your own"),
        ([RECIPIENT, " ", ""], "Name: is empty, and the text needs it"),
        ([RECIPIENT, "#REF!", ""], "Name: is a spreadsheet's error value"),
        ([RECIPIENT, "x" * 1598, ""], "longer than Twilio's 1600 characters"),
        ([RECIPIENT, "Ann"], "has 2 cells where the header has 3"),
        ([RECIPIENT, "Ann", "", ""], "has 4 cells where the header has 3"),
    ],
)
def test_faults(cells: list[str], said: str) -> None:
    """One sentence that begins with the column and repeats no cell."""
    (problem,) = _problems(_checks(), *cells)

    assert said in problem
    assert not [cell for cell in cells if cell.strip() and cell in problem]


def test_every_fault_of_a_row_is_found() -> None:
    """One round mends all."""
    said = _problems(_checks("{name} {code}"), "5", "", "=A1")

    assert ["to", "code", "name"] == [problem.partition(":")[0] for problem in said]


@pytest.mark.parametrize(
    "again", [RECIPIENT, "+1 (555) 867-5309", f"whatsapp:{RECIPIENT}", f"rcs:{RECIPIENT}"]
)
def test_nobody_comes_twice_in_any_spelling(again: str) -> None:
    """A person is one, whatever the channel; the line of the first occurrence is named."""
    checks = _checks()

    assert [] == _problems(checks, RECIPIENT, "Ann", "", line=7)
    assert ["to: stands in line 7 already"] == _problems(checks, again, "Ann", "", line=9)
    assert ["to: stands in line 7 already"] == _problems(checks, again, "Ann", "", line=10)


def test_unused_columns_may_hold_anything() -> None:
    """Only what would be sent is looked at."""
    assert [] == _problems(_checks("Hello"), RECIPIENT, "", "=A1")


def test_a_window_must_open_for_the_recipient() -> None:
    """A number that does not tell where it is needs a time zone."""
    hours = {"from": "09:00", "until": "20:00"}
    cells = ["messenger:1234567", "Ann", ""]

    (problem,) = _problems(_checks(send_window=hours), *cells)
    assert problem.startswith("--between: needs a time_zone")
    assert [] == _problems(_checks(send_window=hours | {"time_zone": "Europe/Berlin"}), *cells)


def test_other_senders_are_own_numbers_too() -> None:
    """Whatever the caller knows to be ours is refused."""
    checks = RowChecks(message("Hi"), COLUMNS, to_column="to", own=[RECIPIENT])

    assert ["to: is a number of your own"] == _problems(checks, RECIPIENT, "", "")


def test_what_shows_in_clear_must_not_hold_a_recipients_number() -> None:
    """Ids and tenants can be seen by whoever sees the Temporal UI."""
    names = {"--id": f"c-{RECIPIENT[1:]}", "--tenant": "acme"}
    checks = RowChecks(message("Hi"), COLUMNS, to_column="to", public_names=names)

    (problem,) = _problems(checks, RECIPIENT, "", "")
    assert problem.startswith("--id: holds this recipient's number")
    assert RECIPIENT[1:] not in problem
    assert [] == _problems(checks, RECIPIENT + "0", "", "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Hi {nmae} and {x}", "{nmae} is no column of the file; it has to, name, code"),
        ("Hi {name", "has a brace that is not closed at character 4"),
    ],
)
def test_a_text_that_does_not_go_with_the_file(body: str, said: str) -> None:
    """It is said of --body, once."""
    with pytest.raises(BadInput) as caught:
        _checks(body)

    assert {"--body"} == {field for field, _ in caught.value.problems}
    assert said in str(caught.value)
