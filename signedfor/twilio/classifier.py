"""Classifies inbound messages: opt-out, opt-in, help, or a text that a person should review.

Twilio acts on a keyword only when it is the whole message. People also write "please stop texting
me", and US law lets them revoke consent by any reasonable means, so a message that reads like an
opt-out needs review. START, YES and HELP in a phrase change nothing and need no review.
"""

from typing import Final

from signedfor.contract.inbound import InboundKind
from signedfor.twilio import phrases
from signedfor.twilio.keywords import as_keyword
from signedfor.twilio.letters import plain
from signedfor.twilio.sentences import as_sentence

_KIND_OF_OPT_OUT_TYPE = {
    "STOP": InboundKind.STOP,
    "START": InboundKind.START,
    "HELP": InboundKind.HELP,
}
_MAX_READ: Final = 4096
"""Characters in a message of WhatsApp; other channels allow fewer."""


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
    signature = phrases.signature(body)
    # What looks like a signature may be the message: "Thanks. Stop".
    if signature and _kind(signature) is InboundKind.OTHER:
        body = body.rstrip().removesuffix(signature).rstrip()
    return _kind(body)


def _kind(body: str) -> InboundKind:
    text = phrases.clauses(plain(body))
    return as_keyword(text, body) or as_sentence(text, body)
