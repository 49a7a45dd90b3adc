import pickle
import re
from collections.abc import Callable, Iterator

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, PhoneNumberFormat

from signedfor.twilio.phone import (
    AddressFault,
    InvalidAddress,
    has_trunk_prefix,
    is_messaging_service,
    normalize_recipient,
    normalize_sender,
)

SERVICE = "MG0123456789abcdefABCDEF0123456789"

RECIPIENT = re.compile(
    r"(?:whatsapp:|rcs:)?\+[1-9][0-9]{6,14}|messenger:[A-Za-z0-9][A-Za-z0-9_.@-]*"
    r"|whatsapp:[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]+"
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
    "+39 06 1234 5678": "+390612345678",  # in Italy the zero belongs to the number
    "+225 07 12 34 56 78": "+2250712345678",  # as in Ivory Coast
    "+7 800 555 35 35": "+78005553535",  # starts with the trunk prefix of Russia
    "+52 1 55 1234 5678": "+5215512345678",  # WhatsApp's spelling of a Mexican mobile
    "+690 7290": "+6907290",
    "+123456789012345": "+123456789012345",
}

FAULTY_NUMBERS = {
    "": AddressFault.EMPTY,
    " \t": AddressFault.EMPTY,
    "+" + "1 " * 64: AddressFault.TOO_LONG,
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
def test_a_complete_number_is_normalized_to_e164(
    normalize: Callable[[str], str], written: str, expected: str
) -> None:
    """Separators, full-width and other digits do not matter."""
    assert expected == normalize(written)


@pytest.mark.parametrize(("written", "expected"), FAULTY_NUMBERS.items(), ids=ascii)
def test_a_bad_recipient_is_refused(written: str, expected: AddressFault) -> None:
    """The error names what is wrong."""
    assert expected == _fault(normalize_recipient, written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("whatsapp:+15558675309", "whatsapp:+15558675309"),
        ("WhatsApp:+1 (555) 867-5309", "whatsapp:+15558675309"),
        ("rcs:+15558675309", "rcs:+15558675309"),
        ("messenger:1254459154682919", "messenger:1254459154682919"),
        ("Messenger:user.Name_1", "messenger:user.Name_1"),
        ("WhatsApp:US.13491208655302741918", "whatsapp:US.13491208655302741918"),
        ("whatsapp:US.ENT.11815799212886844830", "whatsapp:US.ENT.11815799212886844830"),
        ("whatsapp:BR." + "aZ9" * 38, "whatsapp:BR." + "aZ9" * 38),
    ],
)
def test_a_channel_recipient_is_normalized(written: str, expected: str) -> None:
    """The channel's name is in lower case and its number in E.164; a user id stays as it is."""
    assert expected == normalize_recipient(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("whatsapp:15558675309", AddressFault.NO_PLUS),
        ("whatsapp: +15558675309", AddressFault.NO_PLUS),
        ("whatsapp:+4407911123456", AddressFault.NATIONAL_PREFIX),
        ("whatsapp:", AddressFault.NO_PLUS),
        ("whatsapp:whatsapp:+15558675309", AddressFault.LETTER),
        ("whatsapp:US.", AddressFault.LETTER),
        ("whatsapp:us.13491208655302741918", AddressFault.LETTER),
        ("whatsapp:US.1349_1208", AddressFault.LETTER),
        ("rcs:US.13491208655302741918", AddressFault.LETTER),
        ("US.13491208655302741918", AddressFault.LETTER),
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
def test_a_recipient_is_a_number_or_channel_address(written: str, expected: AddressFault) -> None:
    """Other addresses, such as those that only a sender can have, are refused."""
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
def test_a_sender_is_normalized(written: str, expected: str) -> None:
    """This holds for every kind of sender that Twilio accepts."""
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
        ("whatsapp:US.13491208655302741918", AddressFault.LETTER),
        ("rcs:", AddressFault.CHANNEL_USER),
        ("tel:+15558675309", AddressFault.TEL_URI),
    ],
)
def test_a_bad_sender_is_refused(written: str, expected: AddressFault) -> None:
    """The error names what is wrong."""
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
def test_a_messaging_service_is_recognized(sender: str, expected: bool) -> None:
    """It is MG and 32 hexadecimal digits."""
    assert expected is is_messaging_service(sender)


def test_the_error_can_be_pickled() -> None:
    """Its message survives."""
    error = InvalidAddress(AddressFault.NO_PLUS)

    assert str(error) == str(pickle.loads(pickle.dumps(error)))  # noqa: S301 - pickled one line up


