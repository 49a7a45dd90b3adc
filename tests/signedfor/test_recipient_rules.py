import pytest

from signedfor.consent import person
from signedfor.destinations import Destinations
from signedfor.recipient_rules import recipient_problem

SENDER = "+15005550006"
OTHER_SENDER = "+15557654321"


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("+19002345678", "premium-rate"),
        ("whatsapp:+19002345678", "premium-rate"),
        ("+447012345678", "personal number"),
        ("+15212345678", "personal number"),
        ("+2105555555", "unassigned country code"),
        ("+870773123456", "satellite"),
        ("whatsapp:+8821612345678", "satellite"),
        ("+155586753", "digits after its country code"),
        (SENDER, "one of your own numbers"),
        (f"whatsapp:{SENDER}", "one of your own numbers"),
        (f"rcs:{OTHER_SENDER}", "one of your own numbers"),
    ],
)
def test_nothing_is_sent_to_some_numbers(to: str, problem: str) -> None:
    """The text gives the reason and not the number."""
    found = recipient_problem(to, sender=SENDER, own={person(OTHER_SENDER)}) or ""

    assert problem in found
    assert to[-7:] not in found


@pytest.mark.parametrize(
    "to", ["+15558675309", "whatsapp:US.13491208655302741918", "messenger:1234567", "+15005550001"]
)
def test_everybody_else_may_be_sent_to(to: str) -> None:
    """Also people without a number, and Twilio's test numbers."""
    assert recipient_problem(to, sender=SENDER, own={person(OTHER_SENDER)}) is None


def test_a_messaging_service_is_no_recipient() -> None:
    """A message from one may go to everybody but our numbers."""
    assert recipient_problem("+15558675309", sender="MG" + "0" * 32, own=()) is None


@pytest.mark.parametrize("to", ["+18765550123", "whatsapp:+18765550123", "rcs:+18765550123"])
def test_a_number_in_another_country_is_not_sent_to(to: str) -> None:
    """On any channel; the text names the country and the setting."""
    destinations = Destinations(["US", "CA"])

    problem = recipient_problem(to, sender=SENDER, own=(), destinations=destinations)

    assert "is in JM, which ALLOWED_COUNTRIES does not have" == problem


@pytest.mark.parametrize(
    "to", ["+12025550123", "whatsapp:US.13491208655302741918", "messenger:1234567"]
)
def test_people_without_a_number_are_in_no_country(to: str) -> None:
    """The list does not limit them."""
    destinations = Destinations(["US"])

    assert recipient_problem(to, sender=SENDER, own=(), destinations=destinations) is None
