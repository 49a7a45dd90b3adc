"""Which clocks a number may go by."""

from datetime import UTC, datetime, timedelta

import pytest
from phonenumbers.tzdata import TIMEZONE_DATA

from messaging.zones import TIME_ZONES, recipient_zones, zone


@pytest.mark.parametrize(
    ("recipient", "zones"),
    [
        ("+4915112345678", {"Europe/Berlin"}),
        ("+12125550100", {"America/New_York"}),
        ("+12085550100", {"America/Boise", "America/Los_Angeles"}),  # an area code with two
        ("+18765551234", {"America/Jamaica"}),
        ("+16715551234", {"Pacific/Guam"}),
        ("+34612345678", {"Atlantic/Canary", "Europe/Madrid"}),  # a mobile may be anywhere
        ("+34911234567", {"Europe/Madrid"}),  # a landline is where its area code says
        ("+34928123456", {"Atlantic/Canary"}),
        ("+77011234567", {"Asia/Almaty", "Asia/Aqtobe"}),  # Kazakhstan, not all of Russia
        ("+6281234567890", {"Asia/Jakarta", "Asia/Jayapura", "Asia/Makassar"}),
        ("+5511912345678", {"America/Sao_Paulo"}),  # Brazil's mobiles have area codes
        ("+6861234567", {"Pacific/Enderbury", "Pacific/Kiritimati", "Pacific/Tarawa"}),
        ("whatsapp:+4915112345678", {"Europe/Berlin"}),
        ("rcs:+4915112345678", {"Europe/Berlin"}),
        ("+882161234567", set()),  # satellite phones, shared codes and unassigned ones
        ("+80012345678", set()),
        ("+2101234567", set()),
        ("messenger:4915112345678", set()),
        ("12345", set()),
    ],
)
def test_recipient_zones(recipient: str, zones: set[str]) -> None:
    """A number's zones are its area's, or its country's; addresses without a country have none."""
    assert zones == set(recipient_zones(recipient))


@pytest.mark.parametrize(
    ("recipient", "some"),
    [
        ("+18005550100", {"America/New_York", "Pacific/Honolulu", "Pacific/Guam"}),  # toll-free
        ("+15558675309", {"America/New_York", "Pacific/Honolulu"}),  # no such area code
        ("+61412345678", {"Australia/Perth", "Australia/Sydney"}),  # the table says Sydney only
        ("+79161234567", {"Europe/Moscow", "Asia/Kamchatka"}),
        ("+7123", {"Europe/Moscow", "Asia/Kamchatka"}),  # too short to be told apart
    ],
)
def test_a_number_without_an_area_has_all_zones_of_its_country(
    recipient: str, some: set[str]
) -> None:
    """What is not known is not guessed: nobody is woken for a table's default."""
    assert some < set(recipient_zones(recipient))


def test_the_rules_of_every_zone_are_there() -> None:
    """Each zone in the table is one whose rules can be loaded, here and on other machines."""
    named = {name for zones in TIMEZONE_DATA.values() for name in zones}

    assert named <= TIME_ZONES
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    for name in named:
        assert abs(moment.astimezone(zone(name)).utcoffset() or timedelta(0)) <= timedelta(hours=14)
