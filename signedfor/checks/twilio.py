"""Twilio: the credentials, their account, and the default sender."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from signedfor.checks import Finding, fail, ok, warn
from signedfor.settings import Settings
from signedfor.twilio import codes
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient

CREDENTIALS: Final = "Twilio credentials"
ACCOUNT: Final = "Twilio account"
SENDER: Final = "default sender"

NO_ACCESS: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
"""The answers to credentials that may not read something, such as those of a restricted API key."""


def check_sender(settings: Settings) -> Finding:
    """Whether messages without a `from` have a sender."""
    if settings.default_sender is not None:
        return ok(SENDER, "Set.")
    return warn(
        SENDER,
        "DEFAULT_SENDER is not set, so every message must have a `from`.",
        "Set it for the workers to one of your numbers or Messaging Services.",
    )


def check_twilio(settings: Settings) -> list[Finding]:
    """Ask Twilio for one message and for the account. Its answers are not shown."""
    client = twilio_client(settings)
    account_path = f"/2010-04-01/Accounts/{settings.twilio_account_sid}"
    try:
        # Reading messages needs just the credentials and permissions that sending needs.
        messages = _ask(client, f"{account_path}/Messages.json?PageSize=1")
        if messages.status != HTTPStatus.OK or "messages" not in messages.document:
            return [_refused(messages)]
        account = _account(_ask(client, f"{account_path}.json"))
    except TWILIO_ERRORS as error:
        return [
            fail(
                CREDENTIALS,
                f"Twilio cannot be reached ({type(error).__name__}).",
                "Check the network, HTTPS_PROXY, and TWILIO_EDGE and TWILIO_REGION if set.",
            )
        ]
    if settings.twilio_api_base_url is not None:
        return [
            warn(
                CREDENTIALS,
                "Accepted, but by TWILIO_API_BASE_URL instead of Twilio: nothing is really sent.",
                "Remove TWILIO_API_BASE_URL to send for real.",
            ),
            account,
        ]
    return [ok(CREDENTIALS, "Accepted."), account]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """Twilio's answer: its status and JSON object. The SDK's lists drop the error code."""

    status: int
    document: dict[str, Any]


def _ask(client: TwilioClient, path: str) -> _Answer:
    response = client.request("GET", client.api.base_url + path)
    try:
        document = json.loads(response.text)
    except ValueError:
        document = None
    return _Answer(
        status=response.status_code, document=document if isinstance(document, dict) else {}
    )


def _refused(answer: _Answer) -> Finding:
    code = answer.document.get("code")
    row = codes.find(code) if isinstance(code, int) else None
    if row is not None:
        what = f"Twilio answers HTTP {answer.status}, {row.code}. {row.meaning}"
        return fail(CREDENTIALS, what, row.advice)
    return fail(
        CREDENTIALS,
        f"HTTP {answer.status}, and the answer is not Twilio's.",
        "Make sure that no proxy answers in Twilio's place; otherwise try again later.",
    )


def _account(answer: _Answer) -> Finding:
    if answer.status in NO_ACCESS:
        return ok(ACCOUNT, "These credentials may not read its details.")
    if answer.status != HTTPStatus.OK:
        return warn(ACCOUNT, f"Twilio answers HTTP {answer.status}.", "Try again later.")
    if answer.document.get("status") in {"suspended", "closed"}:
        return fail(
            ACCOUNT,
            f"It is {answer.document['status']}.",
            "Read the notices under Billing > Overview in the Twilio console.",
        )
    if answer.document.get("type") == "Trial":
        return warn(
            ACCOUNT,
            "A trial account sends to verified numbers only and puts a line before each text.",
            "Upgrade it in the Twilio console.",
        )
    return ok(ACCOUNT, "Active.")


def twilio_client(settings: Settings) -> TwilioClient:
    """The same client as the workers', for one call at a time."""
    key, secret = settings.twilio_api_key_sid, settings.twilio_api_key_secret
    return TwilioClient(
        account_sid=settings.twilio_account_sid,
        username=key or settings.twilio_account_sid,
        password=(secret or settings.twilio_auth_token).get_secret_value(),
        connections=1,
        base_url=settings.twilio_api_base_url,
        edge=settings.twilio_edge,
        region=settings.twilio_region,
    )
