"""Status callbacks on a real receiver: which ones, signed how, and how often tried."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.callbacks import Outbox
from devtools.sandbox.client import SandboxControl
from devtools.sandbox.faults import CallbackScript
from devtools.sandbox.webhooks import OneShotTransport
from tests.devtools.sandbox.support import SENDER, SERVICE, Received, Receiver, eventually, until


def is_signed(received: Received, receiver: Receiver) -> bool:
    """Whether the SDK's validator accepts the signature of what was received."""
    origin = urlsplit(receiver.url)
    validator = RequestValidator(DEFAULT_AUTH_TOKEN)  # type: ignore[no-untyped-call]
    url = f"http://{origin.netloc}{received.target}"
    signature = received.headers["x-twilio-signature"]
    return bool(validator.validate(url, received.form, signature))  # type: ignore[no-untyped-call]


def test_callbacks_of_a_number(twilio: Client, receiver: Receiver, recipient: str) -> None:
    """A number posts sent and delivered, and nothing for the initial status."""
    message = twilio.messages.create(
        to=recipient,
        from_=SENDER,
        body="hello",
        status_callback=receiver.url + "?message_id=a%20b&empty=#rc=5&rp=all",
    )
    sent, delivered = receiver.wait_for(2)

    expected = {
        "AccountSid": DEFAULT_ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "From": SENDER,
        "To": recipient,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": "sent",
        "SmsStatus": "sent",
    }
    assert expected == sent.form
    date = delivered.form.pop("RawDlrDoneDate")
    assert re.fullmatch(r"\d{10}", date)
    assert {**expected, "MessageStatus": "delivered", "SmsStatus": "delivered"} == delivered.form
    assert sent.target == "/status?message_id=a%20b&empty="
    assert "application/x-www-form-urlencoded; charset=utf-8" == sent.headers["content-type"]


def test_callbacks_are_signed(twilio: Client, receiver: Receiver, recipient: str) -> None:
    """The SDK's validator accepts the signature, over the URL without its fragment."""
    twilio.messages.create(
        to=recipient,
        from_=SENDER,
        body="hello",
        status_callback=receiver.url + "?message_id=x#rc=2",
    )
    sent, _ = receiver.wait_for(2)

    assert is_signed(sent, receiver)
    sent.form["MessageStatus"] = "delivered"
    assert not is_signed(sent, receiver)


def test_callbacks_of_a_service(twilio: Client, receiver: Receiver, recipient: str) -> None:
    """A Messaging Service posts queued, too, and its callbacks have its SID."""
    twilio.messages.create(
        to=recipient, messaging_service_sid=SERVICE, body="hello", status_callback=receiver.url
    )
    requests = receiver.wait_for(3)

    assert ["queued", "sent", "delivered"] == receiver.statuses()
    assert {(SENDER, SERVICE)} == {
        (one.form["From"], one.form["MessagingServiceSid"]) for one in requests
    }


def test_late_refusal_is_called_back(twilio: Client, receiver: Receiver) -> None:
    """An error that a service finds late is a failed callback with its code."""
    twilio.messages.create(
        to="+15005550002",
        messaging_service_sid=SERVICE,
        body="hello",
        status_callback=receiver.url,
    )
    [failed] = receiver.wait_for(1)

    assert ("failed", "21612") == (failed.form["MessageStatus"], failed.form["ErrorCode"])


def test_cancel_is_called_back(twilio: Client, receiver: Receiver, recipient: str) -> None:
    """Canceling a scheduled message posts canceled and nothing else."""
    message = twilio.messages.create(
        to=recipient,
        messaging_service_sid=SERVICE,
        body="later",
        schedule_type="fixed",
        send_at=datetime.now(UTC) + timedelta(hours=1),
        status_callback=receiver.url,
    )
    message.update(status="canceled")

    receiver.wait_for(1)
    assert ["canceled"] == receiver.statuses()


