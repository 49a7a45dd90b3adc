import pickle
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signedfor.twilio.phone import (
    AddressFault,
    InvalidAddress,
    is_messaging_service,
    normalize_recipient,
    normalize_sender,
)

SERVICE = "MG0123456789abcdefABCDEF0123456789"

RECIPIENT = re.compile(
    r"(?:whatsapp:|rcs:)?\+[1-9][0-9]{6,14}|messenger:[A-Za-z0-9][A-Za-z0-9_.@-]*"
)
SENDER = re.compile(
    r"(?:whatsapp:)?\+[1-9][0-9]{6,14}|(?:rcs|messenger):[A-Za-z0-9][A-Za-z0-9_.@-]*"
    r"|[0-9]{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}"
)

WRITTEN_NUMBERS = {
    "+15558675309": "+15558675309",
    "+1 555 867 5309": "+15558675309",
    "+1 (555) 867-5309": "+15558675309",
    "+1(555)8675309": "+15558675309",
    "+1.555.867.5309": "+15558675309",
    "+1\u00a0555\u202f867\u20115309": "+15558675309",
    "+1\u2009555\u2009867\u20135309": "+15558675309",
    "+1 -- 555 . 867 5309": "+15558675309",
    "＋１５５５８６７５３０９": "+15558675309",  # noqa: RUF001 - full-width on purpose
    "＋１（５５５）８６７－５３０９": "+15558675309",  # noqa: RUF001 - full-width on purpose
    "+٤٩١٥١٢٣٤٥٦٧٨٩": "+4915123456789",
    "+१५५५८६७५३०९": "+15558675309",
    "  +15558675309\r\n": "+15558675309",
    "\u00a0+15558675309\t": "+15558675309",
    "+39 06 1234 5678": "+390612345678",  # Italy dials its zero from abroad as well
    "+225 07 12 34 56 78": "+2250712345678",  # so does Ivory Coast
    "+7 800 555 35 35": "+78005553535",  # begins as a call within Russia does
    "+52 1 55 1234 5678": "+5215512345678",  # WhatsApp's spelling of a Mexican mobile
    "+690 7290": "+6907290",
    "+123456789012345": "+123456789012345",
}

FAULTY_NUMBERS = {
    "": AddressFault.EMPTY,
    " \t": AddressFault.EMPTY,
    "+" + "1 " * 40: AddressFault.TOO_LONG,
    "5558675309": AddressFault.NO_PLUS,
    "0015558675309": AddressFault.NO_PLUS,
    "(555) 867-5309": AddressFault.NO_PLUS,
    "+": AddressFault.NO_DIGIT_AFTER_PLUS,
    "+ 15558675309": AddressFault.NO_DIGIT_AFTER_PLUS,
    "+(1)5558675309": AddressFault.NO_DIGIT_AFTER_PLUS,
    "+05558675309": AddressFault.LEADING_ZERO,
    "+155586": AddressFault.TOO_SHORT,
    "+1234567890123456": AddressFault.TOO_MANY_DIGITS,
    "+44 (0)20 7183 8750": AddressFault.TRUNK_PREFIX,
    "+44 (020) 7183 8750": AddressFault.TRUNK_PREFIX,
    "+44( 0 )2071838750": AddressFault.TRUNK_PREFIX,
    "+44（０）2071838750": AddressFault.TRUNK_PREFIX,  # noqa: RUF001 - full-width on purpose
    "+44 07911 123456": AddressFault.NATIONAL_PREFIX,
    "+4407911123456": AddressFault.NATIONAL_PREFIX,
    "+115558675309": AddressFault.NATIONAL_PREFIX,
    "+49 0151 12345678": AddressFault.NATIONAL_PREFIX,
    "+33 06 12 34 56 78": AddressFault.NATIONAL_PREFIX,
    "+61 0412 345 678": AddressFault.NATIONAL_PREFIX,
    "+55 011 91234-5678": AddressFault.NATIONAL_PREFIX,
    "+7 8 912 345 67 89": AddressFault.NATIONAL_PREFIX,
    "+36 06 20 123 4567": AddressFault.NATIONAL_PREFIX,
    "+54 11 15 2345-6789": AddressFault.NATIONAL_PREFIX,
    "+1 (555 867-5309": AddressFault.PARENTHESES,
    "+1 555) 867-5309": AddressFault.PARENTHESES,
    "+1 ((555)) 8675309": AddressFault.PARENTHESES,
    "+1 () 5558675309": AddressFault.PARENTHESES,
    "+15558675309, +15558675310": AddressFault.SEVERAL,
    "+15558675309;+15558675310": AddressFault.SEVERAL,
    "+15558675309/10": AddressFault.SEVERAL,
    "+15558675309+15558675310": AddressFault.SEVERAL,
    "++15558675309": AddressFault.SEVERAL,
    "+15558675309 x12": AddressFault.LETTER,
    "+15558675309 ext. 12": AddressFault.LETTER,
    "+1800FLOWERS": AddressFault.LETTER,
    "+1555867530O": AddressFault.LETTER,
    "\u202a+15558675309\u202c": AddressFault.INVISIBLE,
    "+1\u200b5558675309": AddressFault.INVISIBLE,
    "+1555\u200e8675309": AddressFault.INVISIBLE,
    "+1555\n8675309": AddressFault.INVISIBLE,
    "+1555\x008675309": AddressFault.INVISIBLE,
    "+1555\ud8008675309": AddressFault.INVISIBLE,
    "+1555867530²": AddressFault.NOT_A_DIGIT,
    "+1555867530⑨": AddressFault.NOT_A_DIGIT,
    "+1555867530Ⅸ": AddressFault.NOT_A_DIGIT,
    "+1555#8675309": AddressFault.NOT_A_DIGIT,
    "+15558675309-": AddressFault.STRAY_SEPARATOR,
    "+1 555 (": AddressFault.PARENTHESES,
    "tel:+15558675309": AddressFault.TEL_URI,
    "sip:+15558675309": AddressFault.UNKNOWN_CHANNEL,
}


