"""Classifies inbound messages: opt-out, opt-in, help, or a text that a person should review.

Twilio acts on a keyword only when it is the whole message. People also write "please stop texting
me", and US law lets them revoke consent by any reasonable means, so a message that reads like an
opt-out needs review. START, YES and HELP in a phrase change nothing and need no review.

The words are in `words.csv`, common words near them in `near_words.csv`, and what people say in
their own words in `ideas.toml` and `phrases.toml`. An opt-out must never be missed, and a review
costs an operator's time, so a doubt about a single word or a short message is a review, and a long
message needs the ideas of an opt-out close together.
"""

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final, NamedTuple
from unicodedata import category

from signedfor.contract.inbound import InboundKind
from signedfor.twilio import ideas, phrases, text_model
from signedfor.twilio.letters import plain, words
from signedfor.twilio.slips import (
    MISSPELLED_LETTERS,
    Misspelled,
    is_beside,
    is_form,
    is_jumbled,
    is_near,
    once,
    swapped,
    two_slips,
)

_KIND_OF_OPT_OUT_TYPE = {
    "STOP": InboundKind.STOP,
    "START": InboundKind.START,
    "HELP": InboundKind.HELP,
}

_OPT_INS = {InboundKind.START, InboundKind.YES}
_LONG = 6
"""From how many letters on any slip makes no other word of English."""
_LONG_ANYWHERE = 8
"""From how many letters on two slips make no other word, or nearly."""
_SHORT = 4
"""Words of so few letters have many neighbors in other languages."""
_SHORT_MESSAGE = 3
_SHORT_CLAUSE = 6
_TELLING = frozenset({"STOP", "QUIT", "UNSUBSCRIBE", "TEXTING", "TXTING", "MESSAGING"})
"""Words that are rarely about anything but our messages in a short clause, if ordinary phrases such
as `bus stop` are taken out."""


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
_STOP_WORDS: Final = frozenset(word for word, row in _WORDS.items() if row.kind is InboundKind.STOP)


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
_LONG_STOP_WORDS: Final = sorted(each for each in _STOP_WORDS if len(each) >= _LONG_ANYWHERE)
_UNAMBIGUOUS: Final = frozenset(
    word
    for word in _STOP_WORDS
    if not _WORDS[word].is_english or word in {"UNSUBSCRIBE", "UNSUB", "OPTOUT"}
)
_MASKED: Final = sorted(
    word for word in _CERTAIN if _WORDS[word].is_english and word in _STOP_WORDS
)
_OF_PHRASES: Final = Misspelled(
    word
    for word in sorted(phrases.vocabulary() | ideas.vocabulary("en"))
    if word.isascii() and len(word) in MISSPELLED_LETTERS
)
_SPELLED: Final = (
    phrases.vocabulary()
    | phrases.ordinary_vocabulary()
    | ideas.vocabulary("en")
    | _WORDS.keys()
    | _NEAR_WORDS
)
"""All words that no other word is read as, and that a run-on word is made of."""
_RUN_ON_LETTERS: Final = range(6, 41)
_RUN_ON_MESSAGE: Final = 8
"""Up to how many words a message is searched for run-on words."""
_LONGEST_MESSAGE: Final = 2000
"""Twilio's have up to 1600 characters."""
_MAX_READ: Final = 4096
"""Characters in a message of WhatsApp; other channels allow fewer."""
_STOP_SIGN: Final = "\N{OCTAGONAL SIGN}"
_AROUND_A_STOP_SIGN: Final = frozenset("🛑🚫⛔❌✋🖐🤚🙏😡😠😤🤬")
_OPT_OUT: Final = re.compile(r"\bOPT OUT\b")
_CLITIC: Final = re.compile(
    r"(?:ME|NOS|SE|TE|MI|CI|VI|TI|LO|LA|LE|LI|NE|LOS|LAS|LES|MOI|NOUS|VOUS)$"
)
_DRAWL: Final = re.compile(r"(.)\1{2,}")
_IDEOGRAPHS: Final = "\u2e80"
"""From here on a letter is a syllable or more, so that another one is another word."""
_LEET: Final = str.maketrans("01234578", "OISEASTB")
"""Digits in place of letters."""
_BELOW: Final = str.maketrans("1234567890", "QWERTYUIOP")
"""The letter below each digit on a keyboard: `STOP0`."""


def classify_inbound(body: str, opt_out_type: str | None) -> InboundKind:
    """Return what the message asks for.

    `opt_out_type` is Twilio's OptOutType and takes precedence over the body, because Advanced
    Opt-Out may know more keywords; values other than Twilio's three are ignored. Case, width,
    accents, punctuation, emoji, invisible characters and letters that look alike do not matter.
    """
    kind = _KIND_OF_OPT_OUT_TYPE.get((opt_out_type or "").strip().upper())
    if kind is None:
        return _read(body)
    # To Twilio a YES is a START like any other.
    is_yes = kind is InboundKind.START and _read(body) is InboundKind.YES
    return InboundKind.YES if is_yes else kind