def test_a_message_expires_in_a_held_queue(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """A message that waits longer than its ValidityPeriod fails with 30036."""
    control.settings(hold=True, time_scale=20)
    message = twilio.messages.create(
        to=recipient,
        from_=SENDER,
        body="hello",
        validity_period=2,
        status_callback=receiver.url,
    )
    [failed] = receiver.wait_for(1)

    assert ("failed", "30036") == (failed.form["MessageStatus"], failed.form["ErrorCode"])
    assert 30036 == until(message, "failed").error_code


def test_a_held_queue_continues(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """Messages held back leave as soon as the hold ends."""
    control.settings(hold=True, sent_after=0)
    message = twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )
    assert "queued" == str(message.fetch().status)
    control.settings(hold=False)

    receiver.wait_for(2)
    assert ["sent", "delivered"] == receiver.statuses()


def test_test_credentials_never_call_back(
    twilio: Client, test_credentials: Client, receiver: Receiver, recipient: str
) -> None:
    """Only the ordinary account posts callbacks."""
    silent = test_credentials.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )
    loud = twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )
    requests = receiver.wait_for(2)

    assert {loud.sid} == {one.form["MessageSid"] for one in requests}
    assert "queued" == str(silent.fetch().status)


@pytest.mark.parametrize(
    ("fragment", "answers", "tries"),
    [
        ("", [500], 1),
        ("#rc=3", [500], 1),
        ("#rc=1&rp=5xx", [500, 503, 200], 2),
        ("#rc=5&rp=all", [500, 404, 200], 3),
        ("#rc=5&rp=4xx", [404, 500, 200], 2),
        ("#rc=9&rp=5xx", [500, 500, 200], 2),  # out of range: Twilio's default of one retry
    ],
)
def test_retries_follow_the_overrides(
    twilio: Client,
    control: SandboxControl,
    receiver: Receiver,
    recipient: str,
    *,
    fragment: str,
    answers: list[int],
    tries: int,
) -> None:
    """The fragment of the URL determines what is retried, and how often."""
    receiver.answers = list(answers)
    control.script(recipient, [{"callbacks": {"statuses": ["delivered"]}}])
    twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url + fragment
    )
    receiver.wait_for(tries)
    eventually(lambda: not control.summary()["unfinished"])
    rows = eventually(
        lambda: rows if len(rows := control.ledger(to=recipient)["callbacks"]) >= tries else None
    )

    expected = list(enumerate(answers[:tries], start=1))
    assert expected == [(row["attempt"], row["http_status"]) for row in rows]
    tokens = {one.headers["i-twilio-idempotency-token"] for one in receiver.requests}
    assert 1 == len(tokens)


