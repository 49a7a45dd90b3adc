"""Make `signedfor/twilio/near_words.csv`: common words that a slip makes of a keyword.

    uv run --no-project --with wordfreq==3.1.1 python -m devtools.near_words

A message of one such word is no misspelled keyword, and in a sentence it is itself. Words in
`words.csv` are left out: what they mean is said there. Empty the table first, so that it does not
hide its own words. The package is needed for this only.
"""

import csv
import importlib
import math
import sys
from pathlib import Path
from typing import Final

from signedfor.twilio.keywords import near_keywords
from signedfor.twilio.letters import plain, words
from signedfor.twilio.sentences import near_phrases

TABLE: Final = Path(__file__).resolve().parents[1] / "signedfor/twilio/near_words.csv"
_LANGUAGES: Final = {
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fil": "Tagalog",
    "fr": "French",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sh": "Croatian",
    "sk": "Slovak",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
}
_PER_BILLION: Final = {"en": 10**3.0}
_PER_BILLION_ELSEWHERE: Final = 10**3.4
"""How common a word must be. A text in English is likelier, so rarer words of it count."""
_NO_SLIP: Final = 10**3.3 / 10**9
"""How common an English word must be to be no slip for a word of a phrase: slips are listed too."""


def main() -> int:
    """Write the table."""
    wordfreq = importlib.import_module("wordfreq")
    found: dict[str, tuple[str, str]] = {}
    for code, language in _LANGUAGES.items():
        least = _PER_BILLION.get(code, _PER_BILLION_ELSEWHERE) / 10**9
        for word, frequency in wordfreq.get_frequency_dict(code, "best").items():
            written = "".join(words(plain(word)))
            is_common = frequency > least or math.isclose(frequency, least)
            if code == "en" and frequency > _NO_SLIP and near_phrases(written):
                found.setdefault(written, (word, language))
            # A slip of STOP is a STOP, unless words.csv says otherwise.
            if is_common and written not in found and near_keywords(written) - {"STOP", "STOPP"}:
                found[written] = (word, language)
    with TABLE.open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("word", "language"))
        listed = sorted((language, word) for word, language in found.values())
        rows.writerows((word, language) for language, word in listed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
