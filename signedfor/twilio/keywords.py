"""What an inbound message asks for: opt out, opt in, help, or something a person should read.

Twilio acts on a keyword only when it is the whole message. People also write "please stop texting
me", and US law lets them revoke consent by any reasonable means, so a stop word inside a phrase
is kept for review. START and HELP inside a phrase change nothing and need none.
"""

import unicodedata
from enum import StrEnum
from itertools import pairwise


class InboundKind(StrEnum):
    """What an inbound message asks for."""

    STOP = "stop"
    """No more messages."""
    START = "start"
    """Messages again."""
    HELP = "help"
    """Who is writing; Twilio answers it."""
    REVIEW = "review"
    """Perhaps an opt-out in the person's own words: somebody must read it."""
    OTHER = "other"
    """Anything else."""


_STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"}
)
_KIND_OF_OTHER_WORD = {
    **dict.fromkeys(("START", "YES", "UNSTOP"), InboundKind.START),
    **dict.fromkeys(("HELP", "INFO"), InboundKind.HELP),
}

_KIND_OF_OPT_OUT_TYPE = {
    "STOP": InboundKind.STOP,
    "START": InboundKind.START,
    "HELP": InboundKind.HELP,
}


def classify_inbound(body: str, opt_out_type: str | None) -> InboundKind:
    """Return what the message asks for.

    `opt_out_type` is Twilio's OptOutType and wins over the words, because Advanced Opt-Out may
    know words of other languages; a value that is none of Twilio's three is as good as none.
    Words count whatever their case, width and accents, and whatever punctuation, emoji and
    invisible characters stand around them; a stop word also in pieces or said twice: `opt-out`,
    `stop all`, `S.T.O.P`, `Stop! Stop!`.
    """
    said = _KIND_OF_OPT_OUT_TYPE.get((opt_out_type or "").strip().upper())
    if said is not None:
        return said
    words = _words(body)
    if "".join(words) in _STOP_WORDS or (words and _STOP_WORDS.issuperset(words)):
        return InboundKind.STOP
    if not _STOP_WORDS.isdisjoint(words) or ("OPT", "OUT") in pairwise(words):
        return InboundKind.REVIEW
    # Unlike opting out, opting in must be unmistakable: "un stop" has come to the line above.
    return _KIND_OF_OTHER_WORD.get(" ".join(words), InboundKind.OTHER)


def _words(body: str) -> list[str]:
    """Return the words in plain capitals: runs of letters and digits, as a reader would see them.

    NFKD turns full-width, styled and accented letters into plain ones and their marks. Marks and
    invisible characters (zero width, soft hyphen, bidi) vanish, even inside a word; all other
    characters separate words. `str.upper` knows no locale, so the Turkish i is an I everywhere.
    """
    plain = unicodedata.normalize("NFKD", body).upper()
    visible = (c for c in plain if unicodedata.category(c) not in _UNSEEN)
    return "".join(c if c.isalnum() else " " for c in visible).split()


_UNSEEN = {"Cf", "Mn", "Me"}
"""Unicode categories without a shape of their own: format characters and marks."""
