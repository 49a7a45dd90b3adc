"""Consent: what a suppression covers, why it exists and where it came from."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

_CHANNELS = ("whatsapp", "rcs", "messenger")
_CHANNEL_NUMBER = re.compile(r"[a-z]+:(\+[0-9]+)", re.ASCII)
_PSEUDONYM = re.compile(r"(?:[a-z]+:)?([0-9a-f]{32})", re.ASCII)
_MEXICAN_MOBILE = re.compile(r"\+521([0-9]{10})", re.ASCII)
_BRAZILIAN_MOBILE = re.compile(r"\+55([0-9]{2})([6-9][0-9]{7})", re.ASCII)
"""As it was before the ninth digit; landlines begin with 2 to 5."""

MAX_ADDRESS = 128
MAX_EVIDENCE = 500
MAX_CHANGED_BY = 100
MAX_LABEL = 64


class Scope(StrEnum):
    """What a suppression covers."""

    EVERYTHING = "everything"
    """Every message to the recipient."""
    SENDER = "sender"
    """Messages from one sender, named in `scope_value`."""
    CATEGORY = "category"
    """Messages of one category, such as marketing, named in `scope_value`."""
    SENDER_CATEGORY = "sender_category"
    """Messages of the category in `scope_value` from the sender in `to_sender`."""


CATEGORY_SCOPES: Final = frozenset({Scope.CATEGORY, Scope.SENDER_CATEGORY})
"""The scopes that name a category."""


class Reason(StrEnum):
    """Why nothing may be sent."""

    OPTED_OUT = "opted_out"
    """The person does not want it. A START lifts what they said themselves."""
    UNDELIVERABLE = "undeliverable"
    """The address cannot receive messages; says nothing about the person's other channels."""
    MANUAL = "manual"
    """Set by hand; only lifted by hand."""
    REVIEW = "review"
    """The person wrote what may be an opt-out, and no operator has read it yet."""


class Source(StrEnum):
    """Where a suppression, or its lifting, came from.

    Suppressions of different sources stand side by side: a START lifts what the person said, not
    what an operator or a file added.
    """

    INBOUND = "inbound"
    """A message from the person."""
    TWILIO_CODE = "twilio_code"
    """An error code from Twilio, such as 21610, or its event about a reassigned number."""
    OPERATOR = "operator"
    """One of our own operators."""
    IMPORT = "import"
    """A CSV file."""


OWN_SOURCES: Final = frozenset({Source.INBOUND, Source.TWILIO_CODE})
"""The sources of opt-outs that the person made, to us or to Twilio."""

