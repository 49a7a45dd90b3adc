"""The phrases in which people opt out, as patterns. The table is `phrases.toml`."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final

from signedfor.twilio.letters import plain, words

CLAUSE_END: Final = "|"
_BETWEEN_CLAUSES = re.compile(r"[.!?,;:…\r\n()\"“”„«»|]+| [-–—]+(?= )")  # noqa: RUF001 - dashes
_APOSTROPHE = re.compile(r"(?<=\w)['’‘`´](?=\w)")  # noqa: RUF001 - apostrophes
_OATH = re.compile(r"\bF[A-Z]?[*@#%!$&]+[A-Z]*")
_EXCLAMATION = re.compile(r"!+1+")
_SPLIT_NOT = re.compile(
    r"\b(DO|DOES|DID|CA|WO|IS|ARE|HAVE|WOULD) NT\b|\b(DON|DOESN|DIDN|CAN|WON|ISN|AREN|WOULDN) T\b"
)
_NUMBER_SIGN = re.compile(r"#(?!\w)")
_QUOTATION = re.compile(r"[“”„«»\"].*[“”„«»\"]|[“„«\"].*", re.DOTALL)
_CLOSING = (
    "thanks|thank you|thx|cheers|regards|best|sincerely|gracias|saludos|merci|cordialement|danke|"
    "gru(?:ß|ss)|mfg|lg|vg|grazie|saluti|obrigad[oa]|bedankt|groet(?:en|jes)?|mvh|tack|tak|takk"
)
_NAME = r"[A-ZÀ-Þ][\w'’-]{1,20}(?: [A-ZÀ-Þ][\w'’-]{0,20}\.?)?"  # noqa: RUF001 - an apostrophe
_TITLES = r"(?:(?:Mrs?|Ms|Miss|Dr|Sra?|Mme|Herr|Frau)\.? |[A-Z]\. ?){1,3}"
_SIGNATURE = re.compile(
    r"(?:\n--.*|\n(?i:sent (?:from|via|with|by)|get \S+ for|enviado (?:desde|do)|"
    r"envoyé (?:de|depuis)|inviato da|gesendet (?:von|mit)|von meinem|verzonden|verstuurd)\b"
    r".{1,60}|"
    rf"(?i:\b(?:{_CLOSING})\b)[\s,.!]+(?:{_TITLES})?{_NAME}|"
    rf"\s[-–—~]{{1,2}} ?(?:{_TITLES})?{_NAME}|"  # noqa: RUF001 - dashes
    rf"\s\((?:[Tt]his is )?(?:{_TITLES})?{_NAME}\)|"
    rf"[,.!]\s{_TITLES}{_NAME})\Z",
    re.DOTALL,
)
_NAME_BELOW_A_WORD = re.compile(rf"\s*\S+(\s*\n\s*{_NAME})")
_GROUP = re.compile("<([^>]+)>")
_QUOTED = "QUOTE"


def clauses(text: str) -> str:
    """Return plain text as phrases see it: ` | HELLO | PLEASE STOP | `.

    Single spaces separate words, `|` separates clauses. An apostrophe is no separator: `DONT`.
    """
    text = _NUMBER_SIGN.sub(" NUMBER ", _APOSTROPHE.sub("", text))
    text = _EXCLAMATION.sub("!", _SPLIT_NOT.sub(lambda found: "".join(found[0].split()), text))
    text = _OATH.sub("FUCK", text)
    parts = (" ".join(words(each)) for each in _BETWEEN_CLAUSES.split(text))
    return f" | {' | '.join(part for part in parts if part)} | "


def _read_table() -> dict[str, dict[str, str | list[str]]]:
    with Path(__file__).with_name("phrases.toml").open("rb") as table:
        return tomllib.load(table)


_TABLE: Final = _read_table()
_GROUPS: Final = {name: str(members).split() for name, members in _TABLE["groups"].items()}


def _choices(token: str) -> Iterator[str]:
    """The words that a token stands for: plain, `_` a space, `*` at either end, or ^ or $."""
    for choice in token.removesuffix("?").split("/"):
        if group := _GROUP.search(choice):
            for member in _GROUPS[group[1]]:
                yield from _choices(choice.replace(group[0], member, 1))
        elif choice in {"^", "$"}:
            yield choice
        else:
            middle = " ".join(words(plain(choice.replace("_", " "))))
            yield f"{'*' * choice.startswith('*')}{middle}{'*' * choice.endswith('*')}"


def _expression(token: str) -> str:
    """The regular expression of a token; it begins with the space before the word."""
    if token == "...":  # noqa: S105 - not a password
        return r"(?: [^ |]+){0,4}"
    if token.startswith("!"):
        others = "|".join(map(_word, _choices(token[1:])))
        return f"(?! (?:{others})) [^ |]+(?= )"
    choices = sorted(_choices(token), key=len, reverse=True)
    found = (
        [f" (?:{'|'.join(_word(each) for each in choices if each != '$')})"]
        if set(choices) - {"$"}
        else []
    )
    if "$" in choices:
        found.append(r"(?= \|)")
    return f"(?:{'|'.join(found)}){'?' if token.endswith('?') else ''}"


def _word(choice: str) -> str:
    if choice == "^":
        return r"\|"
    start = "[^ |]*" if choice.startswith("*") else ""
    end = "[^ |]*" if choice.endswith("*") else "(?= )"
    return f"{start}{re.escape(choice.strip('*'))}{end}"


class _Phrase:
    """One phrase of the table. Only a few are ever compiled: those whose first word was seen."""

    def __init__(self, phrase: str) -> None:
        self.tokens = phrase.split()
        if self.tokens[0].endswith("?") or self.tokens[0].startswith(("...", "*", "!")):
            raise ValueError(f"phrases.toml: a phrase begins with a word: {phrase}")

    def can_be_in(self, present: AbstractSet[str]) -> bool:
        """Whether each of its words, or one of the choices, is among these."""
        return all(not present.isdisjoint(of) for of in self._required)

    @cached_property
    def _required(self) -> list[frozenset[str]]:
        """A word of each choice of each token, if all of them have a whole one."""
        tokens = [
            list(_choices(token))
            for token in self.tokens
            if token != "..." and not token.startswith("!") and not token.endswith("?")  # noqa: S105 - not a password
        ]
        return [
            frozenset(each.split()[0] for each in of if each)
            for of in tokens
            if not any("*" in each or each in {"^", "$"} for each in of)
        ]

    @cached_property
    def match(self) -> re.Pattern[str]:
        return re.compile("".join(map(_expression, self.tokens)))


class _Phrases:
    """A list of phrases, found by their first words."""

    def __init__(self, by_language: Mapping[str, str | list[str]]) -> None:
        self._starting: dict[str, list[_Phrase]] = defaultdict(list)
        self.phrases = [_Phrase(each) for each in chain.from_iterable(by_language.values())]
        for phrase in self.phrases:
            for choice in _choices(phrase.tokens[0]):
                first = CLAUSE_END if choice == "^" else choice.split()[0]
                self._starting[first].append(phrase)
        self._prefixes = frozenset(len(each) - 1 for each in self._starting if each.endswith("*"))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where phrases are in the clauses, from left to right."""
        end = 0
        present = frozenset(text.split())
        possible: dict[str, list[_Phrase]] = {}
        for word in re.finditer(" ([^ ]+)", text):
            if word.start() < end:
                continue
            if (candidates := possible.get(word[1])) is None:
                candidates = [each for each in self._beginning(word[1]) if each.can_be_in(present)]
                possible[word[1]] = candidates
            for phrase in candidates:
                if found := phrase.match.match(text, word.start()):
                    yield found.span()
                    end = max(found.end(), word.start() + 1)
                    break

    def _beginning(self, word: str) -> Iterator[_Phrase]:
        yield from self._starting.get(word, ())
        for length in self._prefixes:
            if length <= len(word):
                yield from self._starting.get(f"{word[:length]}*", ())


