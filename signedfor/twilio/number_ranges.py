"""Numbers that a text message cannot be meant for: premium-rate ones, ones cut short, and the like.

`phonenumbers` knows them, at a tenth of a millisecond a number. Its patterns for these ranges alone
are looked at first, a hundred times as fast, and it is asked about the few that match.
"""

import re
from functools import cache
from typing import Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    REGION_CODE_FOR_NON_GEO_ENTITY,
    NumberParseException,
    PhoneMetadata,
    PhoneNumberType,
    number_type,
    parse,
)

NO_COUNTRY: Final = "begins with a country code that is assigned to nobody"

_REFUSED: Final[dict[int, str]] = {
    PhoneNumberType.PREMIUM_RATE: "is a premium-rate number",
    PhoneNumberType.SHARED_COST: "is a shared-cost number, which takes calls only",
    PhoneNumberType.UAN: "is a company's universal number, which takes calls only",
    PhoneNumberType.VOICEMAIL: "is a voicemail access number",
}
_LONGEST_COUNTRY_CODE = 3
_NOBODY = re.compile(r"(?!)")


def range_problem(number: str) -> str | None:
    """Why nobody can be meant by `number` (E.164); None where no reason is known.

    A number need not be assigned, or even valid: the library's tables are behind the operators'.
    But it must be as long as its country's numbers are: a digit is soon lost or typed twice.
    """
    code = _country_code(number[: 1 + _LONGEST_COUNTRY_CODE])
    if code is None:
        return NO_COUNTRY
    begins = 1 + len(str(code))
    if _suspects(code).fullmatch(number, begins) and (refused := _refused_range(number)):
        return refused
    length, lengths = len(number) - begins, _lengths(code)
    if length not in lengths:
        wanted = " or ".join(map(str, sorted(lengths)))
        return f"has {length} digits after its country code, where numbers have {wanted}"
    return None


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
    # The main region's numbers are as long as all others', but for a few universal ones in Canada.
    return frozenset(
        length
        for metadata in _regions(code)[:1]
        if metadata.general_desc is not None
        for length in metadata.general_desc.possible_length
    )


@cache
def _suspects(code: int) -> re.Pattern[str]:
    """What the national part looks like in the refused ranges of a country code's regions."""
    patterns = [
        described.national_number_pattern
        for metadata in _regions(code)
        for described in (
            metadata.premium_rate,
            metadata.shared_cost,
            metadata.uan,
            metadata.voicemail,
        )
        if described is not None and described.national_number_pattern
    ]
    return re.compile("|".join(patterns)) if patterns else _NOBODY


@cache
def _regions(code: int) -> tuple[PhoneMetadata, ...]:
    """What is known of the country code's regions, the main one first."""
    found = [
        PhoneMetadata.metadata_for_nongeo_region(code, None)
        if region == REGION_CODE_FOR_NON_GEO_ENTITY
        else PhoneMetadata.metadata_for_region(region, None)
        for region in COUNTRY_CODE_TO_REGION_CODE[code]
    ]
    return tuple(each for each in found if each is not None)