ALL_CATEGORIES: Final = "all"
"""In the place of a category: all messages, also those without one."""
DEFAULT_REVIEW_SUPPRESSES: Final = ("marketing",)
"""The categories of messages that a pending review suppresses."""


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """A reason not to send to a recipient.

    `recipient` is a normalized address. `scope_value` names the sender or the category and is
    empty for `Scope.EVERYTHING`. `evidence` is a MessageSid, a Twilio code, a keyword or an
    operator's note, never a message's text. `to_sender` is the sender of ours to which the person
    wrote; what it covers is the scope's business. `created_at` is the time of the newest
    evidence. The store sets it and `id`: None means "now" and "not recorded yet". After
    `expires_at` it no longer applies.

    Raises:
        ValueError: a field is empty, too long or contradicts another; names it, not its value.
    """

    recipient: str = field(repr=False)
    reason: Reason
    source: Source
    scope: Scope = Scope.EVERYTHING
    scope_value: str = field(default="", repr=False)
    evidence: str = field(default="", repr=False)
    to_sender: str = field(default="", repr=False)
    created_at: datetime | None = None
    expires_at: datetime | None = None
    id: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Reject what could not be stored unchanged."""
        check_text("recipient", self.recipient, max_length=MAX_ADDRESS, required=True)
        check_text("scope_value", self.scope_value, max_length=MAX_ADDRESS)
        check_text("evidence", self.evidence, max_length=MAX_EVIDENCE)
        check_text("to_sender", self.to_sender, max_length=MAX_ADDRESS)
        if (self.scope is Scope.EVERYTHING) != (self.scope_value == ""):
            raise ValueError(
                "scope_value: name the sender or the category for the scopes sender and category, "
                "and leave it empty for everything"
            )
        if self.scope is Scope.SENDER_CATEGORY and not self.to_sender:
            raise ValueError("to_sender: name the sender for the scope sender_category")
        for name, moment in (("created_at", self.created_at), ("expires_at", self.expires_at)):
            if moment is not None and moment.utcoffset() is None:
                raise ValueError(f"{name}: give the time with a time zone, such as +00:00")


@dataclass(frozen=True, kw_only=True)
class OptIn:
    """A person's agreement to messages of one category, on all channels of their number.

    `source` says where it was given, such as `web-form`; `evidence` where the proof is, such as a
    form's id; `wording` which version of the text the person agreed to. The store sets
    `recorded_at`, `recorded_by`, the three of the withdrawal, and `id`.

    Raises:
        ValueError: a field is empty, too long, or a time without a zone; names it, not its value.
    """

    recipient: str = field(repr=False)
    category: str
    source: str
    evidence: str = field(default="", repr=False)
    wording: str = ""
    opted_in_at: datetime | None = None
    """None: when it is recorded."""
    recorded_at: datetime | None = None
    recorded_by: str = ""
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawn_because: str | None = None
    id: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Reject what could not be stored unchanged."""
        check_text("recipient", self.recipient, max_length=MAX_ADDRESS, required=True)
        check_text("category", self.category, max_length=MAX_LABEL, required=True)
        check_text("source", self.source, max_length=MAX_LABEL, required=True)
        check_text("evidence", self.evidence, max_length=MAX_EVIDENCE)
        check_text("wording", self.wording, max_length=MAX_LABEL)
        if self.opted_in_at is not None and self.opted_in_at.utcoffset() is None:
            raise ValueError("opted_in_at: give the time with a time zone, such as +00:00")


def person(address: str) -> str:
    """Return the person that `address` reaches: the bare number of a channel address.

    `whatsapp:+15558675309` and `rcs:+15558675309` both reach `+15558675309`. An address without a
    number, such as `messenger:123` or `whatsapp:US.123`, is its own person. WhatsApp's ids of
    Mexico and Brazil differ from the numbers that are dialed, which are the person's here: they
    keep Mexico's old mobile prefix 1, and lack the ninth digit of many Brazilian mobile numbers.
    """
    match = _CHANNEL_NUMBER.fullmatch(address)
    number = match[1] if match else address
    if old := _MEXICAN_MOBILE.fullmatch(number):
        return f"+52{old[1]}"
    if old := _BRAZILIAN_MOBILE.fullmatch(number):
        return f"+55{old[1]}9{old[2]}"
    return number


def addresses_of(someone: str) -> tuple[str, ...]:
    """Return every normalized address for which `person` returns `someone`."""
    if not someone.startswith("+"):
        return (someone,)
    numbers = [someone]
    if new := re.fullmatch(r"\+52([0-9]{10})", someone):
        numbers.append(f"+521{new[1]}")
    if new := re.fullmatch(r"\+55([0-9]{2})9([6-9][0-9]{7})", someone):
        numbers.append(f"+55{new[1]}{new[2]}")
    return tuple(
        address
        for number in numbers
        for address in (number, *(f"{channel}:{number}" for channel in _CHANNELS))
    )


def reference_in(pseudonym: str) -> str | None:
    """The reference of an erased person, in what stands in the place of their address.

    None if it is an address (see `signedfor.store.people`).
    """
    match = _PSEUDONYM.fullmatch(pseudonym)
    return None if match is None else match[1]


def suppression_key(address: str, reason: Reason) -> str:
    """Return the address under which a suppression of `address` for `reason` is stored.

    What the person said covers every channel of their number; any other reason covers the exact
    address only.
    """
    return person(address) if reason in {Reason.OPTED_OUT, Reason.REVIEW} else address


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
