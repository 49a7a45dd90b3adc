"""The words of consent: what a suppression covers, why it stands and where it came from."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

_CHANNEL_NUMBER = re.compile(r"[a-z]+:(\+[0-9]+)", re.ASCII)

MAX_ADDRESS = 128
MAX_EVIDENCE = 500
MAX_WHO = 100


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
    """The person said STOP, to us or to Twilio; a START lifts it."""
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
    """Somebody of ours."""
    IMPORT = "import"
    """A CSV file."""


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """A standing reason not to send to a recipient.

    `recipient` is a normalised address. `scope_value` names the sender or the category and is
    empty for `Scope.EVERYTHING`. `evidence` is a MessageSid, a Twilio code, a keyword or an
    operator's note, never a message's text. `created_at` and `id` are the store's: None means
    "now" and "not recorded yet".

    Raises:
        ValueError: a field is empty, too long or contradicts another; names it, without its value.
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
        """Refuse what the store could not keep faithfully."""
        check_text("recipient", self.recipient, longest=MAX_ADDRESS, required=True)
        check_text("scope_value", self.scope_value, longest=MAX_ADDRESS)
        check_text("evidence", self.evidence, longest=MAX_EVIDENCE)
        if (self.scope is Scope.EVERYTHING) != (self.scope_value == ""):
            raise ValueError(
                "scope_value: name the sender or the category for the scopes sender and category, "
                "and leave it empty for everything"
            )
        if self.created_at is not None and self.created_at.utcoffset() is None:
            raise ValueError("created_at: give the time with its zone, such as +00:00")


def person(address: str) -> str:
    """Return whom `address` reaches: the bare number behind a channel address.

    `whatsapp:+15558675309` and `rcs:+15558675309` are the person `+15558675309`. An address with
    no number behind it, such as `messenger:123`, stands for itself.
    """
    match = _CHANNEL_NUMBER.fullmatch(address)
    return match[1] if match else address


def kept_under(address: str, reason: Reason) -> str:
    """Return the address that a suppression of `address` for `reason` is kept under.

    A person who opts out does so on every channel of their number. Whether an address can be
    reached, or what was set by hand, is known of that exact address only.
    """
    return person(address) if reason is Reason.OPTED_OUT else address


def check_text(name: str, value: str, *, longest: int, required: bool = False) -> None:
    """Raise ValueError, naming the field and not its value, unless `value` can be stored.

    Control characters are refused because PostgreSQL cannot keep NUL and no field has a use for
    the others; surrogates because neither database can encode them.
    """
    if required and not value:
        raise ValueError(f"{name}: must not be empty")
    if len(value) > longest:
        raise ValueError(f"{name}: at most {longest} characters, this has {len(value)}")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError(f"{name}: must not contain line breaks or other control characters")
