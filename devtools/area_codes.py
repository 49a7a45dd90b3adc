"""Make `signedfor/area_codes.csv`: the area codes of each state, province and territory.

    python -m devtools.area_codes

They are those of libphonenumber's table of places, as the package `phonenumbers` has it. That table
takes 100 MB of memory, so a worker reads this extract.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.geodata import GEOCODE_DATA
from phonenumbers.geodata.locale import LOCALE_DATA
from phonenumbers.tzdata import TIMEZONE_DATA

TABLE: Final = Path(__file__).resolve().parents[1] / "signedfor/area_codes.csv"
_AREA: Final = len("1") + 3
_NAMES: Final = {
    "US-AL": "Alabama", "US-AK": "Alaska", "US-AZ": "Arizona", "US-AR": "Arkansas",
    "US-CA": "California", "US-CO": "Colorado", "US-CT": "Connecticut", "US-DE": "Delaware",
    "US-DC": "Washington D.C.", "US-FL": "Florida", "US-GA": "Georgia", "US-HI": "Hawaii",
    "US-ID": "Idaho", "US-IL": "Illinois", "US-IN": "Indiana", "US-IA": "Iowa", "US-KS": "Kansas",
    "US-KY": "Kentucky", "US-LA": "Louisiana", "US-ME": "Maine", "US-MD": "Maryland",
    "US-MA": "Massachusetts", "US-MI": "Michigan", "US-MN": "Minnesota", "US-MS": "Mississippi",
    "US-MO": "Missouri", "US-MT": "Montana", "US-NE": "Nebraska", "US-NV": "Nevada",
    "US-NH": "New Hampshire", "US-NJ": "New Jersey", "US-NM": "New Mexico", "US-NY": "New York",
    "US-NC": "North Carolina", "US-ND": "North Dakota", "US-OH": "Ohio", "US-OK": "Oklahoma",
    "US-OR": "Oregon", "US-PA": "Pennsylvania", "US-RI": "Rhode Island", "US-SC": "South Carolina",
    "US-SD": "South Dakota", "US-TN": "Tennessee", "US-TX": "Texas", "US-UT": "Utah",
    "US-VT": "Vermont", "US-VA": "Virginia", "US-WA": "Washington State",
    "US-WV": "West Virginia", "US-WI": "Wisconsin", "US-WY": "Wyoming",
    "CA-AB": "Alberta", "CA-BC": "British Columbia", "CA-MB": "Manitoba",
    "CA-NB": "New Brunswick", "CA-NL": "Newfoundland and Labrador", "CA-NS": "Nova Scotia",
    "CA-NT": "Northwest Territories", "CA-NU": "Nunavut", "CA-ON": "Ontario",
    "CA-PE": "Prince Edward Island", "CA-QC": "Quebec", "CA-SK": "Saskatchewan", "CA-YT": "Yukon",
}  # fmt: skip
_TERRITORIES: Final = {"AS", "GU", "MP", "PR", "VI"}
"""Of the United States, whose federal law binds there; libphonenumber has each as a country."""
_PLACES: Final = {name: place for place, name in _NAMES.items()} | {
    "British Colombia": "CA-BC",  # a slip in the table
}


def table() -> str:
    """The table as it is committed.

    Raises:
        ValueError: the library names a place that is not known here.
    """
    codes: dict[str, list[str]] = defaultdict(list)
    names = dict(_NAMES)
    for area_code, places in sorted(_named_areas().items()):
        for place in places:
            codes[place].append(area_code)
    for area_code in sorted({prefix[1:_AREA] for prefix in TIMEZONE_DATA if _is_in_area(prefix)}):
        if region := _country(area_code):
            place = f"US-{region}" if region in _TERRITORIES else region
            names[place] = _name(region)
            codes[place].append(area_code)
    lines = io.StringIO(newline="")
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(("place", "name", "area_codes"))
    rows.writerows((place, names[place], " ".join(codes[place])) for place in sorted(codes))
    return lines.getvalue()


def _named_areas() -> Mapping[str, set[str]]:
    """The places of each area code of the United States and Canada.

    A few area codes have no name of their own, only their exchanges have.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for prefix, name in GEOCODE_DATA.items():
        is_named = len(prefix) == _AREA or prefix[:_AREA] not in GEOCODE_DATA
        if is_named and _is_in_area(prefix) and not _country(prefix[1:_AREA]):
            found[prefix[1:_AREA]] |= _places(name["en"])
    return found


def _is_in_area(prefix: str) -> bool:
    return prefix.startswith("1") and len(prefix) >= _AREA


def _places(name: str) -> set[str]:
    """The places of a name such as `Florida`, `Palm Beach, FL` or `Nova Scotia/Prince ...`."""
    if city := re.fullmatch(r".+, ([A-Z]{2})", name):
        places = {place for place in _NAMES if place.endswith(f"-{city[1]}")}
    else:
        places = {_PLACES[each] for each in name.split("/") if each in _PLACES}
    if len(places) <= name.count("/"):
        raise ValueError(f"The library has a place that is not known here: {name}")
    return places


@cache
def _country(area_code: str) -> str | None:
    """The country other than the United States and Canada that has this area code."""
    for region in COUNTRY_CODE_TO_REGION_CODE[1]:
        metadata = PhoneMetadata.metadata_for_region(region)
        leading = None if metadata is None else metadata.leading_digits
        if leading is not None and re.match(leading, area_code):
            return region
    return None


def _name(region: str) -> str:
    names = LOCALE_DATA[region]
    name = names["en"]
    return names[name.removeprefix("*")] if name.startswith("*") else name


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
