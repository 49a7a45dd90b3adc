"""Messages that are one keyword: split, repeated, misspelled, or with courtesy around it.

The words are in `words.csv`, and common words near them in `near_words.csv`. A doubt about a single
word is a review: an opt-out must never be missed.
"""

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final, NamedTuple
from unicodedata import category

from signedfor.contract.inbound import InboundKind
from signedfor.twilio import ideas, phrases
from signedfor.twilio.letters import plain, words
from signedfor.twilio.slips import (
    MISSPELLED_LETTERS,
    Misspelled,
    is_jumbled,
    once,
    swapped,
    two_slips,
)

_OPT_INS = {InboundKind.START, InboundKind.YES}
_LONG = 6
"""From how many letters on any slip makes no other word of English."""
_LONG_ANYWHERE = 8
"""From how many letters on two slips make no other word, or nearly."""
SHORT = 4
"""Words of so few letters have many neighbors in other languages."""


class _Word(NamedTuple):
    kind: InboundKind
    is_english: bool
    is_on_a_list: bool
    """Some provider or regulator lists it; it is not just in common use."""


def _read_table() -> dict[str, _Word]:
    found: dict[str, _Word] = {}
    with Path(__file__).with_name("words.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            word = _Word(
                kind=InboundKind(row["meaning"]),
                is_english=row["language"] == "English",
                is_on_a_list=row["source"] != "common use",
            )
            # It may be there for several languages, always with one meaning.
            found.setdefault(_joined(plain(row["word"])), word)
    return found


def _joined(text: str) -> str:
    return "".join(words(text))


def _read_near_words() -> frozenset[str]:
    path = Path(__file__).with_name("near_words.csv")
    with path.open(encoding="utf-8", newline="") as table:
        return frozenset(_joined(plain(row["word"])) for row in csv.DictReader(table))


_WORDS: Final = _read_table()
_NEAR_WORDS: Final = _read_near_words() - _WORDS.keys()
"""Common words of many languages that a slip makes of a keyword: `TERMINAL`, `PASTA`."""
STOP_WORDS: Final = frozenset(word for word, row in _WORDS.items() if row.kind is InboundKind.STOP)


_CERTAIN: Final = {
    word: row.kind
    for word, row in _WORDS.items()
    if row.kind in {InboundKind.STOP, InboundKind.HELP}
    and (row.is_english or row.is_on_a_list)
    and (len(word) in MISSPELLED_LETTERS or (row.is_english and row.is_on_a_list))
}
"""Keywords that a slip is read as inside a message too. `END` is the only short one."""
_CERTAIN_BY_ONCE: Final = {once(word): word for word in _CERTAIN}
_OF_CERTAIN: Final = Misspelled(_CERTAIN)
_OF_ANY: Final = Misspelled(
    word
    for word, row in _WORDS.items()
    if row.kind in {InboundKind.STOP, InboundKind.HELP}
    and (word in _CERTAIN or len(word) in MISSPELLED_LETTERS)
)
_LONG_STOP_WORDS: Final = sorted(each for each in STOP_WORDS if len(each) >= _LONG_ANYWHERE)
_UNAMBIGUOUS: Final = frozenset(
    word
    for word in STOP_WORDS
    if not _WORDS[word].is_english or word in {"UNSUBSCRIBE", "UNSUB", "OPTOUT"}
)
_MASKED: Final = sorted(word for word in _CERTAIN if _WORDS[word].is_english and word in STOP_WORDS)
SPELLED: Final = (
    phrases.vocabulary()
    | phrases.ordinary_vocabulary()
    | ideas.vocabulary("en")
    | _WORDS.keys()
    | _NEAR_WORDS
)
"""All words that no other word is read as, and that a run-on word is made of."""
_RUN_ON_LETTERS: Final = range(6, 41)
_STOP_SIGN: Final = "\N{OCTAGONAL SIGN}"
_AROUND_A_STOP_SIGN: Final = frozenset("🛑🚫⛔❌✋🖐🤚🙏😡😠😤🤬")
_OPT_OUT: Final = re.compile(r"\bOPT OUT\b")
_CLITIC: Final = re.compile(
    r"(?:ME|NOS|SE|TE|MI|CI|VI|TI|LO|LA|LE|LI|NE|LOS|LAS|LES|MOI|NOUS|VOUS)$"
)
DRAWL: Final = re.compile(r"(.)\1{2,}")
_IDEOGRAPHS: Final = "\u2e80"
"""From here on a letter is a syllable or more, so that another one is another word."""
_LEET: Final = str.maketrans("01234578", "OISEASTB")
"""Digits in place of letters."""
_BELOW: Final = str.maketrans("1234567890", "QWERTYUIOP")
"""The letter below each digit on a keyboard: `STOP0`."""


