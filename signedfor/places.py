"""The places in which the owner of a phone number may be, by its digits alone.

A place is a country, such as `FR`, or a state or province, such as `US-FL`, by its ISO 3166 code.
Only numbers of country code 1 show the latter: `area_codes.csv` has their area codes. People take
numbers along when they move; the digits still decide.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping
from importlib import resources
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

NORTH_AMERICA: Final = "1"
# Country code 7 is shared. Kazakhstan's numbers are separate, so that its mobile numbers do not get
# Russia's zones.
KAZAKHSTAN: Final = "77"
REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()
} | {
    "7": ("RU",),
    KAZAKHSTAN: ("KZ",),
}
"""The countries that share each country code."""


def number_of(recipient: str) -> str:
    """The digits of a normalized recipient; empty if it is no number."""
    number = recipient.rpartition(":")[2]
    return number[1:] if number.startswith("+") else ""


def country_code(digits: str) -> str:
    """The country code with which the digits begin, one of `REGIONS`; empty if none is known."""
    return next((digits[:n] for n in (3, 2, 1) if digits[:n] in REGIONS), "")


def recipient_places(recipient: str) -> frozenset[str]:
    """The places of a normalized recipient; empty without a number, or if it has no country.

    A number of country code 1 without a known area code (toll-free, or newly assigned) may be in
    any place of that code.
    """
    digits = number_of(recipient)
    code = country_code(digits)
    if code == NORTH_AMERICA:
        return _AREAS.get(digits[1:4], _ANY_AREA)
    return frozenset(REGIONS.get(code, ()))


def _read_areas() -> Mapping[str, frozenset[str]]:
    found = defaultdict(set)
    table = resources.files("signedfor").joinpath("area_codes.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        for area_code in row["area_codes"].split():
            found[area_code].add(row["place"])
    return {area_code: frozenset(places) for area_code, places in found.items()}


_AREAS: Final = _read_areas()
_ANY_AREA: Final = frozenset[str]().union(*_AREAS.values())
COUNTRIES: Final = frozenset(
    place.partition("-")[0]
    for place in _ANY_AREA.union(*REGIONS.values())
    if place.isascii() and not place.isdigit()
)
"""The countries that a number can be in, by their codes."""
