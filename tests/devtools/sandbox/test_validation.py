"""The checks of a create and their codes, as the official SDK shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from devtools.sandbox.client import SandboxControl
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.validation import check
from tests.devtools.sandbox.support import SENDER, SERVICE, status_of, until

RECIPIENT = "+15558675309"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()


def form(**changes: str | list[str] | None) -> dict[str, list[str]]:
    """A valid form with `changes`; None removes a field."""
    fields: dict[str, str | list[str] | None] = {
        "To": RECIPIENT,
        "From": SENDER,
        "Body": "hello",
        **changes,
    }
    return {
        name: value if isinstance(value, list) else [value]
        for name, value in fields.items()
        if value is not None
    }


SCHEDULED = {"From": None, "MessagingServiceSid": SERVICE, "ScheduleType": "fixed"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21604),
        ({"To": ""}, 21604),
        ({"From": None}, 21603),
        ({"Body": None}, 21619),
        ({"Body": ""}, 21602),
        ({"Body": "a" * 1601}, 21617),
        ({"To": "+1"}, 21211),
        ({"To": "+1555867530"}, 21211),
        ({"To": "bob"}, 21211),
        ({"To": "12345"}, 21265),
        ({"From": "much too long a name"}, 21212),
        ({"To": SENDER}, 21266),
        ({"To": f"whatsapp:{RECIPIENT}"}, 21910),
        ({"MessagingServiceSid": "MG1"}, 21705),
        ({"StatusCallback": "not a url"}, 21609),
        ({"StatusCallback": "https://under_score.example/x"}, 21609),
        ({"StatusCallback": "https://example.com/" + "x" * 4000}, 21609),
        ({"MediaUrl": ["https://example.com/a.png"] * 11}, 21623),
        ({"MediaUrl": ["ftp://example.com/a.png"]}, 21620),
        ({"ValidityPeriod": "0"}, 21624),
        ({"ValidityPeriod": "36001"}, 21624),
        ({"ValidityPeriod": "soon"}, 21624),
        ({"ContentSid": "HX1"}, 21655),
        ({"ContentVariables": "{}"}, 21654),
        ({"ContentSid": "HX" + "0" * 32, "ContentVariables": "{"}, 21656),
        ({"ScheduleType": "fixed", "SendAt": "2026-11-21T13:00:00Z"}, 35118),
        (SCHEDULED, 35111),
        ({**SCHEDULED, "ScheduleType": "weekly"}, 35126),
        ({**SCHEDULED, "SendAt": "soon"}, 35114),
        ({**SCHEDULED, "SendAt": "2026-11-21T12:04:59Z"}, 35114),
        ({**SCHEDULED, "SendAt": "2026-12-26T12:00:01Z"}, 35114),
    ],
)
def test_bad_parameter_has_its_code(changes: dict[str, Any], code: int) -> None:
    """Each bad parameter is refused with Twilio's own code, and the error has no value in it."""
    with pytest.raises(TwilioError) as refused:
        check(form(**changes), strict=False, now=NOW)

    assert (code, 400) == (refused.value.code, refused.value.status)
    assert f"Twilio error {code}" == str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": "a" * 1600},
        {"To": "+1 (555) 867-5309"},
        {"ValidityPeriod": "36000"},
        {"Body": None, "MediaUrl": ["https://example.com/a.png"] * 10},
        {"Body": None, "ContentSid": "HX" + "0" * 32, "ContentVariables": '{"1": "x"}'},
        {"StatusCallback": "http://127.0.0.1:8080/status?message_id=1#rc=5&rp=all"},
        {**SCHEDULED, "SendAt": "2026-11-21T12:05:00Z"},
    ],
)
def test_good_parameter_passes(changes: dict[str, Any]) -> None:
    """Values just within Twilio's limits pass; the recipient becomes E.164."""
    assert check(form(**changes), strict=False, now=NOW).to == RECIPIENT


