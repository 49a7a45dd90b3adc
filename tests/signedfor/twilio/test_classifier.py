"""Signatures below a message say nothing."""

import pytest

from signedfor.contract import InboundKind
from signedfor.twilio.classifier import classify_inbound


@pytest.mark.parametrize(
    "signature",
    [
        "\n\nSent from my T-Mobile 5G Device",
        "\n--\nJ. W.",
        "\n\nGet Outlook for Android",
        "\nEnviado desde mi iPhone",
        ". Thanks, Brenda",
        "\nThanks\nJoe B.",
        "\nMerci, Claire",
        " -Mike",
        " - Mike",
    ],
)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Stop", InboundKind.STOP),
        ("Unsubscribe", InboundKind.STOP),
        ("Please stop texting me", InboundKind.REVIEW),
        ("See you at 5", InboundKind.OTHER),
        ("HELP", InboundKind.HELP),
    ],
)
def test_a_signature_changes_nothing(body: str, kind: InboundKind, signature: str) -> None:
    """Of a mail program, or of the person."""
    assert kind is classify_inbound(f"{body}{signature}", None)


@pytest.mark.parametrize("body", ["Thanks, Brenda", "-Mike", "\n--\nJ. W."])
def test_a_signature_alone_asks_for_nothing(body: str) -> None:
    """Nothing is left to read."""
    assert classify_inbound(body, None) is InboundKind.OTHER
