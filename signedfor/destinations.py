"""The countries that may be sent to: `ALLOWED_COUNTRIES`, or those of our senders."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

from phonenumbers import SUPPORTED_REGIONS

from signedfor.consent import person
from signedfor.twilio.number_ranges import country_of

ALL: Final = "all"
"""Every country."""


class Senders(Protocol):
    """Our senders: `signedfor.store.own_senders.OwnSenders`."""

    def countries(self) -> frozenset[str]:
        """The countries of their numbers."""


class Destinations:
    """The countries that may be sent to."""

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        senders: Senders | None = None,
        default_sender: str | None = None,
    ) -> None:
        """`allowed` has ISO 3166 codes, or `ALL`.

        Without any, they are the countries of the senders: the message's own, the default one and
        `senders`. If none of these shows a country, every country is allowed.
        """
        self._allowed = frozenset(allowed)
        self._senders = senders
        self._default = country_of_sender(default_sender)

    def problem(self, number: str, *, sender: str | None) -> str | None:
        """Why `number` (E.164) is not sent to; None if it may be.

        Raises:
            DatabaseUnavailable: our senders are not known.
        """
        if ALL in self._allowed:
            return None
        country = country_of(number)
        if self._allowed:
            if country in self._allowed:
                return None
            return f"is in {_named(country)}, which ALLOWED_COUNTRIES does not have"
        near = {self._default, country_of_sender(sender)} - {None}
        if country in near:
            return None
        known = frozenset() if self._senders is None else self._senders.countries()
        if country in known or not (near or known):
            return None
        return (
            f"is in {_named(country)}, where none of your senders is; ALLOWED_COUNTRIES can allow "
            "other countries"
        )


@lru_cache(maxsize=4096)
def country_of_sender(sender: str | None) -> str | None:
    """The country that a sender's number shows.

    None for Messaging Services, short codes and alphanumeric senders.
    """
    number = "" if sender is None else person(sender)
    return country_of(number) if number.startswith("+") else None


def country_problem(code: str) -> str | None:
    """What is wrong with a country's code, if anything; does not repeat it."""
    if code in SUPPORTED_REGIONS:
        return None
    return "must be country codes of ISO 3166 such as US,CA,GB (Great Britain is GB), or all"


def _named(country: str | None) -> str:
    return country or "no country"


EVERYWHERE: Final = Destinations([ALL])
