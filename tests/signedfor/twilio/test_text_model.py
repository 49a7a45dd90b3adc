"""The model of whole texts, beside the rules of words and phrases."""

import pytest

from signedfor.contract import InboundKind
from signedfor.twilio import text_model
from signedfor.twilio.classifier import classify_inbound
from signedfor.twilio.letters import plain
from signedfor.twilio.phrases import clauses

OTHER, REVIEW = InboundKind.OTHER, InboundKind.REVIEW


def _score(body: str) -> float:
    return text_model.score(body, clauses(plain(body)))


@pytest.mark.parametrize(
    "body",
    [
        "I want out of the Thursday class, can anyone swap",
        "my lawyer will contact your office about the accident",
        "delete my card info from the checkout please",
    ],
)
def test_a_rule_does_not_make_an_ordinary_message_a_review(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It resembles ordinary ones too much."""
    assert classify_inbound(body, None) is OTHER

    monkeypatch.setattr(text_model, "ORDINARY", -100)
    assert classify_inbound(body, None) is REVIEW


def test_an_opt_out_that_no_rule_finds_is_for_review(monkeypatch: pytest.MonkeyPatch) -> None:
    """It resembles opt-outs."""
    body = "please let me off this thing"
    assert classify_inbound(body, None) is REVIEW

    monkeypatch.setattr(text_model, "OPT_OUT", 100)
    assert classify_inbound(body, None) is OTHER


def test_of_a_long_message_it_says_nothing() -> None:
    """An opt-out at its end must not drown in what comes before."""
    story = "the kids have a game on saturday and we are out of milk and the car is at the shop "

    assert _score(story) < text_model.ORDINARY
    assert _score(story * 2) == 0
    assert classify_inbound(f"{story * 2}. Please stop texting me", None) is REVIEW
