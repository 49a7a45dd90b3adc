"""The Messages resource, seen through the official SDK."""

import re
import socket
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import SENDER, SERVICE, status_of, twilio_client, until

RFC_2822 = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} \+0000")


def test_create_returns_twilios_resource(sandbox_url: str, recipient: str) -> None:
    """A create is answered 201 with every field of the resource, in Twilio's types."""
    answer = httpx.post(
        f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json",
        auth=(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN),
        data={"To": recipient, "From": SENDER, "Body": "a" * 161},
    )
    body = answer.json()

    assert answer.status_code == 201
    assert answer.headers["Twilio-Request-Id"].startswith("RQ")
    assert re.fullmatch(r"SM[0-9a-f]{32}", body["sid"])
    assert RFC_2822.fullmatch(body["date_created"])
    assert {
        "status": "queued",
        "num_segments": "2",
        "num_media": "0",
        "direction": "outbound-api",
        "date_sent": None,
        "error_code": None,
        "error_message": None,
        "price": None,
        "messaging_service_sid": None,
        "api_version": "2010-04-01",
        "uri": f"/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages/{body['sid']}.json",
    }.items() <= body.items()
    assert {"media", "feedback"} == set(body["subresource_uris"])


def test_a_create_arrives_with_its_head(
    sandbox_url: str, control: SandboxControl, recipient: str
) -> None:
    """The ledger has the time before the body came: its client may be frozen in between."""
    body = urlencode({"To": recipient, "From": SENDER, "Body": "hello"}).encode()
    credentials = b64encode(f"{DEFAULT_ACCOUNT_SID}:{DEFAULT_AUTH_TOKEN}".encode()).decode()
    head = (
        f"POST /2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json HTTP/1.1",
        "Host: localhost",
        f"Authorization: Basic {credentials}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",  # answered when the body is read
        "Connection: close",
    )
    url = urlsplit(sandbox_url)

    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as connection:
        connection.sendall("\r\n".join((*head, "\r\n")).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        between = time.time()
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")

    [row] = control.ledger(to=recipient)["accepted"]
    assert row["arrived"] <= between <= row["created"]


def test_message_is_sent_and_delivered(twilio: Client, recipient: str) -> None:
    """A message is delivered by itself, with its date and price."""
    created = twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    message = until(created, "delivered")
    assert isinstance(message.date_sent, datetime)
    assert message.price == "-0.00790"


def test_a_service_message_starts_as_accepted_without_sender(
    twilio: Client, recipient: str
) -> None:
    """With a Messaging Service the sender and the segments are known only later."""
    message = twilio.messages.create(to=recipient, messaging_service_sid=SERVICE, body="hello")

    assert (
        status_of(message),
        message.from_,
        message.num_segments,
        message.messaging_service_sid,
    ) == ("accepted", None, "0", SERVICE)
    final = until(message, "delivered")
    assert (final.from_, final.num_segments) == (SENDER, "1")


@pytest.mark.parametrize(
    "sender", ["+15005550006", "+4915112345678", "72345", "Signedfor", "MG" + "1b" * 16]
)
def test_any_valid_sender_is_accepted(twilio: Client, recipient: str, sender: str) -> None:
    """Numbers, short codes, names and a service in From all send."""
    assert twilio.messages.create(to=recipient, from_=sender, body="hello").sid


def test_channel_addresses_are_accepted(twilio: Client, recipient: str) -> None:
    """A channel address can send to addresses of the same channel."""
    message = twilio.messages.create(
        to=f"whatsapp:{recipient}", from_=f"whatsapp:{SENDER}", body="hello"
    )

    assert f"whatsapp:{recipient}" == message.to


def test_media_message_has_its_own_prefix(twilio: Client, recipient: str) -> None:
    """A message with media has an MM SID and its media count as a string."""
    message = twilio.messages.create(
        to=recipient, from_=SENDER, media_url=["https://example.com/a.png"] * 2
    )

    assert ((message.sid or "")[:2], message.num_media) == ("MM", "2")


def test_wrong_token_is_refused(sandbox_url: str, recipient: str) -> None:
    """Bad credentials get 401 with code 20003."""
    with pytest.raises(TwilioRestException) as refused:
        twilio_client(sandbox_url, auth_token="wrong").messages.create(
            to=recipient, from_=SENDER, body="hello"
        )

    assert (refused.value.status, refused.value.code) == (401, 20003)


def test_wrong_token_body_is_twilios(sandbox_url: str) -> None:
    """The 401 has the body that Twilio was observed to send."""
    answer = httpx.get(f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json")

    assert answer.json() == {
        "code": 20003,
        "detail": "Your AccountSid or AuthToken was incorrect.",
        "message": "Authenticate",
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }


def test_unknown_resources_are_not_found(twilio: Client, sandbox_url: str) -> None:
    """An unknown message, another account and an unknown path are 404 with code 20404."""
    with pytest.raises(TwilioRestException) as unknown:
        twilio.messages("SM" + "0" * 32).fetch()
    assert (unknown.value.status, unknown.value.code) == (404, 20404)

    auth = (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN)
    for path in (f"/2010-04-01/Accounts/AC{'9' * 32}/Messages.json", "/2010-04-01/Nothing.json"):
        answer = httpx.get(sandbox_url + path, auth=auth)
        assert (answer.status_code, answer.json()["code"]) == (404, 20404)
        assert f"The requested resource {path} was not found" == answer.json()["message"]


def test_list_filters_by_recipient_and_sender(twilio: Client, recipient: str) -> None:
    """To and From filter the list; the newest comes first."""
    first = twilio.messages.create(to=recipient, from_=SENDER, body="one").sid
    second = twilio.messages.create(to=recipient, from_="+15005550010", body="two").sid

    assert [second, first] == [one.sid for one in twilio.messages.list(to=recipient)]
    assert [first] == [one.sid for one in twilio.messages.list(to=recipient, from_=SENDER)]


def test_list_follows_pages(twilio: Client, recipient: str) -> None:
    """The SDK's list goes through all pages and returns every message once."""
    sids = [
        twilio.messages.create(to=recipient, from_=SENDER, body=str(number)).sid
        for number in range(7)
    ]

    listed = [one.sid for one in twilio.messages.list(to=recipient, page_size=3)]
    assert sids[::-1] == listed
    page = twilio.messages.page(to=recipient, page_size=3)
    second = page.next_page()
    assert second is not None
    back = second.previous_page()
    assert back is not None
    assert listed[:3] == [one.sid for one in back]


def test_pages_do_not_shift_when_messages_are_added_or_deleted(
    twilio: Client, recipient: str
) -> None:
    """A page token names a message, so new and deleted messages do not shift the pages."""
    sids = [
        twilio.messages.create(to=recipient, from_=SENDER, body=str(number)).sid or ""
        for number in range(4)
    ]
    until(twilio.messages(sids[2]).fetch(), "delivered")
    first = twilio.messages.page(to=recipient, page_size=2)
    twilio.messages.create(to=recipient, from_=SENDER, body="new")
    twilio.messages(sids[2]).delete()

    second = first.next_page()
    assert second is not None
    assert [sids[1], sids[0]] == [one.sid for one in second]


def test_list_envelope(sandbox_url: str, twilio: Client, recipient: str) -> None:
    """The envelope has Twilio's fields, and its links keep the filters."""
    for number in range(3):
        twilio.messages.create(to=recipient, from_=SENDER, body=str(number))
    answer = httpx.get(
        f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json",
        auth=(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN),
        params={"To": recipient, "PageSize": 2},
    ).json()

    assert tuple(answer[name] for name in ("page", "page_size", "start", "end")) == (0, 2, 0, 1)
    assert answer["previous_page_uri"] is None
    assert answer["next_page_uri"].startswith(f"/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/")
    assert f"To=%2B{recipient[1:]}&PageSize=2&Page=1&PageToken=PASM" in answer["next_page_uri"]
    assert {"uri", "first_page_uri", "messages"} <= set(answer)


def test_list_filters_by_date_sent(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """DateSent, DateSent< and DateSent> take a date or a time; unsent messages have none."""
    control.settings(hold=True)
    created = twilio.messages.create(to=recipient, from_=SENDER, body="hello")
    assert twilio.messages.list(to=recipient, date_sent_before=datetime.max) == []  # noqa: DTZ901 - the SDK formats without a zone
    control.settings(hold=False)
    sent = until(created, "delivered").date_sent
    assert sent is not None
    midnight = sent.strftime("%Y-%m-%d")
    sid = created.sid

    def found(**filters: object) -> list[str | None]:
        return [one.sid for one in twilio.messages.list(to=recipient, **filters)]  # type: ignore[arg-type]

    assert [sid] == found(date_sent=midnight)
    assert [sid] == found(date_sent_after=sent, date_sent_before=sent)
    assert found(date_sent_after=sent + timedelta(seconds=1)) == []
    assert found(date_sent_before=sent - timedelta(seconds=1)) == []
    assert found(date_sent="2020-01-01") == []


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"PageSize": "1001"}, 20007),
        ({"PageToken": "PASM" + "0" * 32}, 21481),
        ({"DateSent": "yesterday"}, 20001),
    ],
)
def test_bad_list_parameters_are_refused(
    sandbox_url: str, parameters: dict[str, str], code: int
) -> None:
    """A page too large, a foreign token and a bad date are 400."""
    answer = httpx.get(
        f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json",
        auth=(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN),
        params=parameters,
    )

    assert (400, code) == (answer.status_code, answer.json()["code"])


