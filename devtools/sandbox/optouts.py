"""Twilio's own opt-out handling: the words, and who has blocked whom."""

from typing import Literal

from devtools.sandbox.addresses import is_short_code, is_toll_free

Keyword = Literal["STOP", "START", "HELP"]

_WORDS: dict[str, Keyword] = {
    **dict.fromkeys(
        ("STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"), "STOP"
    ),
    **dict.fromkeys(("START", "YES", "UNSTOP"), "START"),
    **dict.fromkeys(("HELP", "INFO"), "HELP"),
}

REPLIES: dict[Keyword, str] = {
    "STOP": (
        "You have successfully been unsubscribed. You will not receive any more messages from "
        "this number. Reply START to resubscribe."
    ),
    "START": (
        "You have successfully been re-subscribed to messages from this number. Reply HELP for "
        "help. Reply STOP to unsubscribe. Msg&Data Rates May Apply."
    ),
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}
"""What Twilio answers to each kind of keyword by itself."""


def keyword_in(body: str, *, sender: str, service: str | None) -> Keyword | None:
    """Return the kind of keyword that `body` is as a whole, if Twilio handles it for `sender`.

    A standalone short code handles its keywords itself, and YES does not undo a STOP to a
    toll-free number.
    """
    word = body.strip().upper()
    if service is None and is_short_code(sender):
        return None
    if word == "YES" and is_toll_free(sender):
        return None
    return _WORDS.get(word)


class OptOuts:
    """Who has blocked whom: pairs of a scope (sender or Messaging Service) and a recipient."""

    def __init__(self) -> None:
        self._blocked: set[tuple[str, str]] = set()

    def block(self, scope: str, recipient: str) -> None:
        """Keep messages of `scope` from `recipient`."""
        self._blocked.add((scope, recipient))

    def unblock(self, scope: str, recipient: str) -> None:
        """Let messages of `scope` through to `recipient` again."""
        self._blocked.discard((scope, recipient))

    def blocks(self, scope: str, recipient: str) -> bool:
        """Tell whether `recipient` has blocked `scope`."""
        return (scope, recipient) in self._blocked

    def clear(self) -> None:
        """Forget every block."""
        self._blocked.clear()

    def __len__(self) -> int:
        return len(self._blocked)