@pytest.mark.parametrize(
    ("to", "code", "text"),
    [
        ("+15005550001", 21211, "The 'To' number +15005550001 is not a valid phone number."),
        ("+15005550002", 21612, None),
        (
            "+15005550003",
            21408,
            (
                "Permission to send an SMS has not been enabled for the region indicated by the "
                "'To' number: +15005550003"
            ),
        ),
        ("+15005550004", 21610, "Attempt to send to unsubscribed recipient"),
        ("+15005550009", 21614, "To number: +15005550009, is not a mobile number"),
    ],
)
def test_magic_recipients(twilio: Client, to: str, code: int, text: str | None) -> None:
    """The magic recipients are refused with their codes and Twilio's texts."""
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages.create(to=to, from_=SENDER, body="hello")

    assert (400, code) == (refused.value.status, refused.value.code)
    if text is not None:
        assert f"Unable to create record: {text}" == refused.value.msg


@pytest.mark.parametrize(
    ("sender", "refusal"),
    [
        ("+15005550001", (400, 21212)),
        ("+15005550007", (400, 21606)),
        ("+15005550008", (429, 21611)),
    ],
)
def test_magic_senders(
    twilio: Client,
    test_credentials: Client,
    recipient: str,
    sender: str,
    refusal: tuple[int, int],
) -> None:
    """The magic senders are refused on both accounts."""
    for client in (twilio, test_credentials):
        with pytest.raises(TwilioRestException) as refused:
            client.messages.create(to=recipient, from_=sender, body="hello")
        assert refusal == (refused.value.status, refused.value.code)


def test_test_credentials_know_one_sender(test_credentials: Client, recipient: str) -> None:
    """With test credentials only +15005550006 sends; any other sender is 21606."""
    message = test_credentials.messages.create(to=recipient, from_=SENDER, body="hello")
    assert status_of(message) == "queued"

    with pytest.raises(TwilioRestException) as refused:
        test_credentials.messages.create(to=recipient, from_="+15558675300", body="hello")
    assert refused.value.code == 21606


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("+15005550002", 21612),
        ("+15005550003", 21408),
        ("+15005550004", 21610),
        ("+15005550009", 21614),
    ],
)
def test_a_service_fails_the_message_later(twilio: Client, to: str, code: int) -> None:
    """With a Messaging Service the same code comes as a failed message, not as a refusal."""
    message = twilio.messages.create(to=to, messaging_service_sid=SERVICE, body="hello")

    assert status_of(message) == "accepted"
    assert code == until(message, "failed").error_code


def test_refused_create_is_listed_as_failed(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """A create that got 400 is in the list as a failed message, and in the ledger as refused."""
    with pytest.raises(TwilioRestException):
        twilio.messages.create(to=recipient, from_=SENDER, body="a" * 1601)

    [row] = twilio.messages.list(to=recipient)
    assert (status_of(row), row.error_code) == ("failed", 21617)
    ledger = control.ledger(to=recipient)
    assert ledger["accepted"] == []
    assert [("invalid", 21617, row.sid)] == [
        (one["reason"], one["code"], one["sid"]) for one in ledger["refused"]
    ]


def test_a_whatsapp_user_id_is_a_recipient(twilio: Client) -> None:
    """It is all that there is of a person who hides the number."""
    message = twilio.messages.create(
        to="whatsapp:US.13491208655302741918", from_=f"whatsapp:{SENDER}", body="hello"
    )

    assert until(message, "delivered").to == "whatsapp:US.13491208655302741918"


def test_a_scheduled_message_is_sent_at_its_time(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """SendAt is respected; the time scale shortens five minutes."""
    control.settings(time_scale=3000)
    message = twilio.messages.create(
        to=recipient,
        messaging_service_sid=SERVICE,
        body="later",
        schedule_type="fixed",
        send_at=datetime.now(UTC) + timedelta(minutes=10),
    )

    assert status_of(message) == "scheduled"
    assert until(message, "delivered").date_sent
