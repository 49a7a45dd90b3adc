"""The checks of a row: each fault is found, named by its column, and never shown."""

import pytest

from signedfor.cli.campaigns.recipients import Line
from signedfor.cli.campaigns.rows import CheckedRow, RowChecks
from signedfor.cli.output import BadInput
from signedfor.store.campaigns import CampaignRow
from signedfor.twilio.segments import Encoding
from tests.signedfor.cli.campaigns.support import message
from tests.workflows.courier import RECIPIENT, SENDER

COLUMNS = ["to", "name", "code"]
SERVICE = "MG0123456789abcdef0123456789abcdef"


def _checks(body: str = "Hi {Name}", **fields: object) -> RowChecks:
    return RowChecks(message(body, **fields), COLUMNS, to_column="to")


def _problems(checks: RowChecks, *cells: str, line: int = 2) -> list[str]:
    found = checks.check(Line(number=line, cells=cells))
    return [] if isinstance(found, CheckedRow) else found


def test_a_row_becomes_its_message() -> None:
    """The recipient normalised, only the fields that the text needs, and the text's segments."""
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
        ([SENDER, "Ann", ""], "to: is a number of your own"),
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
    checks = _checks(**{"from": SERVICE})

    assert [] == _problems(checks, RECIPIENT, "Ann", "", line=7)
    assert ["to: stands in line 7 already"] == _problems(checks, again, "Ann", "", line=9)
    assert ["to: stands in line 7 already"] == _problems(checks, again, "Ann", "", line=10)


def test_unused_columns_may_hold_anything() -> None:
    """Only what would be sent is looked at."""
    assert [] == _problems(_checks("Hello"), RECIPIENT, "", "=A1")


def test_a_window_must_open_for_the_recipient() -> None:
    """A number that does not tell where it is needs a time zone."""
    sender = {"from": SERVICE}
    hours = {"from": "09:00", "until": "20:00"}
    cells = ["messenger:1234567", "Ann", ""]

    (problem,) = _problems(_checks(send_window=hours, **sender), *cells)
    assert problem.startswith("--between: needs a time_zone")
    hours["time_zone"] = "Europe/Berlin"
    assert [] == _problems(_checks(send_window=hours, **sender), *cells)


def test_other_senders_are_own_numbers_too() -> None:
    """Whatever the caller knows to be ours is refused."""
    checks = RowChecks(message("Hi"), COLUMNS, to_column="to", own=[RECIPIENT])

    assert ["to: is a number of your own"] == _problems(checks, RECIPIENT, "", "")


def test_own_numbers_are_own_on_every_channel() -> None:
    """It is the same telephone."""
    checks = RowChecks(message("Hi", **{"from": SERVICE}), COLUMNS, to_column="to", own=[SENDER])

    assert ["to: is a number of your own"] == _problems(checks, f"whatsapp:{SENDER}", "", "")


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

    assert ([f"to: {said}; both must be of one channel"] if said else []) == problems


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ([RECIPIENT, f"Ann\n{RECIPIENT[:-1]}0,Bob", ""], "name"),
        ([RECIPIENT, "Ann", f"C\r\nBob,'{RECIPIENT[:-1]}0"], "code"),
        ([f"{RECIPIENT}\n{RECIPIENT[:-1]}0", "Ann", ""], "to"),
        ([RECIPIENT, "Ann\nLee", f"two\nlines, and {RECIPIENT} in a text"], None),
    ],
)
def test_a_cell_that_swallowed_a_row(cells: list[str], column: str | None) -> None:
    """A quote left open hides a recipient, and would show another one's number."""
    said = f"{column}: holds what looks like another row; is a quote left open?"

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
    ],
)
def test_an_id_that_holds_a_recipients_number(campaign_id: str, recipient: str) -> None:
    """Alone, or with the number of its row behind it: messages' ids are seen by many."""
    (problem,) = _clear(recipient, campaign_id=campaign_id)

    assert problem.startswith("--id: holds this recipient's number")
    assert recipient[1:] not in problem


def test_a_tenant_that_holds_a_recipients_number() -> None:
    """It shows in clear as well; other names with digits do no harm."""
    (problem,) = _clear(RECIPIENT, tenant=f"t{RECIPIENT[1:]}")

    assert problem.startswith("--tenant: holds this recipient's number")
    assert [] == _clear("+37251234561", campaign_id="sale-3725123456")
    assert [] == _clear(RECIPIENT, campaign_id="spring-2026")


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