def _refusal(normalize: Callable[[str], str], raw: str) -> InvalidAddress | None:
    try:
        normalize(raw)
    except InvalidAddress as error:
        return error
    return None


def _fault(normalize: Callable[[str], str], raw: str) -> AddressFault:
    with pytest.raises(InvalidAddress) as caught:
        normalize(raw)
    return caught.value.fault


@pytest.mark.parametrize("normalize", [normalize_recipient, normalize_sender])
@pytest.mark.parametrize(("written", "expected"), WRITTEN_NUMBERS.items(), ids=ascii)
def test_a_written_number_has_one_spelling(
    normalize: Callable[[str], str], written: str, expected: str
) -> None:
    """However a complete international number is written, one E.164 string comes out."""
    assert expected == normalize(written)


@pytest.mark.parametrize(("written", "expected"), FAULTY_NUMBERS.items(), ids=ascii)
def test_a_faulty_recipient_is_refused_for_its_fault(written: str, expected: AddressFault) -> None:
    """What is no complete, visible, single number is refused, and the fault is named."""
    assert expected == _fault(normalize_recipient, written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("whatsapp:+15558675309", "whatsapp:+15558675309"),
        ("WhatsApp:+1 (555) 867-5309", "whatsapp:+15558675309"),
        ("rcs:+15558675309", "rcs:+15558675309"),
        ("messenger:1254459154682919", "messenger:1254459154682919"),
        ("Messenger:user.Name_1", "messenger:user.Name_1"),
    ],
)
def test_a_channel_recipient_has_one_spelling(written: str, expected: str) -> None:
    """Channel names are lower case and the number behind one is E.164."""
    assert expected == normalize_recipient(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("whatsapp:15558675309", AddressFault.NO_PLUS),
        ("whatsapp: +15558675309", AddressFault.NO_PLUS),
        ("whatsapp:+4407911123456", AddressFault.NATIONAL_PREFIX),
        ("whatsapp:", AddressFault.NO_PLUS),
        ("whatsapp:whatsapp:+15558675309", AddressFault.LETTER),
        ("rcs:brand_agent", AddressFault.LETTER),
        ("messenger:", AddressFault.CHANNEL_USER),
        ("messenger:two words", AddressFault.CHANNEL_USER),
        ("messenger:-", AddressFault.CHANNEL_USER),
        ("telegram:+15558675309", AddressFault.UNKNOWN_CHANNEL),
        ("Acme", AddressFault.LETTER),
        ("12345", AddressFault.NO_PLUS),
        (SERVICE, AddressFault.LETTER),
    ],
)
def test_what_only_a_sender_may_be_is_no_recipient(written: str, expected: AddressFault) -> None:
    """A recipient is a number or a channel address, nothing else."""
    assert expected == _fault(normalize_recipient, written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("123", "123"),
        ("12345678", "12345678"),
        ("１２３４５", "12345"),  # noqa: RUF001 - full-width on purpose
        ("Acme", "Acme"),
        (" Acme Co 24 ", "Acme Co 24"),
        ("A+B&C_D-E", "A+B&C_D-E"),
        ("MG", "MG"),
        (SERVICE, SERVICE),
        ("whatsapp:+1 555 867 5309", "whatsapp:+15558675309"),
        ("RCS:acme_x1_agent", "rcs:acme_x1_agent"),
        ("messenger:1089234", "messenger:1089234"),
    ],
)
def test_a_sender_has_one_spelling(written: str, expected: str) -> None:
    """Every kind of sender that Twilio takes is kept in one spelling."""
    assert expected == normalize_sender(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", AddressFault.EMPTY),
        ("12", AddressFault.SHORT_CODE),
        ("5558675309", AddressFault.SHORT_CODE),
        ("+12345", AddressFault.TOO_SHORT),
        ("+115005550006", AddressFault.NATIONAL_PREFIX),
        ("+Acme", AddressFault.LETTER),
        ("1-2-3", AddressFault.ALPHANUMERIC),
        ("Twelve Chars", AddressFault.ALPHANUMERIC),
        ("Café", AddressFault.ALPHANUMERIC),
        ("Acme!", AddressFault.ALPHANUMERIC),
        ("Ac\nme", AddressFault.ALPHANUMERIC),
        ("MG0123456789", AddressFault.MESSAGING_SERVICE),
        (SERVICE[:-1] + "g", AddressFault.MESSAGING_SERVICE),
        (SERVICE + "0", AddressFault.MESSAGING_SERVICE),
        ("whatsapp:Acme", AddressFault.LETTER),
        ("rcs:", AddressFault.CHANNEL_USER),
        ("tel:+15558675309", AddressFault.TEL_URI),
    ],
)
def test_a_faulty_sender_is_refused_for_its_fault(written: str, expected: AddressFault) -> None:
    """What is none of Twilio's kinds of sender is refused, and the fault is named."""
    assert expected == _fault(normalize_sender, written)


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (SERVICE, True),
        ("MG", False),
        (SERVICE + "\n", False),
        ("+15558675309", False),
        ("whatsapp:+15558675309", False),
    ],
)
def test_a_messaging_service_is_told_apart(sender: str, expected: bool) -> None:
    """Only MG and 32 hexadecimal digits is a Messaging Service."""
    assert expected is is_messaging_service(sender)


