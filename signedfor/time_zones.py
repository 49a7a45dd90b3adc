"""The time zones in which the owner of a phone number may be, by its digits alone.

A country's zones are those in tzdata's `zone.tab`, and `phonenumbers` has the zones of area codes.
Its zones of whole countries are not used: they include foreign zones whose time was once the same,
such as Paris for Algeria and the Canaries for Morocco.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from zoneinfo import ZoneInfo

from phonenumbers import PhoneMetadata
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

from signedfor.places import KAZAKHSTAN, NORTH_AMERICA, REGIONS, country_code, number_of

_TZDATA = resources.files("tzdata")

TIME_ZONES = frozenset(_TZDATA.joinpath("zones").read_text().split())
"""Every IANA name; the same on all machines, unlike the system's own zone data."""

# Mobile numbers in Mexico and Brazil have an area code. According to the library also in Indonesia,
# but there only a few fixed wireless numbers have one.
_WITH_LOCAL_MOBILES = {"52", "55"}

# In `zone.tab`, but not in use on phones: China has Beijing's time by law, Ukraine's operators do
# not serve the Crimea, and Danmarkshavn is a weather station.
_IGNORED_ZONES = {"Asia/Urumqi", "Europe/Simferopol", "America/Danmarkshavn"}

# The table has Bucharest for both Kaliningrad, which has no daylight saving time, and Abkhazia,
# which has Moscow's time.
_AREAS = TIMEZONE_DATA | {"740": ("Europe/Kaliningrad",), "7840": ("Europe/Moscow",)}

# Area codes that lie over an older one, for which the table has fewer zones or the wrong one.
_OVERLAYS = {
    "236": "250", "257": "250", "672": "250", "778": "250",  # British Columbia
    "364": "270",  # Kentucky
    "367": "418", "581": "418",  # Quebec
    "448": "850",  # Florida
    "458": "541",  # Oregon
    "474": "306",  # Saskatchewan
    "689": "407",  # Florida: not Chicago's, which the table has
    "879": "709",  # Newfoundland
    "930": "812",  # Indiana
}  # fmt: skip


@functools.cache
def zone(name: str) -> ZoneInfo:
    """The time zone of this name, one of `TIME_ZONES`.

    Always from the package tzdata; `ZoneInfo(name)` would prefer the system's own zone data. The
    result cannot be pickled, which we do not need.
    """
    with _TZDATA.joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def recipient_zones(recipient: str) -> tuple[str, ...]:
    """The zones of a normalized recipient; empty without a number, or if it belongs to no country.

    A number without a known area code (most countries' mobile numbers, toll-free numbers, new
    ranges) has all zones of its country.
    """
    digits = number_of(recipient)
    country = country_code(digits)
    if country == NORTH_AMERICA:
        return _area_zones(digits[1:4]) or _ZONES[country]
    if country in _WITH_AREAS and _has_area_code(country, digits):
        for length in range(TIMEZONE_LONGEST_PREFIX, len(country), -1):
            if zones := _AREAS.get(digits[:length]):
                return zones
    return _ZONES.get(country, ())


@functools.cache
def _area_zones(area_code: str) -> tuple[str, ...]:
    """All zones of an area code of North America; empty if it is not in the table.

    Every number there has one, mobile numbers included. The table has single exchanges as well, but
    not all of them, and people take a number along to another exchange: they do not count.
    """
    areas = {area_code, _OVERLAYS.get(area_code, area_code)}
    zones = {
        name
        for prefix, names in _AREAS.items()
        if len(prefix) > len(area_code) and prefix[0] == NORTH_AMERICA and prefix[1:4] in areas
        for name in names
    }
    return tuple(sorted(zones))


def _has_area_code(country: str, digits: str) -> bool:
    national = digits[1:] if country == KAZAKHSTAN else digits[len(country) :]
    landline, mobile = _kinds(country)
    if country in _WITH_LOCAL_MOBILES:
        return bool(landline.fullmatch(national) or mobile.fullmatch(national))
    return bool(landline.fullmatch(national)) and not mobile.fullmatch(national)


@functools.cache
def _kinds(country: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The patterns of the country's landline and mobile numbers; they may overlap.

    The library's own classification, which checks every kind of number, takes ten times as long.
    """
    known = [PhoneMetadata.metadata_for_region(region) for region in REGIONS[country]]
    kinds = [[each.fixed_line, each.mobile] for each in known if each is not None]
    landline, mobile = (
        "|".join(kind.national_number_pattern for kind in of_regions if kind is not None)
        for of_regions in zip(*kinds, strict=True)
    )
    return re.compile(landline, re.ASCII), re.compile(mobile, re.ASCII)


def _countries() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each country code and its zones, which tzdata lists by region."""
    of_region = defaultdict(list)
    for line in _TZDATA.joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            region, _, name, *_ = line.split("\t")
            if name not in _IGNORED_ZONES:
                of_region[region].append(name)
    for code, regions in REGIONS.items():
        zones = tuple(name for region in regions for name in of_region[region])
        # `zone.tab` lacks Kosovo and Ascension; satellite codes belong to no country.
        yield code, zones or TIMEZONE_DATA.get(code, ())


_ZONES = dict(_countries())
_WITH_AREAS = {
    code
    for code, zones in _ZONES.items()
    if len(zones) > 1 and any(area != code and area.startswith(code) for area in _AREAS)
}
