"""Text as a person reads it, in plain capital letters. The look-alikes are `look_alikes.csv`."""

import csv
import unicodedata
from pathlib import Path  # noqa: TID251 - the table is read once, at import


def _read_table() -> dict[int, str]:
    with Path(__file__).with_name("look_alikes.csv").open(encoding="utf-8", newline="") as table:
        return {int(row["code_point"], 16): row["read_as"] for row in csv.DictReader(table)}


_LOOK_ALIKES = _read_table()
_INVISIBLE = {"Cf", "Mn", "Me"}
"""Unicode categories of format characters and marks."""
_MAX_READ = 2**16
"""Some ligatures become 18 letters; no message is as long as this."""


def plain(text: str) -> str:
    """Return the text in capitals, with ASCII letters where a reader sees some.

    NFKD splits full-width, styled, circled and accented letters into plain letters and marks. Marks
    and invisible characters (zero width, soft hyphen, bidi) are removed, even inside a word.
    `str.upper` ignores the locale, so a Turkish i becomes an I. Words in other scripts come out
    partly in Latin letters, so they can only be compared with words that went the same way.
    """
    if text.isascii():
        return text[:_MAX_READ].translate(_LOOK_ALIKES).upper()
    split = unicodedata.normalize("NFKD", text)[:_MAX_READ]
    visible = "".join(c for c in split if unicodedata.category(c) not in _INVISIBLE)
    return visible.translate(_LOOK_ALIKES).upper()


def words(text: str) -> list[str]:
    """Return the words of `plain` text: runs of letters and digits."""
    return "".join(c if c.isalnum() else " " for c in text).split()
