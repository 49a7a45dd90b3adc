"""The time zones in which the holder of a number may be, from its digits alone."""

import functools
from collections import defaultdict
from importlib import resources
from zoneinfo import ZoneInfo

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    PhoneMetadata,
    PhoneNumberType,
    is_number_type_geographical,
    number_type,
    parse,
)
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX
from temporalio import workflow

TIME_ZONES = frozenset(resources.files("tzdata").joinpath("zones").read_text().split())
"""Every IANA name. The same on all machines, unlike what a system's folder holds."""

# Seven is shared; Kazakhstan's part of it is apart, so its mobiles need not heed Kamchatka.
_KAZAKHSTAN = "77"
_COUNTRIES = {str(code) for code in COUNTRY_CODE_TO_REGION_CODE} | {_KAZAKHSTAN}
# All numbers of +1 have an area code, mobiles too, and the table knows it.
_NORTH_AMERICA = "1"
# The library takes Indonesia's mobiles for local ones, which only a few fixed wireless ones are,
# and its table puts them all in Jakarta.
_INDONESIA = 62


@functools.cache
def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name."""
    # Kept, because ZoneInfo itself keeps the last eight only. Where the system has no folder of
    # rules they come from a package, whose import in a workflow must not go to its sandbox.
    with workflow.unsafe.imports_passed_through():
        return ZoneInfo(name)


@functools.lru_cache(maxsize=4096)
def recipient_zones(recipient: str) -> tuple[str, ...]:
    """The zones of a normalised recipient; none when it has no number or one of no country.

    A number without an area code (most countries' mobiles, toll-free ones, ranges that are too
    new for the table) has all zones of its country.
    """
    number = recipient.rpartition(":")[2]
    if not number.startswith("+"):
        return ()
    digits = number[1:]
    country = _country(digits)
    if country in _WITH_SEVERAL_ZONES and not _has_area_code(number):
        return TIMEZONE_DATA[country]
    for length in range(TIMEZONE_LONGEST_PREFIX, 0, -1):
        if zones := TIMEZONE_DATA.get(digits[:length]):
            return zones
    return ()


def _country(digits: str) -> str:
    return next((digits[:n] for n in (3, 2, 1) if digits[:n] in _COUNTRIES), "")


def _has_area_code(number: str) -> bool:
    try:
        parsed = parse(number)
    except NumberParseException:
        return False
    kind, code = number_type(parsed), int(parsed.country_code or 0)
    if code == _INDONESIA and kind == PhoneNumberType.MOBILE:
        return False
    return is_number_type_geographical(kind, code)


def _countries_with_several_zones() -> frozenset[str]:
    answers: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for prefix, zones in TIMEZONE_DATA.items():
        answers[_country(prefix)].add(zones)
    several = {country for country, found in answers.items() if len(found) > 1}
    return frozenset(several - {_NORTH_AMERICA})


_WITH_SEVERAL_ZONES = _countries_with_several_zones()
# phonenumbers imports what it knows of a region at first use: that must not be in a workflow.
for _code in _WITH_SEVERAL_ZONES - {_KAZAKHSTAN}:
    for _region in COUNTRY_CODE_TO_REGION_CODE[int(_code)]:
        PhoneMetadata.metadata_for_region(_region)
