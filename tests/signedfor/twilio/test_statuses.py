from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.twilio.statuses import MessageStatus, is_receipt, parse_status, rank, supersedes

# The enum of Twilio's OpenAPI document for the Message resource.
TWILIO_STATUSES = {
    "queued",
    "sending",
    "sent",
    "failed",
    "delivered",
    "undelivered",
    "receiving",
    "received",
    "accepted",
    "scheduled",
    "read",
    "partially_delivered",
    "canceled",
}

statuses = st.sampled_from(MessageStatus)


def test_every_status_of_twilio_is_known() -> None:
    """Our statuses are Twilio's, no more and no fewer."""
    assert {status.value for status in MessageStatus} == TWILIO_STATUSES


@pytest.mark.parametrize("raw", sorted(TWILIO_STATUSES))
def test_a_known_status_is_parsed(raw: str) -> None:
    """Twilio's word becomes our status."""
    assert MessageStatus(raw) is parse_status(raw)


@pytest.mark.parametrize("raw", ["", "exploded", "Delivered", " delivered", "delivered\n"])
def test_an_unknown_status_is_none(raw: str) -> None:
    """What Twilio may invent tomorrow is no status and raises nothing."""
    assert parse_status(raw) is None


@pytest.mark.parametrize(
    ("earlier", "later"),
    list(pairwise(["scheduled", "accepted", "queued", "sending", "sent", "delivered", "read"])),
)
def test_statuses_rank_in_the_order_of_a_message(earlier: str, later: str) -> None:
    """Each step of a message's way overwrites the one before, and never the other way round."""
    first, second = MessageStatus(earlier), MessageStatus(later)

    assert supersedes(second, first)
    assert not supersedes(first, second)


def test_the_final_statuses_are_the_receipts() -> None:
    """Five statuses are final; nothing but `read` may still follow one."""
    receipts = {status for status in MessageStatus if is_receipt(status)}

    assert {"delivered", "undelivered", "failed", "canceled", "read"} == receipts
    assert {"read"} == {
        new for new, old in product(MessageStatus, receipts) if supersedes(new, old)
    }


def test_partially_delivered_says_no_more_than_sent() -> None:
    """The deprecated status is no receipt and cannot overwrite `sent`."""
    assert rank(MessageStatus.SENT) == rank(MessageStatus.PARTIALLY_DELIVERED)
    assert not is_receipt(MessageStatus.PARTIALLY_DELIVERED)


@given(statuses)
def test_any_outbound_status_supersedes_none(status: MessageStatus) -> None:
    """The first status counts, unless it belongs to an inbound message."""
    inbound = status in {MessageStatus.RECEIVING, MessageStatus.RECEIVED}

    assert supersedes(status, None) is not inbound


@given(st.lists(statuses, min_size=1), st.randoms(use_true_random=False))
def test_the_rank_reached_does_not_depend_on_the_order_of_callbacks(
    callbacks: list[MessageStatus], random: Random
) -> None:
    """Callbacks in any order, and twice, end at the same rank."""

    def reached(order: list[MessageStatus]) -> int:
        known = None
        for status in order:
            known = status if supersedes(status, known) else known
        return -1 if known is None else rank(known)

    shuffled = callbacks * 2
    random.shuffle(shuffled)

    assert reached(callbacks) == reached(shuffled)
