"""Make `signedfor/twilio/look_alikes.csv`: characters that people read as a letter or digit.

    python -m devtools.look_alikes confusables.txt

reads Unicode's own list, https://www.unicode.org/Public/security/latest/confusables.txt, and keeps
what looks like ASCII letters and digits. Python's names of the characters add what that list lacks:
small capitals, circled and crossed letters.
"""

import csv
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).resolve().parents[1] / "signedfor/twilio/look_alikes.csv"
_NAMED: Final = re.compile(
    r"(?:.* )?(?:LATIN|CIRCLED|SQUARED|PARENTHESIZED)(?: LATIN)?(?: CAPITAL| SMALL)* LETTER"
    r"(?: SMALL)?(?: CAPITAL)? ([A-Z])(?: WITH .*)?"
)
_SYMBOLS: Final = {"$": "S", "€": "E", "£": "L", "₱": "P", "†": "T", "ƚ": "T"}


def main() -> int:
    """Write the table from the file that the command line names."""
    with Path(sys.argv[1]).open(encoding="utf-8-sig") as lines:
        found = look_alikes(lines)
    with TABLE.open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("code_point", "read_as", "name"))
        for character, letters in sorted(found.items()):
            rows.writerow((f"{ord(character):04X}", letters, unicodedata.name(character, "")))
    return 0


def look_alikes(confusables: Iterable[str]) -> Mapping[str, str]:
    """Each single character that a person reads as ASCII letters or digits, with these."""
    listed: dict[str, str] = {}
    for line in confusables:
        fields = [field.strip() for field in line.partition("#")[0].split(";")]
        if len(fields) < 2:  # noqa: PLR2004 - a comment or an empty line
            continue
        source, target = (
            "".join(chr(int(code, 16)) for code in each.split()) for each in fields[:2]
        )
        if len(source) == 1 and _plain(target).isalnum() and _plain(target).isascii():
            listed[source] = _plain(target)
    found: dict[str, str] = {}
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        plain = _plain(character)
        if plain.upper().isascii() or not _is_letter(character):
            continue  # It is read so without the table, or it is a sign that separates words.
        if named := _NAMED.fullmatch(unicodedata.name(character, "")):
            found[character] = named[1]
            continue
        if letters := _letters(character, listed):
            found[character] = letters
    return found | _SYMBOLS


def _letters(character: str, listed: Mapping[str, str]) -> str:
    """What Unicode's list says, the same for both cases, because texts are compared in capitals."""
    capital = character.upper() if len(character.upper()) == 1 else character
    small = capital.lower() if len(capital.lower()) == 1 else character
    letters = listed.get(capital) or listed.get(small) or listed.get(character, "")
    # Unicode's list makes no difference between I and l.
    return "I" if letters == "l" and listed.get(small) == "i" else letters.upper()


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if unicodedata.category(c) not in {"Mn", "Me", "Cf"})


def _is_letter(character: str) -> bool:
    name = unicodedata.name(character, "")
    return character.isalnum() or " LETTER " in name or unicodedata.category(character) == "Sc"


if __name__ == "__main__":
    sys.exit(main())
