"""Inbound messages and opt-outs: what Twilio does by itself, and what the webhook gets."""

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID
from devtools.sandbox.client import SandboxControl
from devtools.sandbox.inbound import keyword_in
from tests.devtools.sandbox.support import SENDER, SERVICE, Receiver, until
from tests.devtools.sandbox.test_callbacks import is_signed

EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


def test_stop_blocks_the_pair_until_start(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """After STOP, that sender gets 21610 for that person, and others do not; START ends it."""
    stopped = control.inbound(recipient, SENDER, " stop\n")
    assert "STOP" == stopped["keyword"]
    assert "unsubscribed" in (stopped["auto_reply"] or "")

    with pytest.raises(TwilioRestException) as refused:
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")
    assert (400, 21610) == (refused.value.status, refused.value.code)
    assert twilio.messages.create(to=recipient, from_="+15005550010", body="hello").sid
    assert "START" == control.inbound(recipient, SENDER, "START")["keyword"]
    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid


def test_media_reach_the_webhook_and_are_listed(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """Each has a URL and a type; the list has the same, by the message's SID."""
    receiver.body = EMPTY_TWIML
    control.settings(inbound_url=receiver.url)
    sid = control.inbound(recipient, SENDER, "", media=["image/jpeg", "image/png"])["sid"]

    [request] = receiver.requests
    listed = twilio.messages(sid).media.list()
    assert sid.startswith("MM")
    assert ("2", "2") == (request.form["NumMedia"], twilio.messages(sid).fetch().num_media)
    assert ["image/jpeg", "image/png"] == [each.content_type for each in listed]
    for number, each in enumerate(listed):
        assert each.content_type == request.form[f"MediaContentType{number}"]
        path = (each.uri or "").removesuffix(".json")
        assert f"{twilio.api.base_url}{path}" == request.form[f"MediaUrl{number}"]


def test_stop_blocks_the_whole_service(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """STOP to a Messaging Service makes its messages fail later with 21610."""
    control.inbound(recipient, SENDER, "STOP", messaging_service_sid=SERVICE)
    message = twilio.messages.create(to=recipient, messaging_service_sid=SERVICE, body="hello")

    assert "accepted" == str(message.status)
    assert 21610 == until(message, "failed").error_code


def test_stop_is_answered_by_twilio_and_reaches_the_webhook(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """Twilio answers STOP itself, and calls the webhook, signed, as well."""
    receiver.body = EMPTY_TWIML
    control.settings(inbound_url=receiver.url)
    result = control.inbound(
        recipient, SENDER, "STOP", messaging_service_sid=SERVICE, opt_out_type="STOP"
    )

    assert (200, EMPTY_TWIML.decode(), []) == (
        result["http_status"],
        result["body"],
        result["replies"],
    )
    [request] = receiver.requests
    assert is_signed(request, receiver)
    assert {
        "AccountSid": DEFAULT_ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "Body": "STOP",
        "From": recipient,
        "FromCity": "",
        "MessageSid": result["sid"],
        "MessagingServiceSid": SERVICE,
        "NumMedia": "0",
        "NumSegments": "1",
        "OptOutType": "STOP",
        "SmsMessageSid": result["sid"],
        "SmsSid": result["sid"],
        "SmsStatus": "received",
        "To": SENDER,
    }.items() <= request.form.items()
    replies = [str(one.direction) for one in twilio.messages.list(to=recipient)]
    assert ["outbound-reply"] == replies
    assert ["inbound"] == [str(one.direction) for one in twilio.messages.list(from_=recipient)]


@pytest.mark.parametrize(
    ("content_type", "body", "replies"),
    [
        ("text/xml", EMPTY_TWIML, []),
        ("text/xml; charset=utf-8", b"<Response><Message>Hi</Message></Response>", ["Hi"]),
        ("application/xml", b"<Response><Message><Body>Ho</Body></Message></Response>", ["Ho"]),
        ("text/plain", b"OK", ["OK"]),
        ("text/xml", b"not xml", []),
    ],
)
def test_the_webhooks_answer_is_sent_to_the_person(
    control: SandboxControl,
    receiver: Receiver,
    recipient: str,
    *,
    content_type: str,
    body: bytes,
    replies: list[str],
) -> None:
    """TwiML messages and any plain text go to the person; empty TwiML does not."""
    receiver.content_type, receiver.body = content_type, body
    control.settings(inbound_url=receiver.url)

    assert replies == control.inbound(recipient, SENDER, "hello")["replies"]


def test_inbound_without_a_webhook(control: SandboxControl, recipient: str) -> None:
    """With no inbound URL set there is no answer to report."""
    result = control.inbound(recipient, SENDER, "hello")

    assert (None, None, None) == (result["http_status"], result["keyword"], result["error"])


@pytest.mark.parametrize(
    ("body", "sender", "keyword"),
    [
        ("STOP", SENDER, "STOP"),
        ("optout", SENDER, "STOP"),
        ("Yes", SENDER, "START"),
        ("INFO", SENDER, "HELP"),
        ("stop please", SENDER, None),
        ("STOP", "72345", None),
        ("YES", "+18005550100", None),
        ("UNSTOP", "+18005550100", "START"),
    ],
)
def test_keywords(body: str, sender: str, keyword: str | None) -> None:
    """A keyword is the whole text; short codes handle their own, toll-free numbers ignore YES."""
    assert keyword == keyword_in(body, sender=sender, service=None)


def test_opt_outs_can_be_cleared(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """Every opt-out is removed."""
    control.inbound(recipient, SENDER, "STOP")
    control.clear_opt_outs()

    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid
