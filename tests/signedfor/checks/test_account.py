"""Whether the countries that may be sent to are limited."""

import pytest

from signedfor.checks import Level
from signedfor.checks.account import check_destinations
from tests.webhook.support import SETTINGS

SERVICE = "MG" + "0" * 32


@pytest.mark.parametrize(
    ("allowed", "default", "senders", "level", "what"),
    [
        (("all",), None, [], Level.OK, "Every country"),
        (("US", "CA"), None, [], Level.OK, "US, CA"),
        ((), "+15005550006", [], Level.OK, "countries of your senders"),
        ((), SERVICE, ["72345", "whatsapp:+447400123456"], Level.OK, "countries of your senders"),
        ((), SERVICE, ["72345", "Parcels"], Level.WARN, "ALLOWED_COUNTRIES is not set"),
        ((), None, [], Level.WARN, "ALLOWED_COUNTRIES is not set"),
    ],
)
def test_destinations_without_a_limit_are_a_warning(
    allowed: tuple[str, ...], default: str | None, senders: list[str], level: Level, what: str
) -> None:
    """Neither a list nor a sender limits them."""
    settings = SETTINGS.model_copy(update={"allowed_countries": allowed, "default_sender": default})

    found = check_destinations(settings, senders)

    assert level is found.level
    assert what in found.what
    assert (level is Level.WARN) == (found.remedy is not None)