def as_keyword(text: str, body: str) -> InboundKind | None:
    """The kind of a message that is one keyword, split or repeated, with or without a please."""
    written = words(text) or words(body.translate(_REGIONAL_INDICATORS))
    if not written:
        return _as_stop_sign(body)
    if len(written) <= 2 and _is_masked_stop(plain(body).strip()):  # noqa: PLR2004 - around a sign
        return InboundKind.STOP
    polite = words(phrases.without_courtesy(text))
    abbreviated = words(phrases.without_courtesy(phrases.with_abbreviations(text)))
    joined = [phrases.without_joined_courtesy("".join(written))]
    for candidate in (written, polite, run_on(polite), abbreviated, joined):
        is_one = candidate is not joined or len(written) == 1 or min(map(len, written)) > 1
        if is_one and _is_stop(candidate):
            return InboundKind.STOP
        word = "".join(candidate)
        if word.translate(_LEET) in STOP_WORDS or STOP_WORDS.issuperset(word.split("2")):
            return InboundKind.STOP
        word = candidate[0] if len(set(candidate)) == 1 else word
        if (known := _WORDS.get(word)) and known.kind not in _OPT_INS:
            return known.kind
    if not polite:
        return _as_stop_sign(body)
    # An opt-in must be unambiguous: "un stop" is none, and "yes please" answers a question.
    if len({*polite}) == 1 and (known := _WORDS.get(polite[0])) and known.kind in _OPT_INS:
        is_answer = known.kind is InboundKind.YES and len(written) > 1
        return InboundKind.OTHER if is_answer else known.kind
    is_split = max(map(len, polite)) == 1 or "OUT" in polite[1:2]
    if len(polite) == 1 or is_split:
        return _misspelled_keyword("".join(polite))
    said = _without_emphasis(polite)
    is_stop = len(said) == 1 and _misspelled_keyword(said[0]) is InboundKind.STOP
    return InboundKind.STOP if is_stop else None


def _as_stop_sign(body: str) -> InboundKind | None:
    """STOP if a message without a word is a stop sign, perhaps with a hand or an angry face."""
    symbols = {symbol for symbol in plain(body) if category(symbol) == "So"}
    return InboundKind.STOP if _STOP_SIGN in symbols <= _AROUND_A_STOP_SIGN else None


def _is_masked_stop(text: str) -> bool:
    """Whether it is a stop word with a sign in place of a letter: `S*OP`, `ST+P`."""
    signs = [at for at, c in enumerate(text) if not c.isalnum()]
    if len(signs) != 1 or text[signs[0]].isspace() or signs[0] == 0:
        return False
    if signs[0] == len(text) - 1 and text[-1] != "[":  # The key beside P.
        return False
    before, after = text[: signs[0]], text[signs[0] + 1 :]
    return any(
        len(word) == len(text) and word.startswith(before) and word.endswith(after)
        for word in _MASKED
    )


def _is_stop(message: Sequence[str]) -> bool:
    """Whether it is stop words with or without an emphasis or object: `STOP ALL TEXTS NOW`."""
    said = _without_emphasis(message)
    if "".join(said) in STOP_WORDS:
        return True
    unsubscribe = "".join(surely_meant(each) for each in said if each not in phrases.PRONOUNS)
    if unsubscribe in _UNAMBIGUOUS or _without_clitics(unsubscribe) in _UNAMBIGUOUS:
        return True
    urged = list(itertools.dropwhile(phrases.EMPHASIS.__contains__, said))
    if "".join(urged) in _UNAMBIGUOUS:
        return True
    said = _OPT_OUT.sub("OPTOUT", " ".join(said)).split()
    is_first = bool(said) and surely_meant(said[0]) in STOP_WORDS
    if is_first and {surely_meant(each) for each in said} - phrases.AFTER_STOP == {"STOP"}:
        return True
    return is_first and all(
        each in phrases.EMPHASIS or surely_meant(each) in STOP_WORDS for each in said
    )


