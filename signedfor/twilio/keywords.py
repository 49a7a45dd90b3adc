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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final, NamedTuple
from unicodedata import category

from signedfor.contract.inbound import InboundKind
from signedfor.twilio import ideas, phrases
from signedfor.twilio.letters import plain, words

_KIND_OF_OPT_OUT_TYPE = {
    "STOP": InboundKind.STOP,
    "START": InboundKind.START,
    "HELP": InboundKind.HELP,
}

_OPT_INS = {InboundKind.START, InboundKind.YES}
_MISSPELLED_LETTERS = range(4, 21)
"""How long a misspelled word is: shorter ones are other words, longer ones no words at all."""
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


class _Misspelled:
    """Finds the word of a list from which another one differs by one slip of a finger.

    A slip is a letter too few, too many or wrong, or two letters in the wrong order. Two words that
    differ by a slip are the same with at most one letter deleted from each.
    """

    def __init__(self, correct: Iterable[str]) -> None:
        self._by_deletion: Mapping[str, list[str]] = defaultdict(list)
        correct = list(correct)
        self._correct = frozenset(correct)
        for word in dict.fromkeys(correct):
            for shorter in self._deletions(word):
                self._by_deletion[shorter].append(word)

    def correct(self, word: str) -> Iterator[str]:
        """Words of the list one slip away."""
        if word in self._correct or len(word) not in _MISSPELLED_LETTERS:
            return
        found = itertools.chain.from_iterable(
            self._by_deletion.get(each, ()) for each in self._deletions(word)
        )
        yield from (each for each in dict.fromkeys(found) if _one_slip(word, each))

    @staticmethod
    def _deletions(word: str) -> set[str]:
        return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def _one_slip(one: str, other: str) -> bool:
    start = len(_common_start(one, other))
    end = len(_common_start(one[start:][::-1], other[start:][::-1]))
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(one), len(other)) <= 1 or one == other[::-1]


def _common_start(one: str, other: str) -> str:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in pairs)


def _swapped(one: str, other: str) -> bool:
    return sorted(one) == sorted(other)


def _once(word: str) -> str:
    """The word with each repeated letter written once: `STOOOPP` is `STOP`."""
    return "".join(letter for letter, _ in itertools.groupby(word))