_OPT_OUT: Final = _Phrases(_TABLE["review"])
_ORDINARY: Final = _Phrases(_TABLE["other"])


def _group(*names: str) -> str:
    return _expression("/".join(f"<{name}>" for name in names))


LEAD: Final = frozenset(chain.from_iterable(map(_choices, _GROUPS["lead"])))
"""Words before a keyword that change nothing."""
PRONOUNS: Final = frozenset(chain.from_iterable(map(_choices, _GROUPS["pronouns"])))
"""Words around a keyword that change nothing if it is no ordinary word."""
EMPHASIS: Final = frozenset(chain.from_iterable(map(_choices, _GROUPS["emphasis"])))
"""Words after a keyword that change nothing."""
AFTER_STOP: Final = frozenset(chain.from_iterable(map(_choices, _GROUPS["after_stop"])))
"""Words after STOP that change nothing."""
_COURTESY: Final = re.compile(_group("courtesy"))
_COURTESY_AROUND: Final = re.compile(
    rf"(?<=\|)(?:{_group('courtesy')})+|(?:{_group('courtesy')})+(?= \|)"
)
_JOINED_COURTESY: Final = re.compile(
    "|".join(
        sorted(
            ("".join(words(plain(each))) for each in _GROUPS["joined_courtesy"]),
            key=len,
            reverse=True,
        )
    )
)
_SPELLED_OUT: Final = re.compile(r"(?: [^ |](?: \|)?(?= )){2,}")
_FILLER: Final = re.compile(_group("courtesy", "filler") + "| [0-9]+(?= )")


