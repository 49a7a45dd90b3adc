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
        " - Dr. M. Lopez",
        " -- Pat",
        " (Dave R.)",
        ", J. Miller",
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


def test_a_name_below_a_keyword_is_a_signature() -> None:
    """Below a sentence it may be its last word."""
    assert classify_inbound("STOP\n\nBob", None) is InboundKind.STOP
    assert classify_inbound("Leave me\nAlone", None) is InboundKind.REVIEW


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Thanks. Stop", InboundKind.STOP),
        ("Please - Stop", InboundKind.STOP),
        ("Hi\nUnsubscribe", InboundKind.STOP),
        ("Gracias. Baja", InboundKind.STOP),
        ("Thanks. Stpo", InboundKind.STOP),
        ("Hello - Remove Me", InboundKind.REVIEW),
        ("Thanks, Help", InboundKind.HELP),
    ],
)
def test_what_asks_for_something_is_no_signature(body: str, kind: InboundKind) -> None:
    """It only stands where a name could stand."""
    assert classify_inbound(body, None) is kind


@pytest.mark.parametrize(
    "body",
    [
        "how would I opt out if I ever wanted to?",
        "what happens if I text STOP",
        "I got opted out by mistake",
        "you took me off the list by mistake, please put me back",
        "I want to keep getting texts",
        "I did not request this code",
        "I've stopped getting your reminders",
        "take us off the 7pm list and put us on the 9pm one",
        "remove me from the 9 am slot and give it to Kim",
        "número equivocado en el recibo, es 45 no 54",
    ],
)
def test_who_asks_about_opting_out_or_wants_the_texts_does_not_opt_out(body: str) -> None:
    """Nor does who leaves something else than our list."""
    assert classify_inbound(body, None) is InboundKind.OTHER


@pytest.mark.parametrize(
    "body",
    [
        "if I opt out will you leave me alone",
        "I was put on this list by mistake, unsubscribe me",
        "I don't want to keep getting texts",
        "remove me from the class list",
        "stop payment alerts",
        "please stop order texts",
        "cancel appointment reminders",
        "número equivocado",
        "ik ben Kees niet",
    ],
)
def test_an_opt_out_in_such_words_is_for_review(body: str) -> None:
    """What makes a message ordinary is taken out of it, and the rest is read."""
    assert classify_inbound(body, None) is InboundKind.REVIEW