def test_redact_and_delete(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A finished message can be redacted and deleted; the ledger keeps what was sent."""
    created = twilio.messages.create(to=recipient, from_=SENDER, body="secret")
    message = until(created, "delivered")

    redacted = message.update(body="")
    assert "" == (redacted.body or "")
    assert message.delete()
    with pytest.raises(TwilioRestException) as gone:
        message.fetch()
    assert gone.value.status == 404
    assert twilio.messages.list(to=recipient) == []
    assert [one["body"] for one in control.ledger(to=recipient)["accepted"]] == ["secret"]


def test_an_unfinished_message_is_neither_redacted_nor_deleted(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """Before a message's last status, both are refused with 409."""
    control.settings(hold=True)
    message = twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    for act in (message.delete, lambda: message.update(body="")):
        with pytest.raises(TwilioRestException) as refused:
            act()
        assert (refused.value.status, refused.value.code) == (409, 20009)


def test_only_scheduled_messages_are_canceled(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """A scheduled message is canceled; one that is queued is refused with 30409."""
    control.settings(hold=True)
    scheduled = twilio.messages.create(
        to=recipient,
        messaging_service_sid=SERVICE,
        body="later",
        schedule_type="fixed",
        send_at=datetime.now(UTC) + timedelta(hours=1),
    )
    queued = twilio.messages.create(to=recipient, from_=SENDER, body="now")

    assert status_of(scheduled) == "scheduled"
    assert status_of(scheduled.update(status="canceled")) == "canceled"
    assert status_of(scheduled.fetch()) == "canceled"
    with pytest.raises(TwilioRestException) as refused:
        queued.update(status="canceled")
    assert (refused.value.status, refused.value.code) == (400, 30409)