_CERTAIN: Final = {
    word: row.kind
    for word, row in _WORDS.items()
    if row.kind in {InboundKind.STOP, InboundKind.HELP}
    and (row.is_english or row.is_on_a_list)
    and len(word) in _MISSPELLED_LETTERS
}
_CERTAIN_BY_ONCE: Final = {_once(word): word for word in _CERTAIN}
_OF_CERTAIN: Final = _Misspelled(_CERTAIN)
_OF_ANY: Final = _Misspelled(
    word
    for word, row in _WORDS.items()
    if row.kind in {InboundKind.STOP, InboundKind.HELP} and len(word) in _MISSPELLED_LETTERS
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
_OF_PHRASES: Final = _Misspelled(
    word
    for word in sorted(phrases.vocabulary())
    if word.isascii() and len(word) in _MISSPELLED_LETTERS
)
_SPELLED: Final = phrases.vocabulary() | phrases.ordinary_vocabulary() | _WORDS.keys() | _NEAR_WORDS
"""All words that no other word is read as, and that a run-on word is made of."""
_RUN_ON_LETTERS: Final = range(6, 41)
_RUN_ON_MESSAGE: Final = 8
"""Up to how many words a message is searched for run-on words."""
_LONGEST_MESSAGE: Final = 2000
"""Twilio's have up to 1600 characters."""
_MAX_READ: Final = 4096
"""Characters in a message of WhatsApp; other channels allow fewer."""
_STOP_SIGN: Final = "\N{OCTAGONAL SIGN}"
_DRAWL: Final = re.compile(r"(.)\1{2,}")
_VOWELS: Final = frozenset("AEIOUY")
_BESIDE: Final = [
    row[at : at + 2] for row in ("QWERTYUIOP", "ASDFGHJKL", "ZXCVBNM") for at in range(len(row) - 1)
]
_LEET: Final = str.maketrans("01345", "OIEAS")
"""Digits in place of letters."""


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
    text = phrases.clauses(plain(body))
    return _as_keyword(text, body) or _as_phrase(text)


def _as_keyword(text: str, body: str) -> InboundKind | None:
    """The kind of a message that is one keyword, split or repeated, with or without a please."""
    written = words(text) or words(body.translate(_REGIONAL_INDICATORS))
    if not written:
        symbols = {symbol for symbol in plain(body) if category(symbol) == "So"}
        return InboundKind.STOP if symbols == {_STOP_SIGN} else None
    polite = words(phrases.without_courtesy(text))
    abbreviated = words(phrases.without_courtesy(phrases.with_abbreviations(text)))
    joined = [phrases.without_joined_courtesy("".join(written))]
    for candidate in (written, polite, _run_on(polite), abbreviated, joined):
        if _is_stop(candidate):
            return InboundKind.STOP
        word = "".join(candidate)
        if word.translate(_LEET) in _STOP_WORDS or _STOP_WORDS.issuperset(word.split("2")):
            return InboundKind.STOP
        word = candidate[0] if len(set(candidate)) == 1 else word
        if (known := _WORDS.get(word)) and known.kind not in _OPT_INS:
            return known.kind
    # An opt-in must be unambiguous: "un stop" is none, and "yes please" answers a question.
    if len(set(polite)) == 1 and (known := _WORDS.get(polite[0])) and known.kind in _OPT_INS:
        is_answer = known.kind is InboundKind.YES and len(written) > 1
        return InboundKind.OTHER if is_answer else known.kind
    if len(written) <= 2 and _is_masked_stop(plain(body).strip()):  # noqa: PLR2004 - around a sign
        return InboundKind.STOP
    is_split = polite and (max(map(len, polite)) == 1 or "OUT" in polite[1:2])
    if len(polite) == 1 or is_split:
        return _misspelled_keyword("".join(polite))
    return None


def _is_masked_stop(text: str) -> bool:
    """Whether it is a stop word with a sign in place of a letter: `S*OP`, `ST+P`."""
    signs = [at for at, c in enumerate(text) if not c.isalnum()]
    if len(signs) != 1 or text[signs[0]].isspace() or not 0 < signs[0] < len(text) - 1:
        return False
    before, after = text[: signs[0]], text[signs[0] + 1 :]
    return any(
        len(word) == len(text) and word.startswith(before) and word.endswith(after)
        for word in _MASKED
    )


def _is_stop(message: Sequence[str]) -> bool:
    """Whether it is stop words with or without an emphasis or object: `STOP ALL TEXTS NOW`."""
    said = list(itertools.dropwhile(phrases.LEAD.__contains__, message))
    said = list(itertools.dropwhile(phrases.EMPHASIS.__contains__, reversed(said)))[::-1]
    if "".join(said) in _STOP_WORDS:
        return True
    unsubscribe = "".join(each for each in said if each not in phrases.PRONOUNS)
    if unsubscribe in _UNAMBIGUOUS:
        return True
    is_first = bool(said) and _meant(said[0]) in _STOP_WORDS
    return is_first and all(
        each in phrases.EMPHASIS or _meant(each) in _STOP_WORDS for each in said
    )


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
    if word.rstrip("0123456789") in _STOP_WORDS:
        return InboundKind.REVIEW  # Another list's keyword, perhaps.
    if word in _WORDS or word in _NEAR_WORDS or not word.isalpha():
        return None
    if (drawled := _DRAWL.sub(r"\1", word)) in _STOP_WORDS:
        return InboundKind.STOP
    near = list(_OF_ANY.correct(drawled))
    for each in near:
        is_sure = _swapped(word, each) or _once(word) == _once(each)
        if len(each) > _SHORT or is_sure or each in _MASKED:
            return _WORDS[each].kind
    if near:
        return InboundKind.REVIEW
    if word not in _SPELLED and any(_is_jumbled(word, each) for each in _MASKED):
        return InboundKind.STOP
    return InboundKind.STOP if any(_two_slips(word, each) for each in _LONG_STOP_WORDS) else None


def near_keywords(word: str) -> set[str]:
    """The keywords of which a word that is not listed may be a misspelling."""
    if word in _WORDS:
        return set()
    return {
        *_OF_ANY.correct(word),
        *(each for each in _LONG_STOP_WORDS if _two_slips(word, each)),
    }


def _is_jumbled(one: str, other: str) -> bool:
    """Whether it is the same letters in another order: `SOPT`. Or one key beside each: `STIO`."""
    return (one[:1] == other[0] and _swapped(one, other)) or _is_beside(one, other)


def _is_beside(one: str, other: str) -> bool:
    """Whether the hand lay one key beside the right one for some letters: `STIO`."""
    pairs = [{*pair} for pair in zip(one, other, strict=False)]
    is_beside = all(len(pair) == 1 or any(pair <= {*row} for row in _BESIDE) for pair in pairs)
    return len(one) == len(other) and is_beside and sum(len(pair) == 1 for pair in pairs) > 1


def _two_slips(one: str, other: str) -> bool:
    """Whether a word differs from a long one by two slips at most, but not at its beginning."""
    if one[:2] != other[:2] or abs(len(one) - len(other)) > 2:  # noqa: PLR2004
        return False
    shortened = {one[:at] + one[at + 1 :] for at in range(2, len(one))}
    lengthened = {other[:at] + other[at + 1 :] for at in range(2, len(other))}
    return any(_one_slip(each, other) for each in shortened) or any(
        _one_slip(one, each) for each in lengthened
    )


def _meant(word: str) -> str:
    """The keyword that is surely meant, or the word itself."""
    if word in _WORDS or word in _NEAR_WORDS or len(word) not in _MISSPELLED_LETTERS:
        return word
    if (read := word.translate(_LEET)) in _STOP_WORDS:
        return read
    if not word.isalpha():
        return word
    if meant := _CERTAIN_BY_ONCE.get(_once(word)):
        return meant
    for each in _OF_CERTAIN.correct(word):
        is_long = _WORDS[each].is_english and len(each) >= _LONG
        if _swapped(word, each) or is_long or each == "STOP":
            return each
    return word


def _as_phrase(text: str) -> InboundKind:
    """REVIEW if a part of the message reads like an opt-out, else OTHER."""
    text = phrases.without_ordinary(text)
    text = " ".join(map(_meant, text.split(" ")))
    if len(words(text)) <= _SHORT_MESSAGE and " STOP " in text:
        return InboundKind.REVIEW
    clauses = [clause.split() for clause in text.split(phrases.CLAUSE_END)]
    if any(map(_tells, clauses)):
        return InboundKind.REVIEW
    for clause in phrases.without_filler(text).split(phrases.CLAUSE_END):
        if (rest := clause.split()) and _STOP_WORDS.issuperset(rest):
            return InboundKind.REVIEW
    if phrases.ask_to_opt_out(text) or any(map(ideas.ask_to_opt_out, clauses)):
        return InboundKind.REVIEW
    if len(text) > _LONGEST_MESSAGE:
        return InboundKind.OTHER  # No slip is looked for, so that no body takes long.
    read = text.split(" ")
    parts = _run_on(read) if len(words(text)) <= _RUN_ON_MESSAGE else read
    at_once = phrases.without_full_stops(text)
    for guessed in (" ".join(map(_guessed, read)), " ".join(parts), at_once):
        if guessed != text and phrases.ask_to_opt_out_if_guessed(guessed):
            return InboundKind.REVIEW
    return InboundKind.OTHER


def _tells(clause: Sequence[str]) -> bool:
    """Whether it is short, has a word that is rarely about anything else, and nothing ordinary."""
    is_whole = len(clause) <= _SHORT_CLAUSE and not any(each.startswith("~") for each in clause)
    return is_whole and not _TELLING.isdisjoint(clause)


def _guessed(word: str) -> str:
    """The word of a phrase that is perhaps meant: `TEXTNG`. `TIME` is no slip for `TIMES`."""
    if word in _SPELLED:
        return word
    if (drawled := _DRAWL.sub(r"\1", word)) in _SPELLED:
        return drawled
    for each in _OF_PHRASES.correct(word):
        is_likely = _swapped(word, each) or (len(each) > 4 and _is_near(word, each))  # noqa: PLR2004
        if is_likely and not _is_form(word, each) and not _is_form(each, word):
            return each
    return word


def _is_form(word: str, other: str) -> bool:
    return word[:-1] == other and word[-1] in "ASNDRY"


def _is_near(word: str, other: str) -> bool:
    """Whether a wrong letter is beside the right one on the keyboard, or sounds like it."""
    wrong = {frozenset(pair) for pair in zip(word, other, strict=False) if len(set(pair)) > 1}
    return len(word) != len(other) or all(
        pair <= _VOWELS or any(pair <= {*row} for row in _BESIDE) for pair in wrong
    )
