import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signedfor.twilio.codes
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.twilio.codes import (
    advice_for,
    classify_create,
    classify_delivery,
    delay_for,
    find,
    meaning_for,
    resubmissions_for,
)

with Path(signedfor.twilio.codes.__file__).with_name("codes.csv").open(encoding="utf-8") as _table:
    ROWS = list(csv.DictReader(_table))
CODES = sorted(
    code for row in ROWS for code in range(int(row["code_from"]), int(row["code_to"]) + 1)
)
UNKNOWN_CODES = [None, 0, 404, 20000, 21613, 30000, 63000, 99999]


def _numbers(text: str) -> set[int]:
    """Read `21201 21601-21606` as a set of codes."""
    spans = (item.partition("-") for item in text.split())
    return {code for low, _, high in spans for code in range(int(low), int(high or low) + 1)}


# The codes in Twilio's dictionary that a message or its request may have: platform and request
# codes, To / From / routing, delivery, channels.
TWILIO_CODES = _numbers(
    """
    10001 10002 11751 14107 20001-20008 20010 20403 20404 20409 20422 20429 20500 20503 21730
    30400 30404 70005

    21201 21202 21210-21214 21217 21219 21264-21268 21401-21404 21407 21408 21420 21421 21481
    21601-21624 21626 21627 21635 21652-21668 21701-21741 21900-21902 21910

    30001-30047 30100-30140 30409 30410 30436-30531 30610 30615 30620 30630 30640 30700-30899
    35111 35114 35115 35117 35118 35125 35126

    63001-63003 63005-63047 63049-63059 63062 63106 63109 63111 63112 63114 63117 63119 63120
    """
)

NOT_IN_TABLE = {
    "administration of names, numbers, lists and pages; never a response to a create": _numbers(
        "20002 20007 21481 21613 21615"
    ),
    "administration of Messaging Service pools, brands, campaigns": _numbers("21708-21741"),
    "not used by Twilio": _numbers("21706 21707"),
    "inbound messages": _numbers("30009 30038 30039"),
    "warnings about a share of the cap; the message itself did not fail": _numbers("30025 30026"),
    "a response to canceling a scheduled message, which we never do": _numbers("30409"),
    "toll-free verification": _numbers(
        "30436-30449 30451 30452 30455-30484 30486-30499 30501-30531"
    ),
    "a warning about rate or template; the message itself did not fail": _numbers("63039 63052"),
    "administration of templates": _numbers("63043-63047 63057 63114"),
}


def test_every_code_of_a_message_is_in_the_table() -> None:
    """Codes that are not in the table are listed here with the reason."""
    not_in_table = set().union(*NOT_IN_TABLE.values())

    assert TWILIO_CODES - not_in_table == set(CODES)
    assert not_in_table < TWILIO_CODES


def test_each_code_is_in_the_table_once() -> None:
    """Rows and ranges are sorted and do not overlap."""
    assert [code for code, count in Counter(CODES).items() if count > 1] == []
    assert all(int(a["code_to"]) < int(b["code_from"]) for a, b in pairwise(ROWS))
    assert all(int(row["code_from"]) <= int(row["code_to"]) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row["code_from"] for row in ROWS])
def test_a_row_is_complete(row: dict[str, str]) -> None:
    """Each row has a known class, two sentences, and numbers that fit the class."""
    failure_class = FailureClass(row["failure_class"])
    tries, delay = int(row["resubmissions"]), int(row["delay_seconds"])

    assert failure_class not in {FailureClass.DELIVERY_FAILED, FailureClass.NO_RECEIPT}
    for sentence in (row["meaning"], row["advice"]):
        assert len(sentence) > 14
        assert sentence.endswith(".")
        assert sentence == sentence.strip()
    if failure_class is FailureClass.DELIVERY_DELAYED:
        assert tries in {1, 2}
        assert 60 <= delay <= 86_400
    elif failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        assert (tries, delay) in {(0, 0), (0, 60), (0, 3600)}
    else:
        assert (tries, delay) == (0, 0)


def test_the_table_uses_every_class_that_a_code_can_have() -> None:
    """The other classes are for failures without a known code, and for our own refusals."""
    used = {FailureClass(row["failure_class"]) for row in ROWS}

    assert {
        FailureClass.DELIVERY_FAILED,
        FailureClass.NO_RECEIPT,
        FailureClass.LIMIT_REACHED,
        FailureClass.DUPLICATE,
    } == set(FailureClass) - used


