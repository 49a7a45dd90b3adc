import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from activities.send import TwilioSends, create_parameters
from tests.activities.edge import ACCOUNT, BODY, RECIPIENT, SENDER, TOKEN, Asked, Edge
from tests.activities.sending import attempt, message, send_request

SERVICE = "MG" + "0" * 32
CALLBACK = "https://hooks.example/webhook/status?message_id=parcel-7#rc=5&rp=all"


def _posted(sends: TwilioSends, edge: Edge, **fields: object) -> Asked:
    attempt(sends, send_request(**fields))
    (asked,) = edge.asked
    return asked


def test_the_request_itself(sends: TwilioSends, edge: Edge) -> None:
    """One form-encoded POST to the account's messages, with basic authentication."""
    asked = _posted(sends, edge)

    assert f"POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1" == asked.line
    assert "application/x-www-form-urlencoded" == asked.headers["content-type"]
    credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    assert f"Basic {credentials}" == asked.headers["authorization"]


def test_plain_text(sends: TwilioSends, edge: Edge) -> None:
    """A text is To, From, Body and the callback, and nothing else."""
    asked = _posted(sends, edge)

    expected = {"To": RECIPIENT, "From": SENDER, "Body": BODY, "StatusCallback": CALLBACK}
    assert expected == dict(asked.form)
    assert len(expected) == len(asked.form)
    callback = "https%3A%2F%2Fhooks.example%2Fwebhook%2Fstatus%3Fmessage_id%3Dparcel-7%23rc%3D5"
    assert f"StatusCallback={callback}%26rp%3Dall" in asked.body.split("&")
    assert f"To={quote(RECIPIENT)}" in asked.body.split("&")


def test_messaging_service(sends: TwilioSends, edge: Edge) -> None:
    """A Messaging Service is not a From."""
    form = dict(_posted(sends, edge, sender=SERVICE).form)

    assert SERVICE == form["MessagingServiceSid"]
    assert "From" not in form


def test_the_sender_is_the_admitted_one(sends: TwilioSends, edge: Edge) -> None:
    """The sender that admission chose counts, not the field of the message."""
    form = dict(_posted(sends, edge, sender="12345").form)

    assert "12345" == form["From"]


def test_media(sends: TwilioSends, edge: Edge) -> None:
    """Each media URL is a field of its own, in order; without a text there is no Body."""
    urls = ("https://m.example/1.png?a=b&c=d", "https://m.example/2.png")

    asked = _posted(sends, edge, message=message(body=None, media_urls=urls))

    assert list(urls) == [value for name, value in asked.form if name == "MediaUrl"]
    assert "Body" not in dict(asked.form)


def test_content(sends: TwilioSends, edge: Edge) -> None:
    """A content template goes with its variables as a JSON object."""
    sid = "HX" + "1" * 32
    variables = {"1": 'Zoë "quoted"', "name": "ключ"}

    asked = _posted(
        sends,
        edge,
        message=message(body=None, content_sid=sid, content_variables=variables),
    )

    form = dict(asked.form)
    assert (sid, variables) == (form["ContentSid"], json.loads(form["ContentVariables"]))
    assert "Body" not in form


@pytest.mark.parametrize("text", ["\N{GRINNING FACE} ключ\n&=+%", " x "])
def test_any_text_survives_the_wire(sends: TwilioSends, edge: Edge, text: str) -> None:
    """The text arrives as it was handed in."""
    assert text == dict(_posted(sends, edge, message=message(body=text)).form)["Body"]


@pytest.mark.parametrize(
    ("left", "least", "most"),
    [
        (timedelta(seconds=0.5), 1, 1),
        (timedelta(seconds=60), 58, 60),
        (timedelta(hours=9), 32_398, 32_400),
        (timedelta(hours=10), 35_998, 36_000),
        (timedelta(days=30), 36_000, 36_000),
    ],
)
def test_validity_period(
    sends: TwilioSends, edge: Edge, left: timedelta, least: int, most: int
) -> None:
    """What is left of `expires_at` in whole seconds, from 1 up to Twilio's limit."""
    expiring = message(expires_at=datetime.now(UTC) + left)

    validity = int(dict(_posted(sends, edge, message=expiring).form)["ValidityPeriod"])

    assert least <= validity <= most


@pytest.mark.parametrize(
    "message_id", ["a&b=c#d?e/f", "100%25", "a+b", "".join(map(chr, range(33, 127)))]
)
def test_message_id_in_the_callback(message_id: str) -> None:
    """Any message id is read back from the callback's URL, and ends before the overrides."""
    url = create_parameters(
        send_request(message_id=message_id), status_url="https://hooks.example/webhook/status"
    )["status_callback"]

    parts = urlsplit(url)
    assert {"message_id": [message_id]} == parse_qs(parts.query, strict_parsing=True)
    assert "rc=5&rp=all" == parts.fragment
    assert url.isascii()
