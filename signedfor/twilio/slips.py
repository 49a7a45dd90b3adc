"""Slips of a finger: how one word becomes another. All words are in plain capital letters."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

MISSPELLED_LETTERS = range(4, 21)
"""How long a misspelled word is: shorter ones are other words, longer ones no words at all."""
_VOWELS: Final = frozenset("AEIOUY")
_BESIDE: Final = [
    row[at : at + 2] for row in ("QWERTYUIOP", "ASDFGHJKL", "ZXCVBNM") for at in range(len(row) - 1)
]
_AROUND: Final = [
    *_BESIDE,
    *map("".join, zip("QWERTYUIOPASDFGHJK", "ASDFGHJKLLZXCVBNM,", strict=True)),
    *map("".join, zip("DFGHJ", "XCVBN", strict=True)),
]
"""Pairs of keys of which one is beside or below the other."""
_SOUND: Final = re.compile("QU|CK|C(?!H)|Q")
_SOUNDS: Final = str.maketrans("ZVWY", "SBBI")
_SILENT: Final = re.compile("H")


class Misspelled:
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
        if word in self._correct or len(word) not in MISSPELLED_LETTERS:
            return
        found = itertools.chain.from_iterable(
            self._by_deletion.get(each, ()) for each in self._deletions(word)
        )
        yield from (each for each in dict.fromkeys(found) if _one_slip(word, each))

    @staticmethod
    def _deletions(word: str) -> list[str]:
        return list(dict.fromkeys([word, *(word[:at] + word[at + 1 :] for at in range(len(word)))]))


def _one_slip(one: str, other: str) -> bool:
    start = len(_common_start(one, other))
    end = len(_common_start(one[start:][::-1], other[start:][::-1]))
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(one), len(other)) <= 1 or one == other[::-1]


def _common_start(one: str, other: str) -> str:
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in pairs)


def swapped(one: str, other: str) -> bool:
    """Whether it is the same letters in another order."""
    return sorted(one) == sorted(other)


def once(word: str) -> str:
    """The word with each repeated letter written once: `STOOOPP` is `STOP`."""
    return "".join(letter for letter, _ in itertools.groupby(word))


def as_heard(word: str) -> str:
    """The word with one letter for all that sound alike: `QUIERO` and `KIERO` are the same."""
    return once(_SILENT.sub("", _SOUND.sub("K", word).replace("PH", "F").translate(_SOUNDS)))


def is_jumbled(one: str, other: str) -> bool:
    """Whether it is the same letters in another order: `SOPT`. Or one key beside each: `STIO`.

    Its last letter may be there twice: `SOPTP`.
    """
    letters = one[:-1] if len(one) > len(other) and one[-1] == other[-1] else one
    return (one[:1] == other[0] and swapped(letters, other)) or is_beside(one, other, _AROUND)


def is_beside(one: str, other: str, beside: Sequence[str] = _BESIDE) -> bool:
    """Whether the hand lay one key beside the right one for some letters: `STIO`."""
    pairs = [{*pair} for pair in zip(one, other, strict=False)]
    is_beside = all(len(pair) == 1 or any(pair <= {*row} for row in beside) for pair in pairs)
    return len(one) == len(other) and is_beside and sum(len(pair) == 1 for pair in pairs) > 1


def two_slips(one: str, other: str) -> bool:
    """Whether a word differs from a long one by two slips at most, but not at its beginning."""
    if one[:2] != other[:2] or abs(len(one) - len(other)) > 2:  # noqa: PLR2004
        return False
    shortened = {one[:at] + one[at + 1 :] for at in range(2, len(one))}
    lengthened = {other[:at] + other[at + 1 :] for at in range(2, len(other))}
    return any(_one_slip(each, other) for each in shortened) or any(
        _one_slip(one, each) for each in lengthened
    )


def is_form(word: str, other: str) -> bool:
    """Whether a word is another one with an ending: `TIMES`."""
    return word[:-1] == other and word[-1] in "ASNDRY"


def is_near(word: str, other: str) -> bool:
    """Whether a wrong letter is beside the right one on the keyboard, or sounds like it."""
    wrong = {frozenset(pair) for pair in zip(word, other, strict=False) if len(set(pair)) > 1}
    return len(word) != len(other) or all(
        pair <= _VOWELS or any(pair <= {*row} for row in _BESIDE) for pair in wrong
    )
