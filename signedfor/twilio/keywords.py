"""Classifies inbound messages: opt-out, opt-in, help, or a text that a person should review.

Twilio acts on a keyword only when it is the whole message. People also write "please stop texting
me", and US law lets them revoke consent by any reasonable means, so a message with a stop word in
a phrase needs review. START and HELP in a phrase change nothing and need no review.
"""

import unicodedata
from enum import StrEnum
from itertools import pairwise


class InboundKind(StrEnum):
    """What an inbound message asks for."""

    STOP = "stop"
    """Opt out."""
    START = "start"
    """Opt in again."""
    YES = "yes"
    """Opt in again to this sender; it may as well answer a question."""
    HELP = "help"
    """Asks for help; Twilio answers it."""
    REVIEW = "review"
    """Perhaps an opt-out in the person's own words; an operator must read it."""
    OTHER = "other"
    """Anything else."""


_STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"}
)
_KIND_OF_OTHER_WORD = {
    **dict.fromkeys(("START", "UNSTOP"), InboundKind.START),
    "YES": InboundKind.YES,
    **dict.fromkeys(("HELP", "INFO"), InboundKind.HELP),
}

_KIND_OF_OPT_OUT_TYPE = {
    "STOP": InboundKind.STOP,
    "START": InboundKind.START,
    "HELP": InboundKind.HELP,
}


def classify_inbound(body: str, opt_out_type: str | None) -> InboundKind:
    """Return what the message asks for.

    `opt_out_type` is Twilio's OptOutType and takes precedence over the body, because Advanced
    Opt-Out may know keywords in other languages; values other than Twilio's three are ignored.
    Case, width, accents, punctuation, emoji and invisible characters do not matter, and a stop
    word may be split or repeated: `opt-out`, `stop all`, `S.T.O.P`, `Stop! Stop!`.
    """
    kind = _KIND_OF_OPT_OUT_TYPE.get((opt_out_type or "").strip().upper())
    if kind is not None:
        return kind
    words = _words(body)
    if "".join(words) in _STOP_WORDS or (words and _STOP_WORDS.issuperset(words)):
        return InboundKind.STOP
    if not _STOP_WORDS.isdisjoint(words) or ("OPT", "OUT") in pairwise(words):
        return InboundKind.REVIEW
    # Unlike an opt-out, an opt-in must be unambiguous: "un stop" needs review, by the line above.
    return _KIND_OF_OTHER_WORD.get(" ".join(words), InboundKind.OTHER)


def _words(body: str) -> list[str]:
    """Return the words in plain upper case: runs of letters and digits, as a reader sees them.

    NFKD splits full-width, styled and accented letters into plain letters and marks. Marks and
    invisible characters (zero width, soft hyphen, bidi) are removed, even inside a word; all other
    characters separate words. `str.upper` ignores the locale, so a Turkish i becomes an I.
    """
    plain = unicodedata.normalize("NFKD", body).upper()
    visible = (c for c in plain if unicodedata.category(c) not in _INVISIBLE)
    return "".join(c if c.isalnum() else " " for c in visible).split()


_INVISIBLE = {"Cf", "Mn", "Me"}
"""Unicode categories of format characters and marks."""
