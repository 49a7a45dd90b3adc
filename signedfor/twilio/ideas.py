"""Finds opt-outs by the ideas in a clause, in many languages. The table is `ideas.toml`.

Each language maps its words to the same few ideas, and the same rules say which ideas together are
an opt-out. So a wording needs no listing if its words are known.
"""

import itertools
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final, NamedTuple

from signedfor.twilio.letters import plain, words

_ORDINARY: Final = "ordinary"
"""Words beside which a rule does not hold, as in "cancel my order"."""


class _Meaning(NamedTuple):
    language: str
    idea: str


class _Found(NamedTuple):
    place: int
    idea: str


def _rules(read: Iterable[str]) -> dict[str, list[frozenset[str]]]:
    """The rules by each of their ideas."""
    by_idea: dict[str, list[frozenset[str]]] = defaultdict(list)
    for rule in read:
        for idea in rule.split():
            by_idea[idea].append(frozenset(rule.split()))
    return by_idea


with Path(__file__).with_name("ideas.toml").open("rb") as _table:
    _TABLE: Final = tomllib.load(_table)
_CLOSE: Final[int] = _TABLE["rules"]["close"]
"""How many words there may be from the first to the last one of a rule."""
_LETTERS_OF_A_WORD: Final = 4
"""In scripts without spaces, where Korean syllables count as their letters."""
_RULES: Final = _rules(_TABLE["rules"]["any"])


class _Words:
    """Finds ideas in clauses whose words are separated by spaces."""

    def __init__(self, languages: Mapping[str, Mapping[str, str]]) -> None:
        self._entries: dict[str, list[_Meaning]] = defaultdict(list)
        self._beginnings: dict[str, list[_Meaning]] = defaultdict(list)
        for language, ideas in languages.items():
            for idea, entries in ideas.items():
                for entry in entries.split():
                    table = self._beginnings if entry.endswith("*") else self._entries
                    table[_written(entry)].append(_Meaning(language, idea))
        self._lengths = sorted({len(each) for each in self._beginnings})
        self._longer: dict[str, int] = defaultdict(int)
        """How many words may follow a word in an entry."""
        for entry in (*self._entries, *self._beginnings):
            first, *rest = entry.split()
            self._longer[first] = max(self._longer[first], len(rest))

    def find(self, clause: Sequence[str]) -> dict[str, list[_Found]]:
        """The ideas of a clause by language, from left to right."""
        found: dict[str, list[_Found]] = defaultdict(list)
        for place, word in enumerate(clause):
            for language, idea in self._meanings(word):
                found[language].append(_Found(place, idea))
            entry = word
            for following in clause[place + 1 : place + 1 + self._longer.get(word, 0)]:
                entry = f"{entry} {following}"
                for language, idea in self._meanings(entry):
                    found[language].append(_Found(place, idea))
        return found

    def _meanings(self, entry: str) -> Iterator[_Meaning]:
        yield from self._entries.get(entry, ())
        for length in self._lengths:
            if length > len(entry):
                break
            yield from self._beginnings.get(entry[:length], ())


class _Letters:
    """Finds ideas in clauses of scripts that write no spaces between words."""

    def __init__(self, languages: Mapping[str, Mapping[str, str]]) -> None:
        self._entries = [
            (_written(entry), _Meaning(language, idea))
            for language, ideas in languages.items()
            for idea, entries in ideas.items()
            for entry in entries.split()
        ]

    def find(self, clause: str) -> dict[str, list[_Found]]:
        """The ideas of a clause by language, in no order; the places are those of letters."""
        found: dict[str, list[_Found]] = defaultdict(list)
        for entry, (language, idea) in self._entries:
            if (at := clause.find(entry)) >= 0:
                found[language].append(_Found(at, idea))
        return found


def _written(entry: str) -> str:
    return " ".join(words(plain(entry.replace("_", " "))))


_WORDS: Final = _Words(_TABLE["languages"])
_LETTERS: Final = _Letters(_TABLE["joined"])


def vocabulary(language: str) -> frozenset[str]:
    """Every whole word of a language's ideas."""
    entries = " ".join(_TABLE["languages"][language].values()).split()
    whole = (each for each in entries if not each.endswith("*"))
    return frozenset(word for each in whole for word in _written(each).split())


def ask_in(language: str, clause: Sequence[str]) -> bool:
    """Whether the words of a clause hold the ideas of an opt-out in that language."""
    return _holds(_WORDS.find(clause).get(language, ()), _CLOSE)


def features(clause: Sequence[str]) -> set[str]:
    """The ideas of a clause in any language, and the pairs of them that are close together."""
    joined = "".join(clause)
    found = [(each, _CLOSE) for each in _WORDS.find(clause).values()]
    if not joined.isascii():
        found += [(each, _CLOSE * _LETTERS_OF_A_WORD) for each in _LETTERS.find(joined).values()]
    return {feature for of, close in found for feature in _ideas_and_pairs(of, close)}


def _ideas_and_pairs(found: Sequence[_Found], close: int) -> Iterator[str]:
    ideas = sorted(set(found))
    yield from (idea for _, idea in ideas)
    for (first, idea), (last, other) in itertools.combinations(ideas, 2):
        if last - first <= close:
            yield f"{idea} {other}"


def ask_to_opt_out(clause: Sequence[str]) -> bool:
    """Whether the words of a clause hold the ideas of an opt-out in some language."""
    joined = "".join(clause)
    if any(_holds(found, _CLOSE) for found in _WORDS.find(clause).values()):
        return True
    if joined.isascii():
        return False
    close = _CLOSE * _LETTERS_OF_A_WORD
    return any(_holds(found, close) for found in _LETTERS.find(joined).values())


def _holds(found: Sequence[_Found], close: int) -> bool:
    """Whether the ideas of a rule are close together, with nothing ordinary among them."""
    ordinary = {place for place, idea in found if idea == _ORDINARY}
    latest: dict[str, int] = {}
    for place, idea in sorted(found):
        latest[idea] = place
        for rule in _RULES.get(idea, ()):
            if not latest.keys() >= rule:
                continue
            places = {latest[each] for each in rule}
            first, last = min(places), max(places)
            if last - first <= close and ordinary.isdisjoint(_around(first, last)):
                return True
    return False


def _around(first: int, last: int) -> range:
    return range(first - 1, last + 3)
