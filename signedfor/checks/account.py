"""What needs complete settings: the default sender, Twilio with its senders, and the webhook."""

from collections.abc import Iterable

from signedfor.checks import Finding, Level, skipped
from signedfor.checks.inbound_url import INBOUND_URL, WEBHOOK_RULES, check_inbound_urls
from signedfor.checks.twilio import ACCOUNT, CREDENTIALS, SENDER, check_sender, check_twilio
from signedfor.checks.webhook import FORGED, PUBLIC_URL, REACHED, SIGNED
from signedfor.settings import Settings


def check_account(settings: Settings, senders: Iterable[str]) -> list[Finding]:
    """Check the default sender, the credentials and, with them, what is configured in Twilio.

    `senders` are those that were used or configured, besides the default one.
    """
    findings = [check_sender(settings), *check_twilio(settings)]
    if any(each.level is Level.FAIL for each in findings if each.name == CREDENTIALS):
        because = "Twilio does not accept the credentials"
        return [*findings, skipped(INBOUND_URL, because), skipped(WEBHOOK_RULES, because)]
    own = [] if settings.default_sender is None else [settings.default_sender]
    return [*findings, *check_inbound_urls(settings, [*own, *senders])]


def without_settings() -> list[Finding]:
    """What is not checked when the settings are incomplete."""
    names = (
        *(SENDER, CREDENTIALS, ACCOUNT, INBOUND_URL, WEBHOOK_RULES),
        *(PUBLIC_URL, REACHED, FORGED, SIGNED),
    )
    return [skipped(name, "the settings above are incomplete") for name in names]