def _without_emphasis(message: Sequence[str]) -> list[str]:
    said = list(itertools.dropwhile(phrases.LEAD.__contains__, message))
    return list(itertools.dropwhile(phrases.EMPHASIS.__contains__, reversed(said)))[::-1]


def _without_clitics(word: str) -> str:
    """The verb without the pronouns that some languages write with it: `CANCELLATEMI`."""
    verb = word
    while len(verb) > SHORT and word not in _WORDS and (shorter := _CLITIC.sub("", verb)) != verb:
        if (verb := shorter) in _UNAMBIGUOUS:
            return verb
    return word


def run_on(message: Sequence[str]) -> list[str]:
    """The message with each run-on word as the words that it is made of."""
    return [part for word in message for part in parts_of(word)]


def parts_of(word: str) -> list[str]:
    """The words that a run-on word is made of: `NO MORE TEXTS`. As few as possible."""
    is_long = len(word) in _RUN_ON_LETTERS or not word.isascii()
    if word in SPELLED or not is_long or len(word) > _RUN_ON_LETTERS[-1]:
        return [word]
    best: list[list[str] | None] = [[]]
    for end in range(1, len(word) + 1):
        found = [
            [*before, word[start:end]]
            for start in range(end - 1)
            if (before := best[start]) is not None and word[start:end] in SPELLED
        ]
        best.append(min(found, key=len, default=None))
    return best[-1] or [word]


_REGIONAL_INDICATORS: Final = {0x1F1E6 + at: chr(ord("A") + at) for at in range(26)}
"""Letters as phones without the flag show them. Two of them are a flag, so they come last."""


def _misspelled_keyword(word: str) -> InboundKind | None:
    """The kind of a single word that is not listed."""
    if (meant := surely_meant(word)) in _CERTAIN:
        return _CERTAIN[meant]
    if once(word.translate(_BELOW)) in STOP_WORDS:
        return InboundKind.STOP
    if word.rstrip("0123456789") in STOP_WORDS:
        return InboundKind.REVIEW  # Another list's keyword, perhaps.
    if word in _WORDS or word in _NEAR_WORDS or not word.isalpha() or max(word) >= _IDEOGRAPHS:
        return None
    if (drawled := DRAWL.sub(r"\1", word)) in STOP_WORDS:
        return InboundKind.STOP
    near = list(_OF_ANY.correct(drawled))
    for each in near:
        is_sure = swapped(word, each) or once(word) == once(each)
        if len(each) > SHORT or is_sure or each in _MASKED:
            return _WORDS[each].kind
    if near:
        return InboundKind.REVIEW
    if word not in SPELLED and any(is_jumbled(word, each) for each in _MASKED):
        return InboundKind.STOP
    return InboundKind.STOP if any(two_slips(word, each) for each in _LONG_STOP_WORDS) else None


def near_keywords(word: str) -> set[str]:
    """The keywords of which a word that is not listed may be a misspelling."""
    if word in _WORDS:
        return set()
    return {
        *_OF_ANY.correct(word),
        *(each for each in _LONG_STOP_WORDS if two_slips(word, each)),
    }


def surely_meant(word: str) -> str:
    """The keyword that is surely meant, or the word itself."""
    if word in _WORDS or word in _NEAR_WORDS or len(word) not in MISSPELLED_LETTERS:
        return word
    if (read := word.translate(_LEET)) in STOP_WORDS:
        return read
    if not word.isalpha():
        return word
    if meant := _CERTAIN_BY_ONCE.get(once(word)):
        return meant
    for each in _OF_CERTAIN.correct(word):
        is_long = _WORDS[each].is_english and len(each) >= _LONG
        if swapped(word, each) or is_long or each == "STOP":
            return each
    return word
