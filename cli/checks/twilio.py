"""Twilio: the credentials, the account behind them, and who sends by default."""

from http import HTTPStatus
from typing import Final

from twilio.base.exceptions import TwilioException, TwilioRestException

from activities.twilio_client import TwilioClient
from cli.checks.finding import Finding, fail, ok, warn
from messaging import codes
from settings import Settings

CREDENTIALS: Final = "Twilio credentials"
ACCOUNT: Final = "Twilio account"
SENDER: Final = "default sender"

_NOT_FOR_THIS_KEY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}


def check_sender(settings: Settings) -> Finding:
    """Whether messages without a `from` have a sender."""
    if settings.default_sender is not None:
        return ok(SENDER, "Set.")
    return warn(
        SENDER,
        "DEFAULT_SENDER is not set, so every message must have a `from`.",
        "Set it for the workers to a number or Messaging Service of yours.",
    )


def check_twilio(settings: Settings) -> list[Finding]:
    """Ask Twilio for one message and for the account. What it answers is not shown."""
    client = _client(settings)
    try:
        # Reading messages needs just the credentials and permissions that sending needs.
        client.messages.list(limit=1, page_size=1)
    except TwilioRestException as error:
        row = codes.find(error.code)
        meaning = row.meaning if row else "The table of this version does not know the code."
        action = row.action if row else f"See twilio.com/docs/api/errors/{error.code}."
        return [
            fail(
                CREDENTIALS, f"Twilio answers HTTP {error.status}, {error.code}. {meaning}", action
            )
        ]
    except (TwilioException, OSError, ValueError) as error:  # every `requests` error is an OSError
        return [
            fail(
                CREDENTIALS,
                f"Twilio is not reached ({type(error).__name__}).",
                "See the network, HTTPS_PROXY, and TWILIO_EDGE and TWILIO_REGION if set.",
            )
        ]
    account = _account(client, settings)
    if settings.twilio_api_base_url is not None:
        return [
            warn(
                CREDENTIALS,
                "Accepted, but by TWILIO_API_BASE_URL instead of Twilio: nothing really leaves.",
                "Remove TWILIO_API_BASE_URL to send for real.",
            ),
            account,
        ]
    return [ok(CREDENTIALS, "Accepted."), account]


def _account(client: TwilioClient, settings: Settings) -> Finding:
    try:
        account = client.api.v2010.accounts(settings.twilio_account_sid).fetch()
    except TwilioRestException as error:
        if error.status in _NOT_FOR_THIS_KEY:
            return ok(ACCOUNT, "Its details are not for these credentials to read.")
        return warn(ACCOUNT, f"Twilio answers HTTP {error.status}.", "Try again later.")
    except (TwilioException, OSError, ValueError) as error:
        return warn(ACCOUNT, f"Not read ({type(error).__name__}).", "Try again later.")
    if str(account.status) != "active":
        return fail(
            ACCOUNT,
            f"It is {account.status}.",
            "Read the notices under Billing > Overview in the Twilio console.",
        )
    if str(account.type) == "Trial":
        return warn(
            ACCOUNT,
            "A trial account sends to verified numbers only and puts a line before each text.",
            "Upgrade it in the Twilio console.",
        )
    return ok(ACCOUNT, "Active.")


def _client(settings: Settings) -> TwilioClient:
    """The client that the workers have, for one call at a time."""
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
