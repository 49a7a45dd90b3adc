"""The messages that the demo sends, and what each must come to."""

from dataclasses import dataclass, field
from typing import Any

_REFUSED_FOR_NOW = {"respond": "error", "code": 20429, "http_status": 429}
_NOBODY_TELLS = {"final": "sent", "callbacks": {"lost": True}}
_A_LANDLINE = {"final": "undelivered", "error_code": 30006}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How a message must end, and what of it must have reached Twilio."""

    outcome: str
    error_code: int | None = None
    attempts: int = 1
    accepted: int = 1
    """Creates that the sandbox accepted for this recipient, retries included."""
    letter: str | None = None
    """How its dead letter was closed."""
    retried: str | None = None
    """The outcome of the retry, where an operator asks for one."""
    suppressed: bool = False
    """Whether the recipient is suppressed from then on."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One message: to whom, what stands in its way, and what must become of it."""

    name: str
    title: str
    to: str
    text: str
    expected: Expected
    steps: tuple[dict[str, Any], ...] = ()
    """The sandbox's script for this recipient."""
    stopped: bool = False
    """Whether the recipient has texted STOP before."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the message."""


SCENARIOS = (
    Scenario(
        name="delivered",
        title="A parcel note, on a good day",
        to="+15558670101",
        text="Your parcel is at the door.",
        expected=Expected(outcome="delivered"),
    ),
    Scenario(
        name="stopped",
        title="To somebody who has texted STOP",
        to="+15558670102",
        text="Our winter offers are here.",
        stopped=True,
        expected=Expected(outcome="suppressed", attempts=0, accepted=0, suppressed=True),
    ),
    Scenario(
        name="invalid",
        title="To a number that does not exist (Twilio 21211)",
        to="+15005550001",
        text="Your table is booked for eight.",
        expected=Expected(
            outcome="failed", error_code=21211, accepted=0, letter="recorded", suppressed=True
        ),
    ),
    Scenario(
        name="throttled",
        title="Twilio says 429 twice",
        to="+15558670104",
        text="Your train leaves from platform nine.",
        steps=(_REFUSED_FOR_NOW, _REFUSED_FOR_NOW),
        expected=Expected(outcome="delivered", attempts=3),
    ),
    Scenario(
        name="landline",
        title="Accepted, then a landline (30006 by callback)",
        to="+15558670105",
        text="Your prescription is ready.",
        steps=(_A_LANDLINE,),
        expected=Expected(
            outcome="undelivered", error_code=30006, letter="recorded", suppressed=True
        ),
    ),
    Scenario(
        name="silent",
        title="No receipt ever comes; an operator retries it",
        to="+15558670106",
        text="Your appointment is tomorrow at noon.",
        steps=(_NOBODY_TELLS,),
        extra={"receipt_timeout_seconds": 3},
        expected=Expected(outcome="unconfirmed", accepted=2, letter="retried", retried="delivered"),
    ),
)
