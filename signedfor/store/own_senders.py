"""Which addresses are our own senders, to which nothing is sent."""

import time
from collections.abc import Callable

from sqlalchemy import Engine, select

from signedfor.consent import person
from signedfor.destinations import country_of_sender
from signedfor.store.database import transaction
from signedfor.store.tables import send_attempts, senders

_MAX_AGE_SECONDS = 60.0


class OwnSenders:
    """Our senders, read at most once a minute; thread-safe.

    They are the default sender, those with a rate of their own, and those from which Twilio has
    accepted a message, or may have. Others that were used once may be a mistake, such as `from` and
    `to` in the wrong order, and that person is no sender of ours.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        default_sender: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._default = None if default_sender is None else person(default_sender)
        self._clock = clock
        self._read_at = float("-inf")
        self._senders: dict[str, list[str]] = {}
        self._countries: tuple[float, frozenset[str]] = (float("-inf"), frozenset())

    def __contains__(self, owner: object) -> bool:
        """Whether `owner`, as `signedfor.consent.person`, is one.

        Raises:
            DatabaseUnavailable: it cannot be read now.
        """
        if owner == self._default:
            return True
        found = self._known().get(str(owner), ())
        return any(self._is_ours(each) for each in found)

    def countries(self) -> frozenset[str]:
        """The countries of their numbers.

        Raises:
            DatabaseUnavailable: it cannot be read now.
        """
        known = self._known()
        read_at, countries = self._countries
        if read_at != self._read_at:
            found: set[str] = set()
            for owner, names in known.items():
                country = country_of_sender(owner)
                # One sender shows it: the others need not be looked up.
                if country not in {None, *found} and any(self._is_ours(each) for each in names):
                    found.add(str(country))
            countries = frozenset(found)
            self._countries = (self._read_at, countries)
        return countries

    def _known(self) -> dict[str, list[str]]:
        """The senders of each person that were ever used or configured."""
        if self._clock() - self._read_at > _MAX_AGE_SECONDS:
            with transaction(self._engine, read_only=True) as connection:
                names = connection.scalars(select(senders.c.sender)).all()
            found: dict[str, list[str]] = {}
            for name in names:
                found.setdefault(person(name), []).append(name)
            self._senders, self._read_at = found, self._clock()
        return self._senders

    def _is_ours(self, sender: str) -> bool:
        """Rarely asked, so that it needs no index."""
        is_configured = select(senders.c.sender).where(
            senders.c.sender == sender, senders.c.rate.is_not(None)
        )
        is_used = (
            select(send_attempts.c.id)
            .where(send_attempts.c.sender == sender, ~send_attempts.c.is_refused)
            .limit(1)
        )
        with transaction(self._engine, read_only=True) as connection:
            return any(connection.execute(each).first() for each in (is_configured, is_used))
