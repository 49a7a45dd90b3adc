"""Numbers that are not sent to: premium-rate, satellite, truncated and similar ones; and countries.

`phonenumbers` classifies a number in a tenth of a millisecond. Checking only its patterns for these
ranges is a hundred times as fast, so the library is called for the few numbers that match.
"""

import re
from functools import cache
from typing import Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    REGION_CODE_FOR_NON_GEO_ENTITY,
    NumberParseException,
    PhoneMetadata,
    PhoneNumberDesc,
    PhoneNumberType,
    number_type,
    parse,
)

NO_COUNTRY: Final = "begins with an unassigned country code"
NON_GEOGRAPHIC: Final = "is a satellite number, or another one that belongs to no country"

_REFUSED: Final[dict[int, str]] = {
    PhoneNumberType.PREMIUM_RATE: "is a premium-rate number",
    PhoneNumberType.PERSONAL_NUMBER: "is a personal number, which forwards at a price of its own",
    PhoneNumberType.SHARED_COST: "is a shared-cost number, which accepts calls only",
    PhoneNumberType.UAN: "is a company's universal number, which accepts calls only",
    PhoneNumberType.VOICEMAIL: "is a voicemail access number",
}
_MAX_COUNTRY_CODE_DIGITS = 3
_NEVER = re.compile(r"(?!)")
_TEST_NUMBERS = re.compile(r"\+1500555[0-9]{4}")
"""Twilio's, for test credentials: their range is that of personal numbers."""


def range_problem(number: str) -> str | None:
    """Why `number` (E.164) is not sent to; None if no reason is known.

    A number need not be assigned or even valid, because the library's tables lag behind the
    operators'. But it must have a length used in its country: digits are easily lost or doubled.
    """
    code = _country_code(number[: 1 + _MAX_COUNTRY_CODE_DIGITS])
    if code is None:
        return NO_COUNTRY
    if _TEST_NUMBERS.fullmatch(number):
        return None
    begins = 1 + len(str(code))
    if REGION_CODE_FOR_NON_GEO_ENTITY in COUNTRY_CODE_TO_REGION_CODE[code]:
        return _refused_range(number) or NON_GEOGRAPHIC
    if _refused_patterns(code).fullmatch(number, begins) and (refused := _refused_range(number)):
        return refused
    length, lengths = len(number) - begins, _lengths(code)
    if length not in lengths:
        wanted = " or ".join(map(str, sorted(lengths)))
        return f"has {length} digits after its country code, where numbers have {wanted}"
    return None


def country_of(number: str) -> str | None:
    """The country or territory of `number` (E.164), as ISO 3166 names it: `US`, `JM`, `PR`.

    Where several share a country code, the number's range decides; a range that none of them uses
    counts as the main one's, such as the United States'. None: it belongs to no country.
    """
    code = _country_code(number[: 1 + _MAX_COUNTRY_CODE_DIGITS])
    if code is None:
        return None
    main, *others = COUNTRY_CODE_TO_REGION_CODE[code]
    if main == REGION_CODE_FOR_NON_GEO_ENTITY:
        return None
    if not others:
        return main
    begins = 1 + len(str(code))
    for region, pattern, is_prefix in _shared(code):
        match = pattern.match if is_prefix else pattern.fullmatch
        if match(number, begins):
            return region
    return main


def _refused_range(number: str) -> str | None:
    try:
        return _REFUSED.get(number_type(parse(number)))
    except NumberParseException:
        return None


@cache
def _country_code(start: str) -> int | None:
    for end in range(2, len(start) + 1):
        code = int(start[1:end])
        if code in COUNTRY_CODE_TO_REGION_CODE:
            return code
    return None


@cache
def _lengths(code: int) -> frozenset[int]:
    """How many digits follow the country code."""
    # The main region has all lengths of the others, except for a few universal numbers in Canada.
    return frozenset(
        length
        for metadata in _regions(code)[:1]
        if metadata.general_desc is not None
        for length in metadata.general_desc.possible_length
    )


@cache
def _refused_patterns(code: int) -> re.Pattern[str]:
    """The patterns of the national number in the refused ranges of a country code's regions."""
    patterns = [
        described.national_number_pattern
        for metadata in _regions(code)
        for described in (
            metadata.premium_rate,
            metadata.personal_number,
            metadata.shared_cost,
            metadata.uan,
            metadata.voicemail,
        )
        if described is not None and described.national_number_pattern
    ]
    return re.compile("|".join(patterns)) if patterns else _NEVER


@cache
def _shared(code: int) -> tuple[tuple[str, re.Pattern[str], bool], ...]:
    """How the library tells the regions of a country code apart, in its order.

    By the first digits of the national number, or by all ranges that the region uses.
    """
    return tuple(
        (str(metadata.id), re.compile(metadata.leading_digits), True)
        if metadata.leading_digits
        else (str(metadata.id), re.compile("|".join(_ranges(metadata))), False)
        for metadata in _regions(code)
    )


def _ranges(metadata: PhoneMetadata) -> list[str]:
    described: tuple[PhoneNumberDesc | None, ...] = (
        *(metadata.fixed_line, metadata.mobile, metadata.toll_free, metadata.premium_rate),
        *(metadata.shared_cost, metadata.voip, metadata.personal_number, metadata.pager),
        *(metadata.uan, metadata.voicemail),
    )
    return [
        each.national_number_pattern
        for each in described
        if each is not None and each.national_number_pattern
    ]


@cache
def _regions(code: int) -> tuple[PhoneMetadata, ...]:
    """The metadata of the country code's regions, the main one first."""
    found = [
        PhoneMetadata.metadata_for_nongeo_region(code, None)
        if region == REGION_CODE_FOR_NON_GEO_ENTITY
        else PhoneMetadata.metadata_for_region(region, None)
        for region in COUNTRY_CODE_TO_REGION_CODE[code]
    ]
    return tuple(each for each in found if each is not None)
