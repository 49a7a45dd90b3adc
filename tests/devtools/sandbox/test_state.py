"""The ledger, as the control client shows it."""

from hashlib import sha256

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import SENDER, Receiver, eventually, until


def test_ledger_has_every_create(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """Each accepted create has its own row, with the original text."""
    message = twilio.messages.create(
        to=recipient,
        from_=SENDER,
        body="hello",
        status_callback="http://127.0.0.1:9/s?message_id=x",
    )
    until(message, "delivered")
    [row] = control.ledger(to=recipient)["accepted"]

    assert row["sid"] == message.sid
    assert (row["from"], row["to"]) == (SENDER, recipient)
    assert (row["status"], row["error_code"], row["finished"]) == ("delivered", None, True)
    assert row["body_sha256"] == sha256(b"hello").hexdigest()
    assert row["status_callback"] == "http://127.0.0.1:9/s?message_id=x"
    assert row["created"] <= (row["sent"] or 0)


def test_the_ledger_can_be_filtered(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """`to` and `since` limit the rows."""
    first = twilio.messages.create(to=recipient, from_=SENDER, body="1")
    twilio.messages.create(to="+15558679999", from_=SENDER, body="2")
    with pytest.raises(TwilioRestException):
        twilio.messages.create(to=recipient, from_=SENDER, body="")

    narrowed = control.ledger(to=recipient)
    assert [row["sid"] for row in narrowed["accepted"]] == [first.sid]
    assert [row["reason"] for row in narrowed["refused"]] == ["invalid"]
    assert len(control.ledger()["accepted"]) == 2
    after = narrowed["refused"][0]["at"] + 1
    assert control.ledger(since=after) == {"accepted": [], "refused": [], "callbacks": []}


def test_summary_counts(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """The summary counts by status, by reason and by what the receiver answered."""
    receiver.answers = [200, 500]
    twilio.messages.create(to=recipient, from_=SENDER, body="1", status_callback=receiver.url)
    with pytest.raises(TwilioRestException):
        twilio.messages.create(to=recipient, from_=SENDER, body="")
    receiver.wait_for(2)
    summary = eventually(lambda: found if not (found := control.summary())["pending"] else None)

    assert summary == {
        "accepted": 1,
        "refused": 1,
        "callbacks": 2,
        "unfinished": 0,
        "pending": 0,
        "by_status": {"delivered": 1},
        "by_reason": {"invalid": 1},
        "by_answer": {"200": 1, "500": 1},
    }


def test_clearing_keeps_the_messages(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """A cleared ledger is empty; its messages can still be fetched."""
    message = twilio.messages.create(to=recipient, from_=SENDER, body="1")
    control.clear_ledger()

    assert control.summary()["accepted"] == 0
    assert until(message, "delivered").sid == message.sid


def test_health(control: SandboxControl, sandbox_url: str) -> None:
    """A running sandbox is healthy; without one, the client reports that it is not."""
    assert control.health()
    assert httpx.get(f"{sandbox_url}/_sandbox/health").json() == {"status": "ok"}
    with SandboxControl("http://127.0.0.1:1") as unreachable:
        assert not unreachable.health()