# Texts like those in real address fields, so that examples pass the first check.
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
def test_normalizing_is_idempotent(
    normalize: Callable[[str], str], shape: re.Pattern[str], raw: str
) -> None:
    """Any text either becomes an address that does not change again, or raises InvalidAddress."""
    try:
        address = normalize(raw)
    except InvalidAddress:
        return

    assert shape.fullmatch(address)
    assert address == normalize(address)


@pytest.mark.parametrize("normalize", [normalize_recipient, normalize_sender])
@given(raw=st.one_of(_written, _plausible))
def test_an_error_never_repeats_the_address(normalize: Callable[[str], str], raw: str) -> None:
    """It is one of the fixed texts and has no cause that could contain the address."""
    error = _refusal(normalize, raw)

    assert error is None or str(error) in {fault.value for fault in AddressFault}
    assert error is None or error.__cause__ is error.__context__ is None


def test_no_fault_contains_a_number() -> None:
    """The fixed texts contain nothing that looks like a phone number."""
    assert not [fault for fault in AddressFault if re.search(r"[0-9]{3}", fault.value)]


def _outcome(raw: str) -> str:
    try:
        return normalize_recipient(raw)
    except InvalidAddress as error:
        return error.fault.name


@given(st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True), st.data())
@example("4407911123456", None)
def test_separators_do_not_change_the_result(digits: str, data: st.DataObject | None) -> None:
    """A number with separators has the same digits, or the same fault, as without."""
    separators = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2013", " - "])
    between = [" " if data is None else data.draw(separators) for _ in digits[1:]]
    written = "+" + digits[0] + "".join(map("".join, zip(between, digits[1:], strict=True)))

    assert _outcome(written) == _outcome(f"+{digits}")
    assert _outcome(f"+{digits}") in {f"+{digits}", "NATIONAL_PREFIX"}


_KINDS = (
    *("mobile", "fixed_line", "toll_free", "premium_rate", "shared_cost", "uan", "voicemail"),
    *("pager", "voip", "personal_number"),
)


def _regions() -> Iterator[tuple[int, PhoneMetadata]]:
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            metadata = (
                PhoneMetadata.metadata_for_nongeo_region(code, None)
                if region == "001"
                else PhoneMetadata.metadata_for_region(region, None)
            )
            assert metadata is not None
            yield code, metadata


def _numbers() -> Iterator[tuple[int, str, str]]:
    """Country code, trunk prefix and national number of an example of each kind in each region."""
    for code, metadata in _regions():
        for kind in _KINDS:
            described = getattr(metadata, kind)
            if described and described.example_number:
                yield code, metadata.national_prefix or "", described.example_number


def _parsed(number: str) -> str:
    return phonenumbers.format_number(phonenumbers.parse(number), PhoneNumberFormat.E164)


def test_no_international_number_has_a_trunk_prefix() -> None:
    """An example number of `phonenumbers` is never taken for one with a trunk prefix."""
    numbers = [f"+{code}{national}" for code, _, national in _numbers() if len(national) > 4]

    assert 1000 < len(numbers)
    assert [] == [number for number in numbers if has_trunk_prefix(number)]


def test_a_trunk_prefix_that_the_library_removes_is_detected() -> None:
    """Otherwise the same number could be written in two ways."""
    with_prefix = {
        f"+{code}{prefix}{national}": f"+{code}{national}"
        for code, prefix, national in _numbers()
        if prefix
    }
    removed = [written for written, number in with_prefix.items() if _parsed(written) == number]

    assert 500 < len(removed)
    assert [] == [written for written in removed if not has_trunk_prefix(written)]


@pytest.mark.parametrize(
    ("written", "has_prefix"),
    [
        ("+4407911123456", True),
        ("+447911123456", False),
        ("+115558675309", True),
        ("+1155586753", False),
        ("+541115234567", False),
        ("+5411152345678", False),
        ("+54111523456789", True),
        ("+5491123456789", False),
        ("+541123456789", False),
        ("+390612345678", False),
        ("+2250712345678", False),
        ("+24106031234", False),
        ("+241011123456", True),
        ("+25006123456", False),
        ("+2500788123456", True),
        ("+810077123456", False),
        ("+37086123456", False),
        ("+370861234567", True),
        ("+3758011234567", False),
        ("+375802912345678", False),
        ("+37580291234567", True),
        ("+3758291234567", True),
    ],
)
def test_a_trunk_prefix_is_detected(written: str, has_prefix: bool) -> None:
    """There is an example for each kind of rule."""
    assert has_prefix is has_trunk_prefix(written)