# The most important codes of each class.
IMPORTANT_CODES = {
    FailureClass.TEMPORARILY_UNAVAILABLE: "20429 21611 63038",
    FailureClass.RECIPIENT_OPTED_OUT: "21610 30630 63014 63033 63050",
    FailureClass.RECIPIENT_UNREACHABLE: "21211 21214 21217 21614 30005 30006 30640",
    FailureClass.SENDER_MISCONFIGURED: "20003 21408 21606 21608 21612 21703 30032 30034",
    FailureClass.CONTENT_REJECTED: "21602 21617 63016",
    FailureClass.CARRIER_FILTERED: "30004 30007 30453",
    FailureClass.DELIVERY_DELAYED: "30001 30003 30017 30022 30023 30027 63017 63018 63053 63119",
    FailureClass.OUTCOME_UNKNOWN: "20409 20500 20503 30008 30020 30021 30410 30500 63009 63010"
    " 63012 63023 63117",
    FailureClass.REQUEST_REJECTED: "20001 21603 21604 21609 35118",
}


@pytest.mark.parametrize(("failure_class", "codes"), IMPORTANT_CODES.items())
def test_important_codes_have_their_class(failure_class: FailureClass, codes: str) -> None:
    """Changing the class of one of these codes is a decision, not a correction of the table."""
    found = {code: find(code) for code in _numbers(codes)}

    assert {failure_class} == {row.failure_class for row in found.values() if row}
    assert None not in found.values()


def test_only_opt_out_codes_suppress_a_recipient() -> None:
    """A full queue (21611) or a missing route (21612) is no opt-out."""
    opted_out = {code for code in CODES if find(code).failure_class == "RecipientOptedOut"}  # type: ignore[union-attr]  # every code of the table is found

    assert {21610, 30630, 63014, 63033, 63050} == opted_out


@pytest.mark.parametrize("code", UNKNOWN_CODES)
def test_an_unknown_code_is_not_found(code: int | None) -> None:
    """It has no later attempts and no delay."""
    assert find(code) is None
    assert (resubmissions_for(code), delay_for(code)) == (0, 0)


def test_a_range_covers_each_of_its_codes() -> None:
    """Each code in the range is found under its own number."""
    row = find(30750)

    assert row is not None
    assert (row.code, row.failure_class) == (30750, FailureClass.SENDER_MISCONFIGURED)
    assert [row.code for row in (find(30700), find(30899)) if row] == [30700, 30899]


@pytest.mark.parametrize("code", [*UNKNOWN_CODES, *CODES[::7], 21610, 21211, 20003])
@pytest.mark.parametrize("http_status", [500, 502, 503, 504, 520, 599])
def test_the_outcome_of_a_5xx_is_unknown(http_status: int, code: int | None) -> None:
    """Whatever the code, Twilio may have accepted the message."""
    assert FailureClass.OUTCOME_UNKNOWN is classify_create(http_status, code)


@pytest.mark.parametrize("code", [None, 20429, 21611, 63038, 21610, 99999])
def test_a_429_was_not_processed(code: int | None) -> None:
    """Twilio responds with 429 before it does anything, so it is always safe to retry."""
    assert FailureClass.TEMPORARILY_UNAVAILABLE is classify_create(429, code)


@pytest.mark.parametrize(
    ("http_status", "code", "expected"),
    [
        (307, None, FailureClass.TEMPORARILY_UNAVAILABLE),
        (401, 20003, FailureClass.SENDER_MISCONFIGURED),
        (401, None, FailureClass.SENDER_MISCONFIGURED),
        (403, 403, FailureClass.SENDER_MISCONFIGURED),
        (404, 404, FailureClass.REQUEST_REJECTED),
        (404, 20404, FailureClass.SENDER_MISCONFIGURED),
        (408, None, FailureClass.OUTCOME_UNKNOWN),
        (409, 20409, FailureClass.OUTCOME_UNKNOWN),
        (409, None, FailureClass.OUTCOME_UNKNOWN),
        (425, None, FailureClass.TEMPORARILY_UNAVAILABLE),
        (400, None, FailureClass.REQUEST_REJECTED),
        (400, 21999, FailureClass.REQUEST_REJECTED),
        (499, None, FailureClass.REQUEST_REJECTED),
        (400, 21610, FailureClass.RECIPIENT_OPTED_OUT),
        (400, 21614, FailureClass.RECIPIENT_UNREACHABLE),
        (400, 21612, FailureClass.SENDER_MISCONFIGURED),
        (400, 21602, FailureClass.CONTENT_REJECTED),
        (400, 35125, FailureClass.TEMPORARILY_UNAVAILABLE),
        (400, 30001, FailureClass.TEMPORARILY_UNAVAILABLE),
    ],
)
def test_a_refused_create_has_the_class_of_its_code(
    http_status: int, code: int | None, expected: FailureClass
) -> None:
    """The class of a 4xx is decided by its code or, without a code, by its status."""
    assert expected is classify_create(http_status, code)