def _form(reaction: str) -> str:
    return " ".join(words(plain(reaction.replace("…", f" {_QUOTED} "))))


_REACTIONS: Final = frozenset(
    _form(each) for each in re.split(r"[|\n]", str(_TABLE["reactions"]["forms"])) if each
)


def vocabulary() -> frozenset[str]:
    """Every word of the phrases that ask for an opt-out, except parts of words."""
    return _vocabulary(_OPT_OUT)


def ordinary_vocabulary() -> frozenset[str]:
    """The same of ordinary phrases."""
    return _vocabulary(_ORDINARY)


def _vocabulary(of: _Phrases) -> frozenset[str]:
    tokens: Iterable[str] = chain.from_iterable(phrase.tokens for phrase in of.phrases)
    found = chain.from_iterable(
        _choices(token)
        for token in tokens
        if token != "..." and not token.startswith("!")  # noqa: S105 - not a password
    )
    return frozenset(word for each in found for word in each.split() if word.isalnum())


def without_courtesy(text: str) -> str:
    """Return the clauses without please, thanks, hello and the like."""
    return _COURTESY.sub("", text)


def without_courtesy_around(text: str) -> str:
    """Return the clauses without such words at their beginning and end."""
    return _COURTESY_AROUND.sub("", text)


def with_abbreviations(text: str) -> str:
    """Return the clauses with single letters in a row as one word: `A | U | B` is `AUB`."""
    return _SPELLED_OUT.sub(lambda found: f" {''.join(words(found[0]))}", text)


def without_joined_courtesy(word: str) -> str:
    """Return a word of a script without spaces without its please and thank you."""
    if word.isascii():
        return word
    return _JOINED_COURTESY.sub("", word)


def without_filler(text: str) -> str:
    """Return the clauses without words that make no sentence of a stop word."""
    return _FILLER.sub("", text)


def without_ordinary(text: str) -> str:
    """Return the clauses without phrases such as `bus stop` and `end of`."""
    kept, start = [], 0
    for begin, end in _ORDINARY.find(text):
        kept.append(text[start:begin])
        start = end
    return " ~".join([*kept, text[start:]])


def without_full_stops(text: str) -> str:
    """Return the clauses as one if each is one word: `LEAVE. ME.` is `LEAVE ME`."""
    parts = [each.strip() for each in text.strip(f" {CLAUSE_END}").split(CLAUSE_END)]
    return text if any(" " in each for each in parts) else f" | {' '.join(parts)} | "


def ask_to_opt_out(text: str) -> bool:
    """Whether a phrase of the clauses reads like an opt-out."""
    return any(True for _ in _OPT_OUT.find(text))


def ask_to_opt_out_if_guessed(text: str) -> bool:
    """The same where words were guessed: one guessed word alone says nothing."""
    return any(len(words(text[begin:end])) > 1 for begin, end in _OPT_OUT.find(text))


def signature(body: str) -> str:
    """The end of the message, without white space, if it looks like a signature: `Thanks, Kim`.

    That is what a mail program or a person puts below a message. It may be the message itself:
    `Thanks. Stop`.
    """
    # White space is taken off outside of the pattern, which would try each of its characters as a
    # start: 4,096 line feeds took 0.8 seconds.
    body = body.rstrip()
    if found := _SIGNATURE.search(body):
        return found[0]
    below = _NAME_BELOW_A_WORD.fullmatch(body)
    return below[1] if below else ""


def is_reaction(body: str) -> bool:
    """Whether the message is a reaction to one of ours, which it quotes: `Liked “Reply STOP”`."""
    marked, quotations = _QUOTATION.subn(" … ", body, count=1)
    return quotations > 0 and _form(marked) in _REACTIONS
