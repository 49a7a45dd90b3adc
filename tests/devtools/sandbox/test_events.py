"""Event Streams on a real receiver: which events, signed how, and how often tried."""

import json
from typing import Any

import pytest
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import SENDER, SERVICE, Received, Receiver, eventually


@pytest.fixture
def sink(control: SandboxControl, receiver: Receiver) -> Receiver:
    """A receiver that is the sandbox's sink."""
    control.settings(events_url=receiver.url)
    return receiver


def _wait(control: SandboxControl, **expected: int) -> None:
    def look() -> bool:
        seen = control.events()
        return all(seen.get(name, 0) == number for name, number in expected.items())

    eventually(look)


def _events(received: Received) -> list[dict[str, Any]]:
    batch: list[dict[str, Any]] = json.loads(received.body)
    return batch


def test_a_message_has_an_event_for_each_status(
    twilio: Client, control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """Sent and delivered, in Twilio's fields and spelling, also if its callbacks are lost."""
    control.script(recipient, [{"callbacks": {"lost": True}}])
    control.settings(events_collected_for=0.5)
    message = twilio.messages.create(
        to=recipient,
        from_=SENDER,
        body="hello",
        status_callback="http://127.0.0.1:1/x?message_id=7",
    )
    _wait(control, pending=0, delivered=2)

    [received] = sink.requests
    sent, delivered = _events(received)
    assert {
        "specversion": "1.0",
        "type": "com.twilio.messaging.message.sent",
        "source": f"/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}",
        "dataschema": "https://events-schemas.twilio.com/Messaging.MessageStatus/8",
        "datacontenttype": "application/json",
        "time": sent["data"]["timestamp"],
    }.items() <= sent.items()
    assert sent["id"] != delivered["id"]
    assert {
        "messageSid": message.sid,
        "accountSid": DEFAULT_ACCOUNT_SID,
        "eventName": "com.twilio.messaging.message.delivered",
        "apiVersion": "2010-04-01",
        "from": SENDER,
        "to": recipient,
        "messageStatus": "DELIVERED",
        "statusCallBackUrl": "http://127.0.0.1:1/x?message_id=7",
        "numberOfSegments": 1,
        "tags": {},
    }.items() <= delivered["data"].items()


def test_the_sdk_accepts_the_signature(
    control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """It covers the URL, which holds the hash of the body."""
    control.inbound(recipient, SENDER, "hello")
    [received] = sink.wait_for(1)

    validator = RequestValidator(DEFAULT_AUTH_TOKEN)  # type: ignore[no-untyped-call]
    url = sink.url.removesuffix("/status") + received.target
    signature = received.headers["x-twilio-signature"]
    assert validator.validate(url, received.body.decode(), signature)  # type: ignore[no-untyped-call]
    assert not validator.validate(url, received.body.decode() + " ", signature)  # type: ignore[no-untyped-call]
    assert "application/json" == received.headers["content-type"]


def test_an_inbound_message_has_an_event(
    control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """Also without an inbound URL."""
    result = control.inbound(
        recipient, SENDER, "STOP", messaging_service_sid=SERVICE, opt_out_type="STOP"
    )
    [received] = sink.wait_for(1)

    [event] = _events(received)
    assert "com.twilio.messaging.inbound-message.received" == event["type"]
    assert {
        "messageSid": result["sid"],
        "from": recipient,
        "to": SENDER,
        "body": "STOP",
        "messagingServiceSid": SERVICE,
        "optOutType": "STOP",
        "numMedia": 0,
        "recipients": [],
    }.items() <= event["data"].items()


def test_a_reassigned_number_has_an_event_and_is_blocked(
    twilio: Client, control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """As Twilio's Compliance Toolkit does it."""
    control.reassigned(recipient, sender=SENDER)
    [received] = sink.wait_for(1)

    [event] = _events(received)
    assert "com.twilio.messaging.reassigned-number.detected" == event["type"]
    assert (SENDER, recipient, True) == (
        event["data"]["from_number"],
        event["data"]["to_number"],
        event["data"]["is_reassigned"],
    )
    with pytest.raises(Exception, match="unsubscribed"):
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")


def test_a_batch_is_sent_again_after_a_5xx_only(
    control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """A 4xx drops it; the same events come again, with the same ids."""
    sink.answers = [503, 500, 200, 403]
    control.inbound(recipient, SENDER, "one")
    _wait(control, pending=0, delivered=1)
    control.inbound(recipient, SENDER, "two")
    _wait(control, pending=0, delivered=1, dropped=1)

    assert 4 == len(sink.requests)
    assert 1 == len({received.body for received in sink.requests[:3]})
    assert {"503": 1, "500": 1, "200": 1, "403": 1}.items() <= control.events().items()


def test_a_batch_is_sent_again_when_nothing_answers(
    control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """It is delivered once the sink is back; `reset` forgets it."""
    control.settings(events_url="http://127.0.0.1:1/x")
    control.inbound(recipient, SENDER, "one")
    eventually(lambda: control.events().get("ct", 0) > 1)
    assert 1 == control.events()["pending"]

    control.reset()

    assert {"pending": 0} == control.events()
    assert [] == receiver.requests


def test_events_are_repeated_and_reordered_on_request(
    control: SandboxControl, sink: Receiver, recipient: str
) -> None:
    """The copies of a batch follow each other, the newest event first."""
    control.settings(events_collected_for=0.5, events_copies=2, events_newest_first=True)
    for body in ("one", "two"):
        control.inbound(recipient, SENDER, body)
    _wait(control, pending=0, delivered=2)

    bodies = [[event["data"]["body"] for event in _events(received)] for received in sink.requests]
    assert [["two", "one"]] * 2 == bodies


def test_without_a_sink_there_are_no_events(control: SandboxControl, recipient: str) -> None:
    """That is the default."""
    control.inbound(recipient, SENDER, "hello")

    assert {"pending": 0} == control.events()
