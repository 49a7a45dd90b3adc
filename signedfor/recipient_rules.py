"""Who may be sent to at all: one rule for single messages and campaigns.

Workflows do not apply it: it depends on settings, and on tables that change with each release of
`phonenumbers`.
"""

from collections.abc import Container

from signedfor.consent import person
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.twilio.number_ranges import range_problem


def recipient_problem(
    to: str,
    *,
    sender: str | None,
    own: Container[str],
    destinations: Destinations = EVERYWHERE,
) -> str | None:
    """Why nothing is sent to the normalized recipient `to`; None if nothing is wrong with it.

    `own` has our own senders, each as `signedfor.consent.person`; `sender` is one of them anyway. A
    channel address is judged by its number; ids without one are in no country.
    """
    owner = person(to)
    if owner in own or (sender is not None and owner == person(sender)):
        return "is one of your own numbers"
    if not owner.startswith("+"):
        return None
    return range_problem(owner) or destinations.problem(owner, sender=sender)
