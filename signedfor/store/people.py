"""References to people: a keyed hash of the person whom an address reaches.

A reference can stand in a URL, an audit log or an index: without the key, which only the database
has, it cannot be turned back into a number by trying all numbers.

In the records of a person who was erased, a pseudonym stands in the place of the address: the
channel, if it has one, and the reference. So what they said still holds for who has the number.
"""

import hashlib
import hmac
import secrets
from typing import Final

from sqlalchemy import Connection, Engine, select

from signedfor.consent import person, reference_in
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.tables import hash_keys

_NAME: Final = "people"
_FIND: Final = select(hash_keys.c.key).where(hash_keys.c.name == _NAME)


class People:
    """Makes references with the key in the database of `engine`, which the first use makes.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known_key: bytes | None = None

    def reference(self, address: str) -> str:
        """The reference of the person whom the address reaches: 32 hexadecimal digits.

        Of a pseudonym, the one in it.
        """
        return reference_in(address) or _reference(self._key, address)

    def pseudonym(self, address: str) -> str:
        """What stands in the place of the address once the person is erased."""
        return _pseudonym(self._key, address)

    def pseudonym_if_any(self, address: str, *, connection: Connection) -> str:
        """The same, read in an open transaction; empty while there is no key: nobody is erased."""
        if self._known_key is None:
            found = connection.scalar(_FIND)
            if found is None:
                return ""
            self._known_key = bytes.fromhex(found)
        return _pseudonym(self._known_key, address)

    def derived_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose; from it nobody can tell the one of references."""
        return hmac.digest(self._key, f"key: {purpose}".encode(), hashlib.sha256)

    @property
    def _key(self) -> bytes:
        if self._known_key is None:
            with transaction(self._engine, read_only=True) as connection:
                key = connection.scalar(_FIND)
            if key is None:
                with transaction(self._engine) as connection:
                    # Another process may be the first.
                    new = insert_if_new(connection, hash_keys)
                    connection.execute(new.values(name=_NAME, key=secrets.token_hex(32)))
                    key = connection.execute(_FIND).scalar_one()
            self._known_key = bytes.fromhex(key)
        return self._known_key


def _reference(key: bytes, address: str) -> str:
    return hmac.digest(key, person(address).encode(), hashlib.sha256)[:16].hex()


def _pseudonym(key: bytes, address: str) -> str:
    channel, colon, _ = address.rpartition(":")
    return channel + colon + _reference(key, address)
