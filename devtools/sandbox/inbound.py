"""Inbound messages: what Twilio does by itself, and the signed call to the webhook."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

import httpx

from devtools.sandbox.accounts import Account
from devtools.sandbox.addresses import channel_of, is_short_code, is_toll_free
from devtools.sandbox.events import EventSink
from devtools.sandbox.messages import API_VERSION, Message, new_sid
from devtools.sandbox.settings import LiveSettings
from devtools.sandbox.state import State
from devtools.sandbox.webhooks import Webhooks
from signedfor.twilio.segments import count_segments

Keyword = Literal["STOP", "START", "HELP"]

_WORDS: dict[str, Keyword] = {
    **dict.fromkeys(
        ("STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"), "STOP"
    ),
    **dict.fromkeys(("START", "YES", "UNSTOP"), "START"),
    **dict.fromkeys(("HELP", "INFO"), "HELP"),
}

REPLIES: dict[Keyword, str] = {
    "STOP": (
        "You have successfully been unsubscribed. You will not receive any more messages from "
        "this number. Reply START to resubscribe."
    ),
    "START": (
        "You have successfully been re-subscribed to messages from this number. Reply HELP for "
        "help. Reply STOP to unsubscribe. Msg&Data Rates May Apply."
    ),
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}
"""What Twilio answers to each kind of keyword by itself."""


def keyword_in(body: str, *, sender: str, service: str | None) -> Keyword | None:
    """Return the kind of keyword that the whole `body` is, if Twilio handles it for `sender`.

    A standalone short code handles its keywords itself, and YES does not undo a STOP to a
    toll-free number.
    """
    word = body.strip().upper()
    if service is None and is_short_code(sender):
        return None
    if word == "YES" and is_toll_free(sender):
        return None
    return _WORDS.get(word)


_PLACES = ("City", "State", "Zip", "Country")
_TWIML_TYPES = ("text/xml", "application/xml", "text/html")


class Inbound:
    """Simulates a person who writes to one of the account's senders."""

    def __init__(
        self,
        *,
        account: Account,
        state: State,
        webhooks: Webhooks,
        events: EventSink,
        settings: LiveSettings,
    ) -> None:
        self._account = account
        self._state = state
        self._events = events
        self._webhooks = webhooks
        self._settings = settings

    async def receive(
        self,
        *,
        sender: str,
        to: str,
        body: str,
        service: str | None,
        opt_out_type: str | None,
        user_id: str | None,
        media: Sequence[str] = (),
        api_url: str = "",
    ) -> dict[str, Any]:
        """Receive a message from the person `sender` to our `to`; return what happened.

        `media` are the content types of its pictures and files, and `api_url` is where they are.

        The webhook is the one configured for `to`, or else the `inbound_url` of the settings. If
        `to` is in a Messaging Service, the webhook is told the service, and the list omits it, as
        Twilio's does. With `service` both have it. Keywords are handled and answered first, as
        Twilio does, then the webhook is called. Returned: the message's sid, the keyword if any,
        what the person is texted back (`auto_reply` by Twilio, `replies` by the webhook), and the
        webhook's answer, whose fields are null without a URL or an answer (`error` says why).
        """
        message = self._message(sender=sender, to=to, body=body, direction="inbound")
        message.messaging_service_sid = service
        if media:
            message.sid = new_sid("MM")
            message.media = {new_sid("ME"): content_type for content_type in media}
            message.num_media = len(media)
        self._state.keep(message)
        webhook = self._state.configuration.webhook_for(to, default=self._settings.now.inbound_url)
        service = service or webhook.service_sid
        self._events.received(message, service=service, opt_out_type=opt_out_type)
        keyword = keyword_in(body, sender=to, service=service)
        if keyword is not None:
            self._handle(keyword, scope=service or to, person=sender)
            self._reply(message, REPLIES[keyword])
        result: dict[str, Any] = {
            "sid": message.sid,
            "keyword": keyword,
            "auto_reply": None if keyword is None else REPLIES[keyword],
            "replies": [],
            "http_status": None,
            "content_type": None,
            "body": None,
            "error": None,
        }
        if webhook.url:
            parameters = _parameters(
                message,
                service=service,
                opt_out_type=opt_out_type,
                user_id=user_id,
                api_url=api_url,
            )
            last = await self._webhooks.request(
                webhook.method, webhook.url, parameters, on_attempt=lambda _: None
            )
            result["error"] = last.failure
            if last.response is not None:
                result |= _answer_of(last.response)
        for text in result["replies"]:
            self._reply(message, text)
        return result

    def _handle(self, keyword: Keyword, *, scope: str, person: str) -> None:
        if keyword == "STOP":
            self._state.block(scope, person)
        elif keyword == "START":
            self._state.unblock(scope, person)

    def _reply(self, inbound: Message, body: str) -> None:
        reply = self._message(
            sender=inbound.to, to=inbound.sender or "", body=body, direction="outbound-reply"
        )
        reply.messaging_service_sid = inbound.messaging_service_sid
        self._state.keep(reply)

    def _message(self, *, sender: str, to: str, body: str, direction: str) -> Message:
        now = time.time()
        segments = count_segments(body).count
        return Message(
            account_sid=self._account.sid,
            to=to,
            sender=sender,
            body=body,
            status="received" if direction == "inbound" else "delivered",
            direction=direction,
            created=now,
            sent=now,
            segments=segments,
            num_segments=segments,
            finished=True,
        )