def _read(body: str) -> InboundKind:
    if len(body) > _MAX_READ:
        # Nobody can send so much, and reading it takes seconds. A person reads the rest.
        is_stop = _read(body[:_MAX_READ]) is InboundKind.STOP
        return InboundKind.STOP if is_stop else InboundKind.REVIEW
    if phrases.is_reaction(body):
        return InboundKind.OTHER
    body = phrases.without_signature(body)
    text = phrases.clauses(plain(body))
    return _as_keyword(text, body) or _as_sentence(text, body)


def _as_sentence(text: str, body: str) -> InboundKind:
    """What the rules say, unless the message as a whole almost certainly is something else."""
    score = text_model.score(body, text)
    if score < text_model.ORDINARY:
        return InboundKind.OTHER
    rest = phrases.without_ordinary(text)
    # Of a single word, or beside what is known to be ordinary ("don't stop"), it says too little.
    if score > text_model.OPT_OUT and rest == text and len(words(text)) > 1:
        return InboundKind.REVIEW
    return _as_phrase(rest)


def _as_keyword(text: str, body: str) -> InboundKind | None:
    """The kind of a message that is one keyword, split or repeated, with or without a please."""
    written = words(text) or words(body.translate(_REGIONAL_INDICATORS))
    if not written:
        return _as_stop_sign(body)
    if len(written) <= 2 and _is_masked_stop(plain(body).strip()):  # noqa: PLR2004 - around a sign
        return InboundKind.STOP
    polite = words(phrases.without_courtesy(text))
    abbreviated = words(phrases.without_courtesy(phrases.with_abbreviations(text)))
    joined = [phrases.without_joined_courtesy("".join(written))]
    for candidate in (written, polite, _run_on(polite), abbreviated, joined):
        is_one = candidate is not joined or len(written) == 1 or min(map(len, written)) > 1
        if is_one and _is_stop(candidate):
            return InboundKind.STOP
        word = "".join(candidate)
        if word.translate(_LEET) in _STOP_WORDS or _STOP_WORDS.issuperset(word.split("2")):
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
    if "".join(said) in _STOP_WORDS:
        return True
    unsubscribe = "".join(_meant(each) for each in said if each not in phrases.PRONOUNS)
    if unsubscribe in _UNAMBIGUOUS or _without_clitics(unsubscribe) in _UNAMBIGUOUS:
        return True
    urged = list(itertools.dropwhile(phrases.EMPHASIS.__contains__, said))
    if "".join(urged) in _UNAMBIGUOUS:
        return True
    said = _OPT_OUT.sub("OPTOUT", " ".join(said)).split()
    is_first = bool(said) and _meant(said[0]) in _STOP_WORDS
    if is_first and _meant(said[0]) == "STOP" and phrases.TODAY.issuperset(said[1:]):
        return True
    return is_first and all(
        each in phrases.EMPHASIS or _meant(each) in _STOP_WORDS for each in said
    )


def _without_emphasis(message: Sequence[str]) -> list[str]:
    said = list(itertools.dropwhile(phrases.LEAD.__contains__, message))
    return list(itertools.dropwhile(phrases.EMPHASIS.__contains__, reversed(said)))[::-1]


def _without_clitics(word: str) -> str:
    """The verb without the pronouns that some languages write with it: `CANCELLATEMI`."""
    verb = word
    while len(verb) > _SHORT and word not in _WORDS and (shorter := _CLITIC.sub("", verb)) != verb:
        if (verb := shorter) in _UNAMBIGUOUS:
            return verb
    return word


def _run_on(message: Sequence[str]) -> list[str]:
    return [part for word in message for part in _parts(word)]


def _parts(word: str) -> list[str]:
    """The words that a run-on word is made of: `NO MORE TEXTS`. As few as possible."""
    is_long = len(word) in _RUN_ON_LETTERS or not word.isascii()
    if word in _SPELLED or not is_long or len(word) > _RUN_ON_LETTERS[-1]:
        return [word]
    best: list[list[str] | None] = [[]]
    for end in range(1, len(word) + 1):
        found = [
            [*before, word[start:end]]
            for start in range(end - 1)
            if (before := best[start]) is not None and word[start:end] in _SPELLED
        ]
        best.append(min(found, key=len, default=None))
    return best[-1] or [word]


_REGIONAL_INDICATORS: Final = {0x1F1E6 + at: chr(ord("A") + at) for at in range(26)}
"""Letters as phones without the flag show them. Two of them are a flag, so they come last."""


