"""Encryption of everything that Temporal stores of a message: AES-256-GCM, with keys of ours.

Temporal's server sees no key and no clear text. `docs/reference/encryption.md` has the format, with
test vectors.
"""

import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from signedfor.errors import InvalidSettings
from signedfor.logging import Throttle
from signedfor.payloads import (
    CIPHER,
    CIPHER_FIELD,
    ENCODING_FIELD,
    ENCRYPTED,
    KEY_ID_FIELD,
    MAX_KEY_ID_DIGITS,
    Unreadable,
    data_converter,
    is_key_id,
    key_id_of,
    unreadable,
    unreadable_problem,
)

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_DOMAIN: Final = "signedfor-payload-v1"
_HINT: Final = (
    "Set PAYLOAD_KEYS or PAYLOAD_KEYS_FILE to the same keys as everywhere else, for example "
    "`PAYLOAD_KEYS=2026-11=$(openssl rand -base64 32)`, or PAYLOAD_ENCRYPTION=off to store "
    "messages in clear text."
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """A key and the id that stands beside what it encrypted. The text of it shows no secret."""

    id: str
    _secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id!r})"

    @property
    def label(self) -> str:
        """The id with a fingerprint, by which processes compare their keys: `2026-11:1f0c9a2b`."""
        digest = hashlib.sha256(b"signedfor-key-fingerprint-v1\0" + self._secret)
        return f"{self.id}:{digest.hexdigest()[:8]}"

    def cipher(self) -> AESGCM:
        """The key, ready to encrypt and decrypt."""
        return AESGCM(self._secret)


@dataclass(frozen=True)
class Encryption:
    """The keys that can be read, and whether payloads that are not encrypted are read too."""

    keys: tuple[Key, ...]
    """The current key first: it encrypts everything that is written."""
    accept_plain: bool = True

    @property
    def current(self) -> Key:
        """The key that encrypts."""
        return self.keys[0]

    @classmethod
    def parse(cls, keys: str, *, current: str | None = None, accept_plain: bool = True) -> Self:
        """From `id=key` pairs, separated by commas or line ends; a key is 32 bytes in base64.

        `current` is the id of the key that encrypts; by default that of the first.

        Raises:
            ValueError: what is wrong, without a key.
        """
        found: dict[str, Key] = {}
        for number, entry in enumerate(_entries(keys), start=1):
            key = _key(entry, number)
            if key.id in found:
                raise ValueError(f"names the key {key.id} twice")
            found[key.id] = key
        if not found:
            raise ValueError("has no key")
        if current is not None and current not in found:
            raise ValueError(f"lacks the key that PAYLOAD_KEY_ID names; it has {', '.join(found)}")
        first = found.pop(current) if current is not None else found.pop(next(iter(found)))
        return cls((first, *found.values()), accept_plain)


