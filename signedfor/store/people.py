"""References to people: a keyed hash of the person whom an address reaches.

A reference can stand in a URL, an audit log or an index: without the key, which only the database
has, it cannot be turned back into a number by trying all numbers.
"""

import hashlib
import hmac
import secrets
from functools import cached_property
from typing import Final

from sqlalchemy import Engine, select

from signedfor.consent import person
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.tables import hash_keys

_NAME: Final = "people"


class People:
    """Makes references with the key in the database of `engine`, which the first use makes.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reference(self, address: str) -> str:
        """The reference of the person whom the address reaches: 32 hexadecimal digits."""
        digest = hmac.digest(self._key, person(address).encode(), hashlib.sha256)
        return digest[:16].hex()

    def derived_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose; from it nobody can tell the one of references."""
        return hmac.digest(self._key, f"key: {purpose}".encode(), hashlib.sha256)

    @cached_property
    def _key(self) -> bytes:
        query = select(hash_keys.c.key).where(hash_keys.c.name == _NAME)
        with transaction(self._engine, read_only=True) as connection:
            key = connection.scalar(query)
        if key is None:
            with transaction(self._engine) as connection:
                # Another process may be the first.
                new = insert_if_new(connection, hash_keys)
                connection.execute(new.values(name=_NAME, key=secrets.token_hex(32)))
                key = connection.execute(query).scalar_one()
        return bytes.fromhex(key)
