"""The webhook, called as Twilio calls it: by its public URL, with a wrong and a right signature."""

import secrets
from hashlib import sha256
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import requests
from twilio.request_validator import RequestValidator

from signedfor.checks import Finding, fail, ok, skipped, warn
from signedfor.contract import EVENTS_PATH, STATUS_PATH
from signedfor.settings import Settings
from signedfor.webhook_probe import PROBE_HEADER, probe_of

PUBLIC_URL: Final = "public URL"
REACHED: Final = "webhook reached"
FORGED: Final = "forged callback"
SIGNED: Final = "signed callback"
EVENTS: Final = "event batch"

_TIMEOUT = (3.0, 10.0)
"""Seconds to connect and to read; Twilio itself gives up after 15."""


def check_webhook(settings: Settings) -> list[Finding]:
    """Call the webhook through PUBLIC_BASE_URL. The test callbacks change nothing.

    The webhook does not count the forged one as an attack: see `signedfor.webhook_probe`.

    Only the path of status callbacks is called, and with EVENT_STREAMS that of events: a proxy need
    not pass any other to the webhook.
    """
    base = settings.public_base_url
    with requests.Session() as session:
        if _is_loopback(base):
            session.trust_env = False  # a proxy would look for the webhook on its own machine
        try:
            forged = _post(session, settings, token=secrets.token_hex(16), is_probe=True)
        except (requests.RequestException, OSError) as error:
            reached = fail(
                REACHED,
                f"{base} does not answer ({type(error).__name__}).",
                "Start the webhook (`python -m webhook`), and let PUBLIC_BASE_URL lead to it.",
            )
        else:
            reached = _reached(base, forged)
        if reached.level != "ok":
            because = "the webhook cannot be reached"
            return [_url(base), reached, skipped(FORGED, because), skipped(SIGNED, because)]
        events = [_events(session, settings)] if settings.event_streams else []
        return [_url(base), reached, _forged(forged), _signed(session, settings), *events]


def _url(base: str) -> Finding:
    if base.startswith("https://"):
        return ok(PUBLIC_URL, f"{base}.")
    if _is_loopback(base):
        return ok(PUBLIC_URL, f"{base}, for this machine only: Twilio cannot call it.")
    return warn(
        PUBLIC_URL,
        f"{base} is not https: numbers and texts would be sent unencrypted.",
        "Put a TLS proxy before the webhook and set PUBLIC_BASE_URL to https://...",
    )


def _reached(base: str, answer: requests.Response) -> Finding:
    """Whether the answer to a forged callback may be the webhook's."""
    if answer.is_redirect:
        return fail(
            REACHED,
            f"{base} redirects. A signature is valid only for the URL that Twilio calls.",
            "Set PUBLIC_BASE_URL to where it redirects to.",
        )
    # What takes a forged callback is reached too; the next check fails.
    if answer.status_code == HTTPStatus.FORBIDDEN or answer.ok:
        return ok(REACHED, f"{base} answers.")
    return fail(
        REACHED,
        f"HTTP {answer.status_code} at {base}{STATUS_PATH}, which is not the webhook's answer.",
        "Start the webhook (`python -m webhook`), let PUBLIC_BASE_URL lead to it, and see that the "
        "proxy before it passes /webhook/*.",
    )


def _forged(answer: requests.Response) -> Finding:
    if answer.status_code == HTTPStatus.FORBIDDEN:
        return ok(FORGED, "A wrongly signed callback is refused.")
    return fail(
        FORGED,
        f"A wrongly signed callback gets {answer.status_code} instead of 403.",
        "Something other than the webhook answers there, or a proxy changes the answer.",
    )


def _signed(session: requests.Session, settings: Settings) -> Finding:
    token = settings.twilio_auth_token.get_secret_value()
    try:
        status: int | str = _post(session, settings, token=token).status_code
    except (requests.RequestException, OSError) as error:
        status = f"no answer ({type(error).__name__})"
    if status == HTTPStatus.NO_CONTENT:
        return ok(SIGNED, "A test callback signed as Twilio does is accepted.")
    if status == HTTPStatus.FORBIDDEN:
        return fail(
            SIGNED,
            "A correctly signed callback is refused, so Twilio's would be refused too.",
            "Give the webhook the same TWILIO_AUTH_TOKEN, TWILIO_ACCOUNT_SID and PUBLIC_BASE_URL "
            "as here and restart it. Make sure that no proxy changes path or query, or refuses "
            "the request itself.",
        )
    return fail(SIGNED, f"The webhook answers a test callback with {status}.", "See its log.")


def _events(session: requests.Session, settings: Settings) -> Finding:
    try:
        status: int | str = _post_batch(session, settings).status_code
    except (requests.RequestException, OSError) as error:
        status = f"no answer ({type(error).__name__})"
    if status == HTTPStatus.NO_CONTENT:
        return ok(EVENTS, f"A test batch at {EVENTS_PATH} is accepted.")
    if status == HTTPStatus.NOT_FOUND:
        return fail(
            EVENTS,
            f"There is nothing at {EVENTS_PATH}. Twilio drops what it sends there.",
            "Set EVENT_STREAMS=true for the webhook too and restart it, and see that the proxy "
            "before it passes /webhook/*.",
        )
    return fail(
        EVENTS,
        f"A correctly signed test batch at {EVENTS_PATH} gets {status} instead of 204.",
        "Make sure that no proxy changes the query or the body. The webhook's log says more.",
    )


def _post_batch(session: requests.Session, settings: Settings) -> requests.Response:
    """Post a batch without events, signed as Twilio does it."""
    body = b"[]"
    url = f"{settings.public_base_url}{EVENTS_PATH}?bodySHA256={sha256(body).hexdigest()}"
    token = settings.twilio_auth_token.get_secret_value()
    validator = RequestValidator(token)  # type: ignore[no-untyped-call] # the SDK is untyped here
    signature = validator.compute_signature(url, {})  # type: ignore[no-untyped-call] # as above
    return session.post(
        url,
        data=body,
        headers={"Content-Type": "application/json", "X-Twilio-Signature": signature},
        timeout=_TIMEOUT,
        allow_redirects=False,
    )


def _post(
    session: requests.Session, settings: Settings, *, token: str, is_probe: bool = False
) -> requests.Response:
    """Post a status that changes no message, for a message that does not exist."""
    url = f"{settings.public_base_url}{STATUS_PATH}?message_id=doctor-{secrets.token_hex(8)}"
    sid = f"SM{secrets.token_hex(16)}"
    fields = {
        "AccountSid": settings.twilio_account_sid,
        "MessageSid": sid,
        "SmsSid": sid,
        "MessageStatus": "queued",
        "SmsStatus": "queued",
    }
    validator = RequestValidator(token)  # type: ignore[no-untyped-call] # the SDK is untyped here
    signature = validator.compute_signature(url, fields)  # type: ignore[no-untyped-call] # as above
    headers = {"X-Twilio-Signature": signature}
    if is_probe:
        own_token = settings.twilio_auth_token.get_secret_value()
        headers[PROBE_HEADER] = probe_of(signature, token=own_token)
    return session.post(
        url,
        data=fields,
        headers=headers,
        timeout=_TIMEOUT,
        allow_redirects=False,
    )


def _is_loopback(base: str) -> bool:
    host = urlsplit(base).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