def _parameters(
    message: Message,
    *,
    service: str | None,
    opt_out_type: str | None,
    user_id: str | None,
    api_url: str,
) -> dict[str, str]:
    parameters = {
        "AccountSid": message.account_sid,
        "ApiVersion": API_VERSION,
        "Body": message.body,
        "From": message.sender or "",
        "MessageSid": message.sid,
        "NumMedia": str(message.num_media),
        "NumSegments": str(message.num_segments),
        "SmsMessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "To": message.to,
    }
    for number, (media_sid, content_type) in enumerate(message.media.items()):
        parameters[f"MediaUrl{number}"] = api_url + message.media_uri(media_sid)
        parameters[f"MediaContentType{number}"] = content_type
    if service is not None:
        parameters["MessagingServiceSid"] = service
    if opt_out_type is not None:
        parameters["OptOutType"] = opt_out_type
    if channel_of(message.sender or "") == "whatsapp":
        parameters |= {"MessageType": "text", "ProfileName": "Sandbox"}
        # A person who hides the number has no WaId: the user id is the sender.
        sender = message.sender or ""
        if sender.startswith("whatsapp:+"):
            parameters["WaId"] = sender.removeprefix("whatsapp:+")
        else:
            user_id = sender
        if user_id is not None:
            parameters["ExternalUserId"] = user_id
    else:
        # Twilio sends unknown values as blanks, and signs them.
        parameters |= {end + place: "" for end in ("From", "To") for place in _PLACES}
    return parameters


def _answer_of(response: httpx.Response) -> dict[str, Any]:
    content_type = response.headers.get("Content-Type", "")
    texts = _texts(response.text, content_type) if response.is_success else []
    return {
        "http_status": response.status_code,
        "content_type": content_type,
        "body": response.text,
        "replies": list(texts),
    }


def _texts(body: str, content_type: str) -> Iterator[str]:
    """Yield what Twilio would send to the person: TwiML messages, or a plain text."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain" and body:
        yield body
    if kind not in _TWIML_TYPES:
        return
    try:
        root = ET.fromstring(body)  # noqa: S314 - the answer of our own webhook
    except ET.ParseError:
        return
    for message in root.iter("Message"):
        inner = message.find("Body")
        yield (message.text or "") if inner is None else (inner.text or "")