def test_refused_connection_is_tried_twice(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """By default Twilio retries once, and only if it could not connect."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        control.script(recipient, [{"callbacks": {"statuses": ["delivered"]}}])
        twilio.messages.create(
            to=recipient,
            from_=SENDER,
            body="hello",
            status_callback=f"http://127.0.0.1:{port}/status",
        )
        rows = eventually(
            lambda: rows if len(rows := control.ledger(to=recipient)["callbacks"]) == 2 else None
        )

    assert [(1, "ct"), (2, "ct")] == [(row["attempt"], row["error"]) for row in rows]


def test_a_slow_receiver_causes_a_read_timeout(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """A receiver slower than rt is recorded as such and, by default, not retried."""
    receiver.delay = 0.5
    control.script(recipient, [{"callbacks": {"statuses": ["delivered"]}}])
    twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url + "#rt=100"
    )
    [row] = eventually(lambda: control.ledger(to=recipient)["callbacks"])

    assert ("rt", None) == (row["error"], row["http_status"])


@pytest.mark.parametrize(
    ("callbacks", "statuses"),
    [
        ({"statuses": ["delivered", "sent"]}, ["delivered", "sent"]),
        ({"statuses": ["sent", "failed"]}, ["sent", "failed"]),
        ({"reorder": True}, ["delivered", "sent"]),
        ({"double": 2}, ["sent", "sent", "delivered", "delivered"]),
        ({"lost": ["sent"]}, ["delivered"]),
        ({"delay": 0.2}, ["sent", "delivered"]),
    ],
)
def test_callbacks_follow_their_script(
    twilio: Client,
    control: SandboxControl,
    receiver: Receiver,
    recipient: str,
    *,
    callbacks: dict[str, Any],
    statuses: list[str],
) -> None:
    """A script determines which callbacks are posted, how often and in which order."""
    control.script(recipient, [{"callbacks": callbacks}])
    message = twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )
    receiver.wait_for(len(statuses))
    until(message, "delivered")

    assert statuses == receiver.statuses()


def test_a_message_whose_callbacks_are_lost_can_be_fetched(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """If all callbacks are lost, the fetched message still has its final status."""
    control.script(
        recipient,
        [{"callbacks": {"lost": True}, "final": "undelivered", "error_code": 30005}],
    )
    message = twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )

    assert 30005 == until(message, "undelivered").error_code
    twilio.messages.create(to=recipient, from_=SENDER, body="2", status_callback=receiver.url)
    receiver.wait_for(2)
    assert message.sid not in {one.form["MessageSid"] for one in receiver.requests}


def test_callbacks_before_the_response(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """On request, all callbacks are posted before the create returns."""
    control.script(recipient, [{"callbacks": {"before_response": True}}])
    message = twilio.messages.create(
        to=recipient, from_=SENDER, body="hello", status_callback=receiver.url
    )

    assert ["sent", "delivered"] == receiver.statuses()
    assert "queued" == str(message.status)


def test_final_sent_stays_sent(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """A message whose last status is sent gets one callback and is finished."""
    control.script(recipient, [{"final": "sent"}])
    twilio.messages.create(to=recipient, from_=SENDER, body="hello", status_callback=receiver.url)
    receiver.wait_for(1)

    [row] = control.ledger(to=recipient)["accepted"]
    assert ("sent", True) == (row["status"], row["finished"])
    assert ["sent"] == receiver.statuses()


def test_channel_message_is_read(
    twilio: Client, control: SandboxControl, receiver: Receiver, recipient: str
) -> None:
    """A channel message can end as read, with the channel's own parameters."""
    to = f"whatsapp:{recipient}"
    control.script(to, [{"final": "read"}])
    twilio.messages.create(
        to=to, from_=f"whatsapp:{SENDER}", body="hello", status_callback=receiver.url
    )
    *_, read = receiver.wait_for(3)

    assert ["sent", "delivered", "read"] == receiver.statuses()
    assert ("READ", "whatsapp") == (read.form["EventType"], read.form["ChannelPrefix"])


def test_scripted_statuses_wait_until_each_is_reached() -> None:
    """Scripted statuses are not posted before they are reached; the rest are posted at the end."""
    outbox = Outbox(CallbackScript(statuses=("delivered", "sent", "failed")))

    assert [] == outbox.reached("sent", last=False)
    assert ["delivered", "sent", "failed"] == outbox.reached("delivered", last=True)


@asynccontextmanager
async def answering(
    answer: bytes, *, then_wait: bool = False, expect: bytes = b"a=b"
) -> AsyncIterator[str]:
    """Run a server that reads up to `expect`, answers, and closes or waits for the client."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(expect)
        writer.write(answer)
        if then_wait:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/status"
        await ended.wait()


async def post(url: str, *, read: float = 5) -> httpx.Response:
    """Post a small form to `url`."""
    timeout = httpx.Timeout(read, connect=5)
    async with httpx.AsyncClient(transport=OneShotTransport(), timeout=timeout) as client:
        return await client.post(url, content=b"a=b")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_answer_is_read_whole(answer: bytes) -> None:
    """Status and body are read with every framing of an answer."""
    async with answering(answer) as url:
        response = await post(url)

    assert (response.status_code, response.text) == (200, "ok")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Len", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"],
)
async def test_broken_answer_is_a_protocol_error(answer: bytes) -> None:
    """A connection closed before the end of the answer is not a refused connection."""
    async with answering(answer) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(url)


async def test_silence_is_a_read_timeout() -> None:
    """A server that accepts the request and does not answer causes a read timeout."""
    async with answering(b"", then_wait=True) as url:
        with pytest.raises(httpx.ReadTimeout):
            await post(url, read=0.1)


async def test_no_tls_is_a_connect_error() -> None:
    """A server that does not speak TLS counts as not connected."""
    async with answering(b"", expect=b"\x16") as url:
        with pytest.raises(httpx.ConnectError):
            await post(url.replace("http:", "https:"))
