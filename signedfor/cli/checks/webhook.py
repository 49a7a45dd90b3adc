"""The webhook as Twilio sees it: by its public URL, with a right and with a wrong signature."""

import secrets
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import requests
from twilio.request_validator import RequestValidator

from signedfor.cli.checks.finding import Finding, fail, ok, skipped, warn
from signedfor.contract import STATUS_PATH
from signedfor.settings import Settings

PUBLIC_URL: Final = "public URL"
REACHED: Final = "webhook reached"
SIGNED: Final = "signed callback"
FORGED: Final = "forged callback"

_HEALTH_PATH = "/healthz"
_ALIVE = {"status": "alive"}
_TIMEOUT = (3.0, 10.0)
"""Seconds to connect and to read; Twilio itself gives up after 15."""


def check_webhook(settings: Settings) -> list[Finding]:
    """Call the webhook through PUBLIC_BASE_URL. The test callbacks change nothing."""
    base = settings.public_base_url
    with requests.Session() as session:
        if _is_loopback(base):
            session.trust_env = False  # a proxy would look for the webhook on itself
        reached = _reached(session, base)
        if reached.level != "ok":
            because = "the webhook is not reached"
            return [_url(base), reached, skipped(SIGNED, because), skipped(FORGED, because)]
        token = settings.twilio_auth_token.get_secret_value()
        return [
            _url(base),
            reached,
            _signed(session, settings, token),
            _forged(session, settings),
        ]


def _url(base: str) -> Finding:
    if base.startswith("https://"):
        return ok(PUBLIC_URL, f"{base}.")
    if _is_loopback(base):
        return ok(PUBLIC_URL, f"{base}, for this machine only: Twilio cannot call it.")
    return warn(
        PUBLIC_URL,
        f"{base} is not https: numbers and texts would travel in clear.",
        "Put a certificate before the webhook and set PUBLIC_BASE_URL to https://...",
    )


def _reached(session: requests.Session, base: str) -> Finding:
    remedy = "Start the webhook (python -m webhook), and let PUBLIC_BASE_URL lead to it."
    try:
        answer = session.get(base + _HEALTH_PATH, timeout=_TIMEOUT, allow_redirects=False)
    except (requests.RequestException, OSError) as error:
        return fail(REACHED, f"{base} does not answer ({type(error).__name__}).", remedy)
    if answer.is_redirect:
        return fail(
            REACHED,
            f"{base} redirects. A signature holds for the URL that Twilio calls.",
            "Set PUBLIC_BASE_URL to where it redirects to.",
        )
    if answer.status_code != HTTPStatus.OK or not _says_alive(answer):
        return fail(
            REACHED, f"HTTP {answer.status_code} at {base}, and not from our webhook.", remedy
        )
    return ok(REACHED, f"Our webhook answers at {base}.")


def _signed(session: requests.Session, settings: Settings, token: str) -> Finding:
    status = _post(session, settings, token)
    if status == HTTPStatus.NO_CONTENT:
        return ok(SIGNED, "A test callback signed as Twilio does is accepted.")
    if status == HTTPStatus.FORBIDDEN:
        return fail(
            SIGNED,
            "The webhook refuses a callback that is signed rightly, so it would refuse Twilio's.",
            "Give the webhook the same TWILIO_AUTH_TOKEN, TWILIO_ACCOUNT_SID and PUBLIC_BASE_URL "
            "as here, restart it, and see that no proxy changes path or query.",
        )
    return fail(SIGNED, f"The webhook answers a test callback with {status}.", "See its log.")


def _forged(session: requests.Session, settings: Settings) -> Finding:
    status = _post(session, settings, secrets.token_hex(16))
    if status == HTTPStatus.FORBIDDEN:
        return ok(FORGED, "A wrongly signed callback is refused.")
    return fail(
        FORGED,
        f"A wrongly signed callback gets {status} instead of 403.",
        "Something other than our webhook answers there, or a proxy changes the answer.",
    )


def _post(session: requests.Session, settings: Settings, token: str) -> int | str:
    """Post a status that cannot change any message, for a message that is none; the answer."""
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
    try:
        return session.post(
            url,
            data=fields,
            headers={"X-Twilio-Signature": signature},
            timeout=_TIMEOUT,
            allow_redirects=False,
        ).status_code
    except (requests.RequestException, OSError) as error:
        return f"no answer ({type(error).__name__})"


def _says_alive(answer: requests.Response) -> bool:
    try:
        return bool(answer.json() == _ALIVE)
    except ValueError:
        return False


def _is_loopback(base: str) -> bool:
    host = urlsplit(base).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