def _misspelled_keyword(word: str) -> InboundKind | None:
    """The kind of a single word that is not listed."""
    if (meant := _meant(word)) in _CERTAIN:
        return _CERTAIN[meant]
    if once(word.translate(_BELOW)) in _STOP_WORDS:
        return InboundKind.STOP
    if word.rstrip("0123456789") in _STOP_WORDS:
        return InboundKind.REVIEW  # Another list's keyword, perhaps.
    if word in _WORDS or word in _NEAR_WORDS or not word.isalpha() or max(word) >= _IDEOGRAPHS:
        return None
    if (drawled := _DRAWL.sub(r"\1", word)) in _STOP_WORDS:
        return InboundKind.STOP
    near = list(_OF_ANY.correct(drawled))
    for each in near:
        is_sure = swapped(word, each) or once(word) == once(each)
        if len(each) > _SHORT or is_sure or each in _MASKED:
            return _WORDS[each].kind
    if near:
        return InboundKind.REVIEW
    if word not in _SPELLED and any(is_jumbled(word, each) for each in _MASKED):
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


def near_phrases(word: str) -> bool:
    """Whether a word that is not listed may be read as a word of a phrase, or as several."""
    return word not in _SPELLED and (_guesses(word) != [word] or _parts(word) != [word])


def _meant(word: str) -> str:
    """The keyword that is surely meant, or the word itself."""
    if word in _WORDS or word in _NEAR_WORDS or len(word) not in MISSPELLED_LETTERS:
        return word
    if (read := word.translate(_LEET)) in _STOP_WORDS:
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


def _as_phrase(text: str) -> InboundKind:
    """REVIEW if a part of the message, without ordinary phrases, reads like an opt-out."""
    text = " ".join(map(_meant, text.split(" ")))
    if len(words(text)) <= _SHORT_MESSAGE and " STOP " in text:
        return InboundKind.REVIEW
    clauses = [clause.split() for clause in text.split(phrases.CLAUSE_END)]
    if any(map(_tells, clauses)):
        return InboundKind.REVIEW
    for clause in phrases.without_filler(text).split(phrases.CLAUSE_END):
        if (rest := clause.split()) and _STOP_WORDS.issuperset(rest):
            return InboundKind.REVIEW
    if any(map(phrases.ask_to_opt_out, {text, phrases.without_courtesy_around(text)})):
        return InboundKind.REVIEW
    if any(map(ideas.ask_to_opt_out, clauses)):
        return InboundKind.REVIEW
    if len(text) > _LONGEST_MESSAGE:
        return InboundKind.OTHER  # No slip is looked for, so that no body takes long.
    read = text.split(" ")
    guesses = list(map(_guesses, read))
    parts = " ".join(_run_on(read)) if len(words(text)) <= _RUN_ON_MESSAGE else text
    likely, unlikely = (" ".join(each[at] for each in guesses) for at in (0, -1))
    for guessed in {likely, unlikely, parts, phrases.without_full_stops(text)} - {text}:
        if _asks_if_guessed(guessed):
            return InboundKind.REVIEW
    clauses = [each.split() for each in phrases.without_ordinary(parts).split(phrases.CLAUSE_END)]
    is_split = len(words(parts)) > len(words(text)) + 1
    return InboundKind.REVIEW if is_split and any(map(_tells, clauses)) else InboundKind.OTHER


def _asks_if_guessed(text: str) -> bool:
    clauses = (clause.split() for clause in text.split(phrases.CLAUSE_END))
    return phrases.ask_to_opt_out_if_guessed(text) or any(
        len(clause) > 1 and ideas.ask_in("en", clause) for clause in clauses
    )


def _tells(clause: Sequence[str]) -> bool:
    """Whether it is short, has a word that is rarely about anything else, and nothing ordinary."""
    is_whole = len(clause) <= _SHORT_CLAUSE and not any(each.startswith("~") for each in clause)
    return is_whole and not _TELLING.isdisjoint(clause)


def _guesses(word: str) -> list[str]:
    """The words of phrases that are perhaps meant, the likeliest first: `TEXTNG`.

    `TIME` is no slip for `TIMES`. A word that means itself is the only one.
    """
    if word in _SPELLED:
        return [word]
    if (drawled := _DRAWL.sub(r"\1", word)) in _SPELLED:
        return [drawled]
    found = [
        each
        for each in _OF_PHRASES.correct(word)
        if (swapped(word, each) or (len(each) > _SHORT and is_near(word, each)))
        and not is_form(word, each)
        and not is_form(each, word)
    ]
    return sorted(found, key=lambda each: not is_beside(word, each)) or [word]
