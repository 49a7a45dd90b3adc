"""The time zones in which the holder of a number may be, from its digits alone.

A country's zones are those of tzdata's `zone.tab`, which comes with the rules themselves.
`phonenumbers` knows in which of them an area code lies; its zones of a country as a whole are not
used, because it takes a foreign clock where that was the same once: Paris for Algeria, the Canaries
for Morocco.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from zoneinfo import ZoneInfo

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

_TZDATA = resources.files("tzdata")

TIME_ZONES = frozenset(_TZDATA.joinpath("zones").read_text().split())
"""Every IANA name. The same on all machines, unlike what a system's folder holds."""

# All numbers of +1 have an area code, mobiles too, and the table knows all that are assigned.
_NORTH_AMERICA = "1"
# Mexico's and Brazil's mobiles have one as well. The library says so of Indonesia's too, which is
# true of a few fixed wireless ones only.
_WITH_LOCAL_MOBILES = {"52", "55"}
# Seven is shared; Kazakhstan's part of it is apart, so its mobiles need not heed Kamchatka.
_KAZAKHSTAN = "77"
_REGIONS = {str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()} | {
    "7": ("RU",),
    _KAZAKHSTAN: ("KZ",),
}

# In `zone.tab`, and on nobody's phone there: all of China has Beijing's time by law, Ukraine's
# operators do not serve the Crimea, and Danmarkshavn is a weather station.
_NOT_HEEDED = {"Asia/Urumqi", "Europe/Simferopol", "America/Danmarkshavn"}

# The table has Bucharest for Kaliningrad, whose clock is not set, and for Abkhazia, which goes by
# Moscow.
_AREAS = TIMEZONE_DATA | {"740": ("Europe/Kaliningrad",), "7840": ("Europe/Moscow",)}


@functools.cache
def zone(name: str) -> ZoneInfo:
    """The time zone of this name, one of `TIME_ZONES`.

    From the package alone: `ZoneInfo(name)` prefers the rules that the machine happens to have.
    Unlike such a one it cannot be pickled; nothing of ours does.
    """
    with _TZDATA.joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def recipient_zones(recipient: str) -> tuple[str, ...]:
    """The zones of a normalised recipient; none when it has no number or one of no country.

    A number without an area code (most countries' mobiles, toll-free ones, ranges that are too
    new for the table) has all zones of its country.
    """
    number = recipient.rpartition(":")[2]
    if not number.startswith("+"):
        return ()
    digits = number[1:]
    country = next((digits[:n] for n in (3, 2, 1) if digits[:n] in _REGIONS), "")
    if country in _WITH_AREAS and _has_area_code(country, digits):
        for length in range(TIMEZONE_LONGEST_PREFIX, len(country), -1):
            if zones := _AREAS.get(digits[:length]):
                return zones
    return _ZONES.get(country, ())


def _has_area_code(country: str, digits: str) -> bool:
    if country == _NORTH_AMERICA:
        return True
    national = digits[1:] if country == _KAZAKHSTAN else digits[len(country) :]
    landline, mobile = _kinds(country)
    if country in _WITH_LOCAL_MOBILES:
        return bool(landline.fullmatch(national) or mobile.fullmatch(national))
    return bool(landline.fullmatch(national)) and not mobile.fullmatch(national)


@functools.cache
def _kinds(country: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What the country's landlines and mobiles look like, without its code; they may be alike.

    The library's own answer, which looks at every kind of number, takes ten times as long.
    """
    known = [PhoneMetadata.metadata_for_region(region) for region in _REGIONS[country]]
    kinds = [[each.fixed_line, each.mobile] for each in known if each is not None]
    landline, mobile = (
        "|".join(kind.national_number_pattern for kind in of_regions if kind is not None)
        for of_regions in zip(*kinds, strict=True)
    )
    return re.compile(landline, re.ASCII), re.compile(mobile, re.ASCII)


def _countries() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each country code and its zones, as tzdata lists them by region."""
    of_region = defaultdict(list)
    for line in _TZDATA.joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            region, _, name, *_ = line.split("\t")
            if name not in _NOT_HEEDED:
                of_region[region].append(name)
    for code, regions in _REGIONS.items():
        zones = tuple(name for region in regions for name in of_region[region])
        # Kosovo and Ascension are no countries to `zone.tab`; satellite codes are to nobody.
        yield code, zones or TIMEZONE_DATA.get(code, ())


_ZONES = dict(_countries())
_WITH_AREAS = {
    code
    for code, zones in _ZONES.items()
    if len(zones) > 1 and any(area != code and area.startswith(code) for area in _AREAS)
}
