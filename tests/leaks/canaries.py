"""Values that no other run has, by what kind of data they are."""

import secrets
from enum import StrEnum

from devtools.leaks.search import Value


class Kind(StrEnum):
    """Kinds of data, by their names in docs/reference/where-data-is.md.

    Secrets that the system makes have kinds of their own.
    """

    NUMBERS = "numbers"
    """Of people."""
    SENDERS = "senders"
    """Numbers of ours."""
    TEXTS = "texts"
    """Of messages: bodies, template variables, media URLs, tags."""
    CELLS = "cells"
    """Of a campaign's file: what it says of each recipient."""
    INBOUND_TEXTS = "inbound texts"
    """What people wrote."""
    REPLIES = "replies"
    """Of the file INBOUND_REPLIES_FILE."""
    NOTES = "notes"
    """Evidence and reasons that people of ours gave."""
    ERASED = "erased data"
    """Of everything that the system can have of a person, nothing is left."""
    GIVEN = "secrets given as variables"
    """Of our processes."""
    FILES = "secrets given as files"
    """By a variable that ends with _FILE."""
    WRONG = "wrong secrets"
    """Passwords, tokens and signatures that were refused."""
    BAD_ID = "refused ids"
    """The id of a workflow is what its caller says."""
    IN_CLEAR = "plain input"
    """Numbers and texts of messages whose caller does not encrypt."""


class Canaries:
    """Makes values, and remembers them."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._prefix = f"+1555{secrets.randbelow(800) + 200}"
        self._numbers: set[str] = set()

    def number(self, kind: str = Kind.NUMBERS) -> str:
        """A phone number that nobody has."""
        number = f"{self._prefix}{secrets.randbelow(10_000):04}"
        if number in self._numbers:
            return self.number(kind)
        self._numbers.add(number)
        self.values.append(Value(kind, number, is_number=True))
        return number

    def word(self, kind: str) -> str:
        """A word to put into texts: most escapes leave it as it is, and a part of a text has it."""
        word = "quokka" + secrets.token_hex(6)
        self.values.append(Value(kind, word))
        return word

    def text(self, kind: str) -> str:
        """A text with the word at both ends, and with what is escaped in between."""
        word = self.word(kind)
        return f'{word}: “café” & <b>50 % off</b> + "more"\\ {word}'

    def secret(self, kind: str, value: str | None = None) -> str:
        """A secret; by default a new one."""
        value = value or f"quokka{secrets.token_hex(13)}"
        self.values.append(Value(kind, value))
        return value