def _entries(keys: str) -> list[str]:
    lines = (line.partition("#")[0] for line in keys.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def _key(entry: str, number: int) -> Key:
    # Names the entry by its number: without `=` it may be a key.
    key_id, separator, encoded = (part.strip() for part in entry.partition("="))
    if not separator or not is_key_id(key_id):
        raise ValueError(
            f"must be pairs such as 2026-11=KEY; in entry {number} the id is not 1 to 32 letters, "
            f"digits, '.', '_' or '-', with at most {MAX_KEY_ID_DIGITS} digits"
        )
    try:
        secret = base64.b64decode(encoded.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"has no base64 for the key {key_id}") from None
    if len(secret) != KEY_BYTES:
        raise ValueError(
            f"needs {KEY_BYTES} bytes in base64 for the key {key_id}; it has {len(secret)}"
        )
    return Key(key_id, secret)


def load_encryption(environment: Mapping[str, str] | None = None) -> Encryption | None:
    """What the `PAYLOAD_*` variables say; None only if PAYLOAD_ENCRYPTION is off.

    Raises:
        InvalidSettings: there is no key, or one cannot be used. The text names the variable.
    """
    variables = os.environ if environment is None else environment
    named, file = variables.get("PAYLOAD_KEYS"), variables.get("PAYLOAD_KEYS_FILE")
    if not _is_on(variables, "PAYLOAD_ENCRYPTION"):
        return None
    if named and file:
        raise InvalidSettings("Set PAYLOAD_KEYS or PAYLOAD_KEYS_FILE, not both.")
    if not named and not file:
        raise InvalidSettings(f"Payloads are to be encrypted, and there is no key. {_HINT}")
    source = "PAYLOAD_KEYS" if named else "PAYLOAD_KEYS_FILE"
    try:
        return Encryption.parse(
            named or Path(str(file)).read_text(encoding="utf-8"),
            current=variables.get("PAYLOAD_KEY_ID") or None,
            accept_plain=_is_on(variables, "PAYLOAD_ACCEPT_PLAIN"),
        )
    except OSError as error:
        raise InvalidSettings(
            f"The file that PAYLOAD_KEYS_FILE names cannot be read ({type(error).__name__})."
        ) from None
    except UnicodeDecodeError:
        raise InvalidSettings("PAYLOAD_KEYS_FILE names a file that is not text.") from None
    except ValueError as error:
        raise InvalidSettings(f"{source} {error}.") from None


def _is_on(variables: Mapping[str, str], name: str) -> bool:
    """Whether a variable that is on by default is on."""
    value = variables.get(name, "").strip().lower()
    if value in {"", "on", "true", "1", "yes"}:
        return True
    if value in {"off", "false", "0", "no"}:
        return False
    raise InvalidSettings(f"{name} must be on or off.")


def encrypting(encryption: Encryption | None, namespace: str) -> DataConverter:
    """The data converter of a client in this namespace; None: without encryption."""
    if encryption is None:
        return data_converter
    return with_codec(EncryptionCodec(encryption, namespace))


def with_codec(codec: PayloadCodec | None) -> DataConverter:
    """Our data converter with this codec, which then also encodes failures' texts."""
    if codec is None:
        return data_converter
    return replace(
        data_converter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def associated_data(key_id: str, namespace: str) -> bytes:
    """What else is authenticated, so that nothing can be moved to another namespace or key."""
    return f"{_DOMAIN}\0{key_id}\0{namespace}".encode()


class EncryptionCodec(PayloadCodec):
    """Encrypts each payload; what it cannot decrypt becomes a payload that says why.

    The payload converter raises for such a one where it is read: unreadable input is then refused
    like other bad input, and an unreadable result fails only the workflow task.
    """

    def __init__(self, encryption: Encryption, namespace: str) -> None:
        self.encryption = encryption
        self._namespace = namespace
        self._ciphers = {key.id: key.cipher() for key in encryption.keys}
        self._warnings = Throttle()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See base class."""
        return [self.encrypt(each) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See base class."""
        return [self.decrypt(each) for each in payloads]

    def encrypt(self, payload: Payload) -> Payload:
        """The payload, encrypted with the current key and a fresh nonce."""
        key_id, nonce = self.encryption.current.id, os.urandom(NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(
            nonce, payload.SerializeToString(), associated_data(key_id, self._namespace)
        )
        return Payload(
            metadata={
                ENCODING_FIELD: ENCRYPTED,
                CIPHER_FIELD: CIPHER,
                KEY_ID_FIELD: key_id.encode(),
            },
            data=nonce + sealed,
        )

    def decrypt(self, payload: Payload) -> Payload:
        """The clear payload, or one that says why there is none."""
        found = self._decrypted(payload)
        if isinstance(found, Payload):
            return found
        marked = unreadable(payload, found)
        if self._warnings.admit(found) is not None:
            _logger.warning(
                "A payload in the namespace %s %s", self._namespace, unreadable_problem(marked)
            )
        return marked

    def _decrypted(self, payload: Payload) -> Payload | Unreadable:
        if payload.metadata.get(ENCODING_FIELD) != ENCRYPTED:
            return payload if self.encryption.accept_plain else Unreadable.PLAIN
        if payload.metadata.get(CIPHER_FIELD) != CIPHER:
            return Unreadable.FORMAT
        key_id = key_id_of(payload)
        cipher = self._ciphers.get(key_id) if key_id is not None else None
        if key_id is None or cipher is None:
            return Unreadable.KEY
        if len(payload.data) < NONCE_BYTES + _TAG_BYTES:
            return Unreadable.CHANGED
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            clear = cipher.decrypt(nonce, sealed, associated_data(key_id, self._namespace))
            return Payload.FromString(clear)
        except (InvalidTag, DecodeError):
            return Unreadable.CHANGED
