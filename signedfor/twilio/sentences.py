"""Opt-outs in a person's own words: what the rules say, and the model of whole texts.

The rules are `ideas.toml` and `phrases.toml`. They look for an opt-out anywhere in a message; the
model, `text_model.csv`, knows what the whole message resembles. Where the model is almost certain
it decides: an ordinary message needs no review, and an opt-out that no rule finds does.
"""

from collections.abc import Sequence
from typing import Final

from signedfor.contract.inbound import InboundKind
from signedfor.twilio import ideas, phrases, text_model
from signedfor.twilio.keywords import (
    DRAWL,
    SHORT,
    SPELLED,
    STOP_WORDS,
    parts_of,
    run_on,
    surely_meant,
)
from signedfor.twilio.letters import words
from signedfor.twilio.slips import (
    MISSPELLED_LETTERS,
    Misspelled,
    is_beside,
    is_form,
    is_near,
    swapped,
)

_SHORT_MESSAGE = 3
_SHORT_CLAUSE = 6
_GUESSED_MESSAGE: Final = 10
"""Up to how many words a message is searched for misspelled words of other languages."""
_TELLING = frozenset({"STOP", "QUIT", "UNSUBSCRIBE", "TEXTING", "TXTING", "MESSAGING"})
"""Words that are rarely about anything but our messages in a short clause, if ordinary phrases such
as `bus stop` are taken out."""
_OF_PHRASES: Final = Misspelled(
    word
    for word in sorted(phrases.vocabulary() | ideas.vocabulary("en"))
    if word.isascii() and len(word) in MISSPELLED_LETTERS
)
_RUN_ON_MESSAGE: Final = 8
"""Up to how many words a message is searched for run-on words."""
_LONGEST_MESSAGE: Final = 2000
"""Twilio's have up to 1600 characters."""


def as_sentence(text: str, body: str) -> InboundKind:
    """What the rules say, unless the message as a whole almost certainly is something else."""
    score = text_model.score(body, text)
    if score < text_model.ORDINARY:
        return InboundKind.OTHER
    rest = phrases.without_ordinary(text)
    # Of a word or two, or beside what is known to be ordinary ("don't stop"), it says too little.
    if score > text_model.OPT_OUT and rest == text and len(words(text)) >= _SHORT_MESSAGE:
        return InboundKind.REVIEW
    return _as_phrase(rest)


def near_phrases(word: str) -> bool:
    """Whether a word that is not listed may be read as a word of a phrase, or as several."""
    return word not in SPELLED and (_guesses(word) != [word] or parts_of(word) != [word])


def _as_phrase(text: str) -> InboundKind:
    """REVIEW if a part of the message, without ordinary phrases, reads like an opt-out."""
    text = " ".join(map(surely_meant, text.split(" ")))
    clauses = [clause.split() for clause in text.split(phrases.CLAUSE_END)]
    if _asks_as_written(text, clauses):
        return InboundKind.REVIEW
    if len(text) > _LONGEST_MESSAGE:
        return InboundKind.OTHER  # No slip is looked for, so that no body takes long.
    if len(words(text)) <= _GUESSED_MESSAGE and any(map(ideas.ask_if_misspelled, clauses)):
        return InboundKind.REVIEW
    read = text.split(" ")
    guesses = list(map(_guesses, read))
    parts = " ".join(run_on(read)) if len(words(text)) <= _RUN_ON_MESSAGE else text
    likely, unlikely = (" ".join(each[at] for each in guesses) for at in (0, -1))
    for guessed in {likely, unlikely, parts, phrases.without_full_stops(text)} - {text}:
        if _asks_if_guessed(guessed):
            return InboundKind.REVIEW
    clauses = [each.split() for each in phrases.without_ordinary(parts).split(phrases.CLAUSE_END)]
    is_split = len(words(parts)) > len(words(text)) + 1
    return InboundKind.REVIEW if is_split and any(map(_tells, clauses)) else InboundKind.OTHER


def _asks_as_written(text: str, clauses: Sequence[Sequence[str]]) -> bool:
    if len(words(text)) <= _SHORT_MESSAGE and " STOP " in text:
        return True
    left = phrases.without_filler(text).split(phrases.CLAUSE_END)
    return (
        any(map(_tells, clauses))
        or any((rest := clause.split()) and STOP_WORDS.issuperset(rest) for clause in left)
        or any(map(phrases.ask_to_opt_out, {text, phrases.without_courtesy_around(text)}))
        or any(map(ideas.ask_to_opt_out, clauses))
        or ideas.ask_together(words(text))
    )


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
    if word in SPELLED:
        return [word]
    if (drawled := DRAWL.sub(r"\1", word)) in SPELLED:
        return [drawled]
    found = [
        each
        for each in _OF_PHRASES.correct(word)
        if (swapped(word, each) or (len(each) > SHORT and is_near(word, each)))
        and not is_form(word, each)
        and not is_form(each, word)
    ]
    return sorted(found, key=lambda each: not is_beside(word, each)) or [word]
