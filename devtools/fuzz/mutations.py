"""Inputs that are nearly right: seeds, changed a little at random."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Final

from temporalio.api.common.v1 import Payload

from signedfor.encryption import NONCE_BYTES, Encryption, associated_data
from signedfor.payloads import CIPHER, CIPHER_FIELD, ENCODING_FIELD, ENCRYPTED, KEY_ID_FIELD

_FORM = b"MessageSid=SM1&Body=Stop%20it%21&From=%2B15558675309&AccountSid=AC1"
_JSON = json.dumps({"MessageSid": "SM1", "NumSegments": 1, "ok": True, "none": None}).encode()
_MESSAGE = json.dumps(
    {
        "to": "+15558675309",
        "from": "whatsapp:+15005550006",
        "body": "Zoë \U0001f600",
        "media_urls": ["https://m.example/1.png"],
        "content_variables": {"1": "a"},
        "tags": {"order": "7"},
        "send_at": "2030-01-01T00:00:00Z",
        "send_window": {"from": "09:00", "until": "20:00", "days": ["mon"]},
    }
).encode()

KEYS: Final = "fuzz=" + "A" * 43 + "="
NAMESPACE: Final = "default"


def _encrypted(clear: Payload) -> bytes:
    """As `EncryptionCodec` does it, with a nonce that is the same in every run."""
    key, nonce = Encryption.parse(KEYS).current, bytes(NONCE_BYTES)
    sealed = key.cipher().encrypt(
        nonce, clear.SerializeToString(), associated_data(key.id, NAMESPACE)
    )
    metadata = {ENCODING_FIELD: ENCRYPTED, CIPHER_FIELD: CIPHER, KEY_ID_FIELD: key.id.encode()}
    return Payload(metadata=metadata, data=nonce + sealed).SerializeToString()


CLEAR: Final = Payload(metadata={ENCODING_FIELD: b"json/plain"}, data=_MESSAGE)
"""All that was ever encrypted with the key."""

SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "signatures": (b"/webhook/status?message_id=1\n" + _FORM, b"/x?bodySHA256=00\n" + _JSON),
    "forms": (_FORM,),
    "json_bodies": (_JSON, b"[" + _JSON + b"]"),
    "keywords": (b"Please stop texting me! ", b"STOP", "🛑 Arrêt".encode()),
    "numbers": (
        b"+1 (555) 867-5309",
        b"whatsapp:+15558675309",
        "\uff0b\uff14\uff14 7911123456".encode(),
    ),
    "segments": ("Zoë €{}[] 👨‍👩‍👧 e\u0301".encode(), b"abc" * 60),
    "texts": (b"Hello {name}, {{ok}}", b"https://m.example:8080/a?b=c", b"1.5E+10", b"'=1"),
    "csv_files": (b'to,name\n+15558675309,"Ann"\n', b"recipient,note\r\n+15558675309,x\r\n"),
    "encrypted_payloads": (
        _encrypted(CLEAR),
        CLEAR.SerializeToString(),
        Payload(metadata={ENCODING_FIELD: b"binary/unreadable"}).SerializeToString(),
    ),
    "payloads": (_MESSAGE, b'{"message_sid": "SM", "message_status": "sent"}', b'{"by": "me"}'),
}
"""For each target, input that it accepts."""

_TOKENS: Final = tuple(
    each.encode("utf-8", "surrogatepass")
    for each in (
        *(
            "\x00",
            "\ufeff",
            "\ud800",
            "\u200b",
            "\u202e",
            "\u0301",
            "\U0001f1fa",
            "é",
            "\uff10",
            "²",
        ),
        *('"', '""', ",", ";", "\t", "\r", "\n", "{", "}", "[", "]", ":", "\\", "\\u00", "null"),
        *("&", "=", "%", "%00", "%ff", "?", "#", "/", "//", "@", "+", "-", "(", ")", ".", " "),
        *("STOP", "START", "HELP", "whatsapp:", "tel:", "http://", "MG", "1e999", "9" * 400),
    )
)
_MOST_CHANGES: Final = 6
_LONG: Final = 65_536
_RARELY: Final = 0.02


def mutated(seeds: tuple[bytes, ...], chance: Random) -> bytes:
    """One of the seeds with a few changes; rarely, a part of it repeated to a great length."""
    data = chance.choice(seeds)
    for _ in range(chance.randint(1, _MOST_CHANGES)):
        data = chance.choice(_CHANGES)(data, chance)
    if chance.random() < _RARELY:
        part = _part(data, chance) or b"x"
        data = (data[:50] + part * (_LONG // len(part) + 1))[:_LONG]
    return data


def _part(data: bytes, chance: Random) -> bytes:
    start = chance.randint(0, len(data))
    return data[start : start + chance.randint(1, 20)]


def _insert(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(_TOKENS) + data[at:]


def _overwrite(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + bytes([chance.randint(0, 255)]) + data[at + 1 :]


def _delete(data: bytes, chance: Random) -> bytes:
    part = _part(data, chance)
    return data.replace(part, b"", 1) if part else data


def _repeat(data: bytes, chance: Random) -> bytes:
    part = _part(data, chance)
    return data.replace(part, part * chance.randint(2, 9), 1) if part else data


def _number(data: bytes, chance: Random) -> bytes:
    value = str(chance.choice((-1, 0, 2**31, 2**63, 10**30, 1e308))).encode()
    return re.sub(rb"[0-9]+", value, data, count=1)


_CHANGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    *(_insert, _overwrite, _delete, _repeat, _number),
)
