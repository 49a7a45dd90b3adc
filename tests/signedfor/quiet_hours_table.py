"""The table of quiet hours, read again and literally, to compare with what the code makes of it."""

import csv
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

SIGNEDFOR = Path(__file__).parents[2] / "signedfor"
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _table(name: str) -> list[dict[str, Any]]:
    with (SIGNEDFOR / name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def _days(text: str) -> list[str]:
    first, _, last = text.partition("-")
    return WEEK[WEEK.index(first) : WEEK.index(last or first) + 1]


ROWS = [
    row | {"name": name, "days": _days(row["days"])}
    for row in _table("quiet_hours.csv")
    for name in row["names"].split()
]
"""Each line once for each of its names."""
PLACES_OF_AREA_CODES: dict[str, set[str]] = defaultdict(set)
for _row in _table("area_codes.csv"):
    for _code in _row["area_codes"].split():
        PLACES_OF_AREA_CODES[_code].add(_row["place"])
COUNTRIES = {
    "33": "FR",
    "34": "ES",
    "44": "GB",
    "49": "DE",
    "61": "AU",
    "686": "KI",
    "77": "KZ",
    "91": "IN",
}
"""Of the numbers that tests use."""


def rows_for(names: Collection[str], recipient: str) -> list[list[dict[str, Any]]]:
    """The lines that hold for a number, those of each place together."""
    digits = recipient.removeprefix("+")
    if digits.startswith("1"):
        every = set().union(*PLACES_OF_AREA_CODES.values())
        places = PLACES_OF_AREA_CODES.get(digits[1:4], every)
    else:
        places = {country for code, country in COUNTRIES.items() if digits.startswith(code)}
    by_place: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in ROWS:
        if row["name"] in names:
            by_place[f"{row['name']} {row['place']}"].append(row)
    theirs = [
        rows
        for rows in by_place.values()
        if any(place == rows[0]["place"] or place.startswith(f"{rows[0]['place']}-")
               for place in places)
    ]  # fmt: skip
    return theirs or [rows for rows in by_place.values() if "-" not in rows[0]["place"]]
