import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from activities.post import create_parameters
from activities.send import TwilioSends
from tests.activities.fake_twilio import (
    ACCOUNT,
    BODY,
    RECIPIENT,
    SENDER,
    TOKEN,
    FakeTwilio,
    ReceivedRequest,
)
from tests.activities.sending import attempt, message, send_request

SERVICE = "MG" + "0" * 32
CALLBACK = "https://hooks.example/webhook/status?message_id=parcel-7#rc=5&rp=all&rt=5000"


def _post(sends: TwilioSends, fake_twilio: FakeTwilio, **fields: object) -> ReceivedRequest:
    attempt(sends, send_request(**fields))
    (request,) = fake_twilio.requests
    return request


def test_a_send_is_one_post(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """It is form-encoded, goes to the account's messages and uses basic authentication."""
    request = _post(sends, fake_twilio)

    assert f"POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1" == request.line
    assert "application/x-www-form-urlencoded" == request.headers["content-type"]
    credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    assert f"Basic {credentials}" == request.headers["authorization"]


def test_the_fields_of_a_text_message(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """They are To, From, Body and StatusCallback, and nothing else."""
    request = _post(sends, fake_twilio)

    expected = {"To": RECIPIENT, "From": SENDER, "Body": BODY, "StatusCallback": CALLBACK}
    assert expected == dict(request.form)
    assert len(expected) == len(request.form)
    callback = "https%3A%2F%2Fhooks.example%2Fwebhook%2Fstatus%3Fmessage_id%3Dparcel-7%23rc%3D5"
    assert f"StatusCallback={callback}%26rp%3Dall%26rt%3D5000" in request.body.split("&")
    assert f"To={quote(RECIPIENT)}" in request.body.split("&")


def test_a_messaging_service_is_not_sent_as_from(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """It has a field of its own."""
    form = dict(_post(sends, fake_twilio, sender=SERVICE).form)

    assert SERVICE == form["MessagingServiceSid"]
    assert "From" not in form


def test_the_sender_is_the_one_of_earlier_attempts(
    sends: TwilioSends, fake_twilio: FakeTwilio
) -> None:
    """It may differ from the request's `from`."""
    form = dict(_post(sends, fake_twilio, sender="12345").form)

    assert "12345" == form["From"]


def test_the_fields_of_a_media_message(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """Each media URL is a field of its own, in order; without a text there is no Body."""
    urls = ("https://m.example/1.png?a=b&c=d", "https://m.example/2.png")

    request = _post(sends, fake_twilio, message=message(body=None, media_urls=urls))

    assert list(urls) == [value for name, value in request.form if name == "MediaUrl"]
    assert "Body" not in dict(request.form)


def test_the_fields_of_a_content_template(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """The template's variables are a JSON object; there is no Body."""
    sid = "HX" + "1" * 32
    variables = {"1": 'Zoë "quoted"', "name": "ключ"}

    request = _post(
        sends,
        fake_twilio,
        message=message(body=None, content_sid=sid, content_variables=variables),
    )

    form = dict(request.form)
    assert (sid, variables) == (form["ContentSid"], json.loads(form["ContentVariables"]))
    assert "Body" not in form


@pytest.mark.parametrize("text", ["\N{GRINNING FACE} ключ\n&=+%", " x "])
def test_any_text_arrives_unchanged(sends: TwilioSends, fake_twilio: FakeTwilio, text: str) -> None:
    """Emoji, other scripts, line breaks, form delimiters and surrounding spaces are encoded."""
    assert text == dict(_post(sends, fake_twilio, message=message(body=text)).form)["Body"]


@pytest.mark.parametrize(
    ("left", "minimum", "maximum"),
    [
        (timedelta(seconds=0.5), 1, 1),
        (timedelta(seconds=60), 58, 60),
        (timedelta(hours=9), 32_398, 32_400),
        (timedelta(hours=10), 35_998, 36_000),
        (timedelta(days=30), 36_000, 36_000),
    ],
)
def test_the_validity_period_is_the_time_until_expiry(
    sends: TwilioSends, fake_twilio: FakeTwilio, left: timedelta, minimum: int, maximum: int
) -> None:
    """It is in whole seconds, from 1 to Twilio's limit of 36,000."""
    expiring = message(expires_at=datetime.now(UTC) + left)

    validity = int(dict(_post(sends, fake_twilio, message=expiring).form)["ValidityPeriod"])

    assert minimum <= validity <= maximum


@pytest.mark.parametrize(
    "message_id", ["a&b=c#d?e/f", "100%25", "a+b", "".join(map(chr, range(33, 127)))]
)
def test_the_callback_url_contains_the_message_id(message_id: str) -> None:
    """Any message id can be parsed from the URL and does not run into the connection overrides."""
    url = create_parameters(
        send_request(message_id=message_id),
        sender=SENDER,
        status_url="https://hooks.example/webhook/status",
    )["status_callback"]

    parts = urlsplit(url)
    assert {"message_id": [message_id]} == parse_qs(parts.query, strict_parsing=True)
    assert "rc=5&rp=all&rt=5000" == parts.fragment
    assert url.isascii()
