"""What needs complete settings: senders, destinations, Twilio, and the webhook."""

from collections.abc import Collection, Iterable
from typing import Final

from signedfor.checks import Finding, Level, ok, skipped, warn
from signedfor.checks.inbound_url import INBOUND_URL, WEBHOOK_RULES, check_inbound_urls
from signedfor.checks.twilio import ACCOUNT, CREDENTIALS, SENDER, check_sender, check_twilio
from signedfor.checks.webhook import FORGED, PUBLIC_URL, REACHED, SIGNED
from signedfor.destinations import ALL, country_of_sender
from signedfor.settings import Settings

DESTINATIONS: Final = "destinations"


def check_account(settings: Settings, senders: Collection[str]) -> list[Finding]:
    """Check senders, destinations, credentials and, with them, what is configured in Twilio.

    `senders` are those that were used or configured, besides the default one.
    """
    findings = [
        check_sender(settings),
        check_destinations(settings, senders),
        *check_twilio(settings),
    ]
    if any(each.level is Level.FAIL for each in findings if each.name == CREDENTIALS):
        because = "Twilio does not accept the credentials"
        return [*findings, skipped(INBOUND_URL, because), skipped(WEBHOOK_RULES, because)]
    own = [] if settings.default_sender is None else [settings.default_sender]
    return [*findings, *check_inbound_urls(settings, [*own, *senders])]


def check_destinations(settings: Settings, senders: Iterable[str]) -> Finding:
    """Whether the countries that may be sent to are limited."""
    allowed = settings.allowed_countries
    if allowed == (ALL,):
        return ok(DESTINATIONS, "Every country may be sent to: ALLOWED_COUNTRIES is all.")
    if allowed:
        return ok(DESTINATIONS, f"Countries that may be sent to: {', '.join(allowed)}.")
    if any(map(country_of_sender, (settings.default_sender, *senders))):
        return ok(DESTINATIONS, "Only the countries of your senders may be sent to.")
    return warn(
        DESTINATIONS,
        "ALLOWED_COUNTRIES is not set, and no sender shows a country: while that is so, every "
        "country may be sent to.",
        "Set ALLOWED_COUNTRIES for the workers to the countries that you send to, such as US,CA.",
    )


def without_settings() -> list[Finding]:
    """What is not checked when the settings are incomplete."""
    names = (
        *(SENDER, DESTINATIONS, CREDENTIALS, ACCOUNT, INBOUND_URL, WEBHOOK_RULES),
        *(PUBLIC_URL, REACHED, FORGED, SIGNED),
    )
    return [skipped(name, "the settings above are incomplete") for name in names]