@pytest.mark.parametrize("http_status", [0, 100, 200, 201, 204, 299, 600])
def test_an_accepted_create_cannot_be_classified(http_status: int) -> None:
    """Classifying a success is a bug of the caller."""
    with pytest.raises(ValueError, match="is not an error"):
        classify_create(http_status, None)


@given(st.integers(300, 599), st.none() | st.integers(0, 99_999) | st.sampled_from(CODES))
def test_a_refused_create_is_never_classified_as_accepted(
    http_status: int, code: int | None
) -> None:
    """Classes of accepted messages are impossible for a refused create."""
    accepted = {
        FailureClass.DELIVERY_DELAYED,
        FailureClass.DELIVERY_FAILED,
        FailureClass.NO_RECEIPT,
    }

    assert classify_create(http_status, code) not in accepted


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, FailureClass.DELIVERY_FAILED),
        (99999, FailureClass.DELIVERY_FAILED),
        (30003, FailureClass.DELIVERY_DELAYED),
        (21611, FailureClass.DELIVERY_DELAYED),
        (21610, FailureClass.RECIPIENT_OPTED_OUT),
        (21612, FailureClass.SENDER_MISCONFIGURED),
        (30008, FailureClass.OUTCOME_UNKNOWN),
        (21910, FailureClass.REQUEST_REJECTED),
    ],
)
def test_a_failed_delivery_has_the_class_of_its_code(
    code: int | None, expected: FailureClass
) -> None:
    """The same table is used for messages that failed after Twilio accepted them."""
    assert expected is classify_delivery(code)


@given(st.none() | st.integers(0, 99_999) | st.sampled_from(CODES))
def test_a_failed_delivery_is_never_retryable(code: int | None) -> None:
    """The retry policy belongs to the send activity, which has ended when Twilio accepted."""
    assert classify_delivery(code) not in RETRYABLE


@given(st.none() | st.sampled_from(CODES))
def test_only_delayed_deliveries_are_submitted_again(code: int | None) -> None:
    """They are submitted again at most twice."""
    delayed = classify_delivery(code) is FailureClass.DELIVERY_DELAYED

    assert delayed is (resubmissions_for(code) > 0)
    assert resubmissions_for(code) <= 2


@pytest.mark.parametrize(
    ("code", "tries", "seconds"),
    [
        (20429, 2, 0),
        (21611, 2, 60),
        (63038, 2, 3600),
        (30003, 2, 14_400),
        (30027, 2, 43_200),
        (30450, 2, 3600),
        (63053, 2, 600),
        (30007, 0, 0),
    ],
)
def test_the_delay_depends_on_the_code(code: int, tries: int, seconds: int) -> None:
    """A full queue needs a minute, a handset that is off hours, a daily cap half a day."""
    assert (tries, seconds) == (resubmissions_for(code), delay_for(code))


@pytest.mark.parametrize("failure_class", FailureClass)
@pytest.mark.parametrize("code", [None, 99999])
def test_every_class_has_a_meaning_and_advice_for_unknown_codes(
    failure_class: FailureClass, code: int | None
) -> None:
    """Operators read what happened and what to do even if the code is new."""
    texts = {meaning_for(failure_class, code), advice_for(failure_class, code)}

    assert len(texts) == 2
    assert all(text.endswith(".") for text in texts)


def test_a_known_code_has_its_own_meaning_and_advice() -> None:
    """The advice names the relevant page of the Twilio Console."""
    misconfigured = FailureClass.SENDER_MISCONFIGURED

    assert "Geo permissions" in advice_for(misconfigured, 21408)
    assert "country" in meaning_for(misconfigured, 21408)


def test_advice_ignores_a_code_that_did_not_decide_the_class() -> None:
    """For a 5xx with code 21610, the advice must not say that an opt-out was recorded."""
    unknown = FailureClass.OUTCOME_UNKNOWN

    assert advice_for(unknown, None) == advice_for(unknown, 21610)
    assert meaning_for(unknown, None) == meaning_for(unknown, 21610)


@pytest.mark.parametrize("code", [21611, 30003])
def test_a_temporary_code_has_the_same_advice_before_and_after_acceptance(code: int) -> None:
    """In both cases the message has not been delivered yet."""
    advice = {
        advice_for(failure_class, code)
        for failure_class in (
            FailureClass.TEMPORARILY_UNAVAILABLE,
            FailureClass.DELIVERY_DELAYED,
        )
    }

    assert len(advice) == 1
