"""The countries that may be sent to: those of ALLOWED_COUNTRIES, else those of our senders."""

import pytest

from signedfor.destinations import EVERYWHERE, Destinations

US, CANADA, JAMAICA, BRITAIN = "+12025550123", "+14165550123", "+18765550123", "+447400123456"
UNASSIGNED = "+15558675309"
"""In the United States' country code, in an area code of nobody's."""
SERVICE = "MG" + "0" * 32


class _Senders:
    def __init__(self, *countries: str) -> None:
        self._countries = frozenset(countries)

    def countries(self) -> frozenset[str]:
        return self._countries


@pytest.mark.parametrize(
    ("allowed", "to", "is_allowed"),
    [
        (["US"], US, True),
        (["US"], UNASSIGNED, True),
        (["US"], CANADA, False),
        (["US"], JAMAICA, False),
        (["US"], BRITAIN, False),
        (["CA"], UNASSIGNED, False),
        (["CA", "JM"], JAMAICA, True),
        (["GB"], BRITAIN, True),
        (["all"], JAMAICA, True),
    ],
)
def test_only_countries_on_the_list_may_be_sent_to(
    allowed: list[str], to: str, *, is_allowed: bool
) -> None:
    """Numbers that share a country code are told apart; the sender's country does not matter."""
    problem = Destinations(allowed).problem(to, sender=BRITAIN)

    assert is_allowed == (problem is None)


@pytest.mark.parametrize(
    ("sender", "default", "known", "to", "is_allowed"),
    [
        (US, None, (), US, True),
        (US, None, (), JAMAICA, False),
        (f"whatsapp:{US}", None, (), JAMAICA, False),
        (BRITAIN, US, (), US, True),
        (SERVICE, US, (), US, True),
        (SERVICE, US, (), BRITAIN, False),
        (SERVICE, None, ("GB",), BRITAIN, True),
        (US, None, ("GB",), BRITAIN, True),
        (SERVICE, None, ("GB",), US, False),
        ("72345", SERVICE, (), JAMAICA, True),
        ("Parcels", None, (), JAMAICA, True),
    ],
)
def test_without_a_list_they_are_the_countries_of_our_senders(
    sender: str, default: str | None, known: tuple[str, ...], to: str, *, is_allowed: bool
) -> None:
    """The message's own, the default one and the others. If none shows a country, all are."""
    destinations = Destinations(senders=_Senders(*known), default_sender=default)

    assert is_allowed == (destinations.problem(to, sender=sender) is None)


@pytest.mark.parametrize("destinations", [Destinations(["US"]), Destinations()])
def test_the_problem_names_the_country_and_the_setting(destinations: Destinations) -> None:
    """And not the number."""
    problem = destinations.problem(JAMAICA, sender=US) or ""

    assert "is in JM" in problem
    assert "ALLOWED_COUNTRIES" in problem
    assert JAMAICA[-7:] not in problem


def test_everywhere_is_every_country() -> None:
    """For what is checked elsewhere."""
    assert EVERYWHERE.problem(JAMAICA, sender=BRITAIN) is None
