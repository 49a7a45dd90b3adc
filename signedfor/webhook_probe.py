"""A wrongly signed callback by which our own check sees that the webhook refuses such.

The webhook refuses it like any other, but neither counts nor logs it: the header says that somebody
with the auth token made it. It does not make it a valid callback.
"""

import hmac
from hashlib import sha256
from typing import Final

PROBE_HEADER: Final = "X-Signedfor-Probe"

_PURPOSE: Final = b"signedfor webhook probe\n"
"""Nothing that Twilio signs begins so."""


def probe_of(signature: str, *, token: str) -> str:
    """The header's value for a callback with this wrong signature."""
    return hmac.new(token.encode(), _PURPOSE + signature.encode(), sha256).hexdigest()


def is_probe(given: str, signature: str, *, token: str) -> bool:
    """Whether the header was made with this token, for this signature."""
    return hmac.compare_digest(probe_of(signature, token=token).encode(), given.encode())
