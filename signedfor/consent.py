"""Consent: what a suppression covers, why it exists and where it came from."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

_CHANNELS = ("whatsapp", "rcs", "messenger")
_CHANNEL_NUMBER = re.compile(r"[a-z]+:(\+[0-9]+)", re.ASCII)

MAX_ADDRESS = 128
MAX_EVIDENCE = 500
MAX_CHANGED_BY = 100


class Scope(StrEnum):
    """What a suppression covers."""

    EVERYTHING = "everything"
    """Every message to the recipient."""
    SENDER = "sender"
    """Messages from one sender, named in `scope_value`."""
    CATEGORY = "category"
    """Messages of one category, such as marketing, named in `scope_value`."""


class Reason(StrEnum):
    """Why nothing may be sent."""

    OPTED_OUT = "opted_out"
    """The person sent STOP, to us or to Twilio; a START lifts it."""
    UNDELIVERABLE = "undeliverable"
    """The address cannot receive messages; says nothing about the person's other channels."""
    MANUAL = "manual"
    """Set by hand; only lifted by hand."""


class Source(StrEnum):
    """Where a suppression, or its lifting, came from."""

    INBOUND = "inbound"
    """A message from the person."""
    TWILIO_CODE = "twilio_code"
    """An error code from Twilio, such as 21610."""
    OPERATOR = "operator"
    """One of our own operators."""
    IMPORT = "import"
    """A CSV file."""


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """A reason not to send to a recipient.

    `recipient` is a normalized address. `scope_value` names the sender or the category and is
    empty for `Scope.EVERYTHING`. `evidence` is a MessageSid, a Twilio code, a keyword or an
    operator's note, never a message's text. The store sets `created_at` and `id`: None means
    "now" and "not recorded yet".

    Raises:
        ValueError: a field is empty, too long or contradicts another; names it, not its value.
    """

    recipient: str = field(repr=False)
    reason: Reason
    source: Source
    scope: Scope = Scope.EVERYTHING
    scope_value: str = field(default="", repr=False)
    evidence: str = field(default="", repr=False)
    created_at: datetime | None = None
    id: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Reject what could not be stored unchanged."""
        check_text("recipient", self.recipient, max_length=MAX_ADDRESS, required=True)
        check_text("scope_value", self.scope_value, max_length=MAX_ADDRESS)
        check_text("evidence", self.evidence, max_length=MAX_EVIDENCE)
        if (self.scope is Scope.EVERYTHING) != (self.scope_value == ""):
            raise ValueError(
                "scope_value: name the sender or the category for the scopes sender and category, "
                "and leave it empty for everything"
            )
        if self.created_at is not None and self.created_at.utcoffset() is None:
            raise ValueError("created_at: give the time with a time zone, such as +00:00")


def person(address: str) -> str:
    """Return the person that `address` reaches: the bare number of a channel address.

    `whatsapp:+15558675309` and `rcs:+15558675309` both reach `+15558675309`. An address without a
    number, such as `messenger:123`, is its own person.
    """
    match = _CHANNEL_NUMBER.fullmatch(address)
    return match[1] if match else address


def addresses_of(someone: str) -> tuple[str, ...]:
    """Return every normalized address for which `person` returns `someone`."""
    if not someone.startswith("+"):
        return (someone,)
    return (someone, *(f"{channel}:{someone}" for channel in _CHANNELS))


def suppression_key(address: str, reason: Reason) -> str:
    """Return the address under which a suppression of `address` for `reason` is stored.

    An opt-out covers every channel of the person's number; any other reason covers the exact
    address only.
    """
    return person(address) if reason is Reason.OPTED_OUT else address


def check_text(name: str, value: str, *, max_length: int, required: bool = False) -> None:
    """Raise ValueError, naming the field and not its value, unless `value` can be stored.

    Control characters are rejected because PostgreSQL cannot store NUL and no field needs the
    others; surrogates because neither database can encode them.
    """
    if required and not value:
        raise ValueError(f"{name}: must not be empty")
    if len(value) > max_length:
        raise ValueError(f"{name}: at most {max_length} characters, this has {len(value)}")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError(f"{name}: must not contain line breaks or other control characters")
