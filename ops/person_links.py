"""Addresses of pages about a person, which say nothing about the number and can be kept."""

import base64
import binascii
from functools import cached_property
from typing import Final
from urllib.parse import urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from sqlalchemy import Engine

from signedfor.consent import person
from signedfor.store.people import People

_LENGTH: Final = 20
"""Longer than any number, so that all numbers look alike."""


class PersonLinks:
    """Encrypts a person's number for a link: a hash could not lead back to what is on record.

    The same person has the same link always, with the key in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._people = People(engine)

    def url(self, address: str, **query: str) -> str:
        """The page of the person whom the address reaches."""
        return f"/opt-outs/person?{urlencode({'person': self.token(address), **query})}"

    def token(self, address: str) -> str:
        """The person in a link."""
        text = person(address).encode().ljust(_LENGTH, b"\0")
        return base64.urlsafe_b64encode(self._cipher.encrypt(text, None)).decode().rstrip("=")

    def person(self, token: str) -> str | None:
        """The person's number, or other address without a number; None if it is no token."""
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            return self._cipher.decrypt(sealed, None).rstrip(b"\0").decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None

    def reference(self, address: str) -> str:
        """The person's reference in the index of messages and in the audit log."""
        return self._people.reference(address)

    @cached_property
    def _cipher(self) -> AESSIV:
        return AESSIV(self._people.derived_key("links to people"))
