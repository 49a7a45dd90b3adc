"""Ranges of numbers that a text message cannot be meant for: premium-rate numbers and the like.

`phonenumbers` knows them, at a tenth of a millisecond a number. Its patterns for these ranges alone
are looked at first, a hundred times as fast, and it is asked about the few that match.
"""

import re
from collections.abc import Iterator
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
    """
    country_code = _country_code(number)
    if country_code is None:
        return NO_COUNTRY
    if not _suspects(country_code).fullmatch(number, 1 + len(str(country_code))):
        return None
    try:
        return _REFUSED.get(number_type(parse(number)))
    except NumberParseException:
        return None


def _country_code(number: str) -> int | None:
    for end in range(2, 2 + _LONGEST_COUNTRY_CODE):
        code = int(number[1:end])
        if code in COUNTRY_CODE_TO_REGION_CODE:
            return code
    return None


@cache
def _suspects(country_code: int) -> re.Pattern[str]:
    """What the national part looks like in the refused ranges of a country code's regions."""
    patterns = [
        described.national_number_pattern
        for metadata in _metadata(country_code)
        for described in (
            metadata.premium_rate,
            metadata.shared_cost,
            metadata.uan,
            metadata.voicemail,
        )
        if described is not None and described.national_number_pattern
    ]
    return re.compile("|".join(patterns)) if patterns else _NOBODY


def _metadata(country_code: int) -> Iterator[PhoneMetadata]:
    for region in COUNTRY_CODE_TO_REGION_CODE[country_code]:
        if region == REGION_CODE_FOR_NON_GEO_ENTITY:
            found = PhoneMetadata.metadata_for_nongeo_region(country_code, None)
        else:
            found = PhoneMetadata.metadata_for_region(region, None)
        if found is not None:
            yield found