def test_the_error_survives_a_process_border() -> None:
    """An InvalidAddress that is pickled and read again says the same."""
    error = InvalidAddress(AddressFault.NO_PLUS)

    assert str(error) == str(pickle.loads(pickle.dumps(error)))  # noqa: S301 - pickled one line up


# What people and machines really put into such fields, so that examples get past the first check.
_written = st.text(
    alphabet=st.one_of(
        st.sampled_from("+0123456789 -.()whatsp:rcMGe_&\u00a0\u202a²⑨"),
        st.characters(categories=["Nd"]),
        st.characters(),
    ),
    max_size=70,
)
_plausible = st.from_regex(r"[+＋](?:[0-9][ .()-]?){5,17}", fullmatch=True)  # noqa: RUF001 - full-width on purpose


@pytest.mark.parametrize(
    ("normalize", "shape"), [(normalize_recipient, RECIPIENT), (normalize_sender, SENDER)]
)
@given(raw=st.one_of(st.text(max_size=70), _written, _plausible))
@example(raw="+1\u0665558675309")
def test_any_text_has_a_stable_spelling_or_a_fault(
    normalize: Callable[[str], str], shape: re.Pattern[str], raw: str
) -> None:
    """Any text either becomes an address that stays itself, or raises InvalidAddress."""
    try:
        address = normalize(raw)
    except InvalidAddress:
        return

    assert shape.fullmatch(address)
    assert address == normalize(address)


@pytest.mark.parametrize("normalize", [normalize_recipient, normalize_sender])
@given(raw=st.one_of(_written, _plausible))
def test_an_error_never_repeats_the_address(normalize: Callable[[str], str], raw: str) -> None:
    """An error is one of the fixed texts, has no cause that could hold more, and no long number."""
    error = _refusal(normalize, raw)

    assert error is None or str(error) in {fault.value for fault in AddressFault}
    assert error is None or error.__cause__ is error.__context__ is None


def test_no_fault_holds_a_number_that_could_be_mistaken_for_an_address() -> None:
    """The fixed texts themselves are free of phone numbers."""
    assert not [fault for fault in AddressFault if re.search(r"[0-9]{3}", fault.value)]


def _outcome(raw: str) -> str:
    try:
        return normalize_recipient(raw)
    except InvalidAddress as error:
        return error.fault.name


@given(st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True), st.data())
@example("4407911123456", None)
def test_separators_never_change_the_number(digits: str, data: st.DataObject | None) -> None:
    """Separators between the digits of a number leave its digits, or its fault, alone."""
    separators = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2013", " - "])
    between = [" " if data is None else data.draw(separators) for _ in digits[1:]]
    written = "+" + digits[0] + "".join(map("".join, zip(between, digits[1:], strict=True)))

    assert _outcome(written) == _outcome(f"+{digits}")
    assert _outcome(f"+{digits}") in {f"+{digits}", "NATIONAL_PREFIX"}
