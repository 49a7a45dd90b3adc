"""Twilio's checks of a create, with the error code of each."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from devtools.sandbox import addresses, magic
from devtools.sandbox.errors import TwilioError

Form = Mapping[str, Sequence[str]]
"""A decoded form: every value of every field, blank ones included."""

MAX_BODY = 1600
MAX_MEDIA = 10
MAX_VALIDITY = 36_000
_MAX_CALLBACK_URL = 4000
_SCHEDULE_WINDOW = (300, 3_024_000)

_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_CONTENT = re.compile(r"HX[0-9a-fA-F]{32}")

# With a Messaging Service these come later, as a failed message: Twilio checks the pair of sender
# and recipient only when it has chosen the sender.
_LATE_WITH_SERVICE = frozenset({21408, 21610, 21612, 21614})


@dataclass(frozen=True, slots=True)
class Draft:
    """A create that passed the checks.

    `send_at` is an epoch time; `validity` is in seconds; `late_error` is the code that a
    Messaging Service will fail it with after acceptance.
    """

    to: str
    sender: str | None
    messaging_service_sid: str | None
    body: str
    media_urls: tuple[str, ...]
    status_callback: str | None
    validity: int
    send_at: float | None
    late_error: int | None


def check(form: Form, *, strict: bool, now: float) -> Draft:
    """Return the draft in `form`, or raise the error that Twilio would answer with.

    `strict` applies the sender table of the test credentials.
    """
    to = _recipient(form)
    sender, service = _sender(form, strict=strict)
    if sender is not None:
        _check_pair(sender, to)
    late_error = magic.recipient_error(to)
    if late_error is not None and not (service and late_error in _LATE_WITH_SERVICE):
        raise TwilioError(late_error, value=to)
    body, media_urls = _content(form)
    return Draft(
        to=to,
        sender=sender,
        messaging_service_sid=service,
        body=body,
        media_urls=media_urls,
        status_callback=_status_callback(form),
        validity=_validity(form),
        send_at=_send_at(form, service=service, now=now),
        late_error=late_error,
    )


async def read_form(request: Request) -> Form:
    """Return the form in the request's body; raises 20001 if it is none."""
    body = await request.body()
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise TwilioError(20001) from None


def value_of(form: Form, name: str) -> str:
    """Return the last value of field `name`, or an empty text."""
    values = form.get(name)
    return values[-1] if values else ""


def _recipient(form: Form) -> str:
    raw = value_of(form, "To").strip()
    if not raw:
        raise TwilioError(21604)
    to = addresses.normalized(raw)
    if addresses.is_short_code(to):
        raise TwilioError(21265, value=to)
    if not addresses.is_recipient(to):
        raise TwilioError(21211, value=raw)
    return to


def _sender(form: Form, *, strict: bool) -> tuple[str | None, str | None]:
    sender: str | None = addresses.normalized(value_of(form, "From").strip()) or None
    service = value_of(form, "MessagingServiceSid").strip() or None
    if sender and _MESSAGING_SERVICE.fullmatch(sender):  # Twilio tolerates it there
        sender, service = None, service or sender
    if service and not _MESSAGING_SERVICE.fullmatch(service):
        raise TwilioError(21705)
    if sender is None:
        if service is None:
            raise TwilioError(21603)
        return None, service
    code = magic.sender_error(sender, strict=strict)
    if code is None and not addresses.is_sender(sender):
        code = 21212
    if code is not None:
        raise TwilioError(code, value=sender)
    return sender, service


def _check_pair(sender: str, to: str) -> None:
    if addresses.channel_of(sender) != addresses.channel_of(to):
        raise TwilioError(21910)
    if sender == to:
        raise TwilioError(21266, value=to)


def _content(form: Form) -> tuple[str, tuple[str, ...]]:
    body = value_of(form, "Body")
    media_urls = tuple(url for url in form.get("MediaUrl", ()) if url)
    content_sid = value_of(form, "ContentSid")
    if len(body) > MAX_BODY:
        raise TwilioError(21617)
    if len(media_urls) > MAX_MEDIA:
        raise TwilioError(21623)
    if not all(_is_web_url(url) for url in media_urls):
        raise TwilioError(21620)
    _check_template(content_sid, value_of(form, "ContentVariables"))
    if not (body or media_urls or content_sid):
        raise TwilioError(21602 if "Body" in form else 21619)
    return body, media_urls


def _check_template(content_sid: str, variables: str) -> None:
    if content_sid and not _CONTENT.fullmatch(content_sid):
        raise TwilioError(21655)
    if not variables:
        return
    if not content_sid:
        raise TwilioError(21654)
    try:
        parsed = json.loads(variables)
    except ValueError:
        raise TwilioError(21656) from None
    if not isinstance(parsed, dict):
        raise TwilioError(21656)


def _status_callback(form: Form) -> str | None:
    url = value_of(form, "StatusCallback")
    if not url:
        return None
    # Unlike Twilio, the sandbox reaches loopback names and addresses: that is where it is used.
    if len(url) > _MAX_CALLBACK_URL or not _is_web_url(url):
        raise TwilioError(21609)
    if "_" in (urlsplit(url).hostname or ""):
        raise TwilioError(21609)
    return url


def _validity(form: Form) -> int:
    text = value_of(form, "ValidityPeriod")
    if not text:
        return MAX_VALIDITY
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_VALIDITY:
        raise TwilioError(21624)
    return int(text)


def _send_at(form: Form, *, service: str | None, now: float) -> float | None:
    schedule_type = value_of(form, "ScheduleType")
    if not schedule_type:
        return None
    if schedule_type != "fixed":
        raise TwilioError(35126)
    if service is None:
        raise TwilioError(35118)
    text = value_of(form, "SendAt")
    if not text:
        raise TwilioError(35111)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TwilioError(35114) from None
    send_at = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    soonest, latest = _SCHEDULE_WINDOW
    if not soonest <= send_at - now <= latest:
        raise TwilioError(35114)
    return send_at


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
