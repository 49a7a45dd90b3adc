"""Connection overrides: how Twilio is to repeat a webhook, in the fragment of its URL.

https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides. Twilio takes the fragment
off before it signs and calls the URL.
"""

from typing import Final
from urllib.parse import parse_qs

OVERRIDES: Final = "rc=5&rp=all&rt=5000"
"""For all URLs at which Twilio calls us: up to five repetitions, after any failure.

Without them Twilio repeats a webhook once, and only if it could not connect: not after our 503. All
attempts together have 15 seconds, which is also Twilio's limit for one answer. So an attempt waits
5 seconds (`rt`) for its answer: a process that hangs leaves time for two others. The webhook
answers in milliseconds, and in up to 3 seconds while its database is down. An answer that
was given up is made good by the repetition, which changes nothing twice.
"""

_NEEDED = frozenset({"5xx", "ct", "rt"})
"""Our 503, no connection, and no answer; a 4xx is final."""


def repeats_failures(fragment: str) -> bool:
    """Whether Twilio repeats a webhook with this fragment after each failure that may pass."""
    given = parse_qs(fragment)
    count = given.get("rc", ["1"])[-1]
    kinds = set(given.get("rp", ["ct"])[-1].split(","))
    return count in {"1", "2", "3", "4", "5"} and ("all" in kinds or kinds >= _NEEDED)
